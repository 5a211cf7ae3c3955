"""Workers, machines and drivers that are lost: nothing is, and the result has the same bits."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import engine_work as work
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array, random_array

import dcbmr
from dcbmr.errors import DcbmrError
from dcbmr.factorization.als import fit_on_workers
from dcbmr.factorization.cut_plays import cut_plays
from dcbmr.features import parts as parts_of_features
from dcbmr.features.words import fit_codebook_to_audio
from dcbmr.plays import parts
from dcbmr.plays.parts import parquet_files
from dcbmr.plays.play_filter import PlayFilter
from dcbmr.ranking import ranks
from dcbmr.recommendation import lists

pytestmark = [pytest.mark.slow, pytest.mark.full]
SETTINGS = {"n_factors": 9, "n_iterations": 3}


def draw_plays():
    rng = np.random.default_rng(0)
    counts = random_array((300, 120), density=0.05, rng=rng, format="csr")
    counts.data[:] = rng.integers(1, 9, len(counts.data))
    return counts


def test_what_a_lost_worker_did_is_done_again(engine, tmp_path):
    tasks = [(number, str(tmp_path)) for number in range(10)]
    with pytest.warns(UserWarning, match="was lost with block .* of the numbers: done again"):
        assert list(engine.map(work.die_once, tasks, what="numbers")) == list(range(10))
    # The one in its place works, too.
    assert list(engine.map(work.double, range(20), what="numbers")) == list(range(0, 40, 2))


def test_what_loses_every_worker_is_given_up(engine):
    with (
        pytest.warns(UserWarning, match="lost with block 1 of the numbers"),
        pytest.raises(DcbmrError, match="block 1 of the numbers: 3 workers were lost with it"),
    ):
        list(engine.map(work.die_always, [1], what="numbers"))
    assert list(engine.map(work.double, [1], what="numbers")) == [2]


def test_factors_after_a_worker_was_killed(engine):
    alone = dcbmr.WeightedALS(**SETTINGS).fit(draw_plays())

    def kill_one(stage, sweep, n_sweeps, terms):
        if sweep == 1:
            os.kill(next(iter(engine.map(work.process, [0], what="processes"))), signal.SIGKILL)

    with pytest.warns(UserWarning, match="done again"):
        together = dcbmr.WeightedALS(**SETTINGS).fit(draw_plays(), engine=engine, progress=kill_one)
    np.testing.assert_array_equal(together.song_factors_, alone.song_factors_)
    np.testing.assert_array_equal(together.user_factors_, alone.user_factors_)


def kill_at_step(engine, n):
    """Return a progress that kills a worker that is at work, once, when so many steps are over."""
    killed = []

    def kill(stage, step, n_steps, figures):
        if step >= n and not killed:
            killed.append(next(worker.facts.process for worker in engine._workers if worker.calls))
            os.kill(killed[0], signal.SIGKILL)

    return kill


def test_features_after_a_worker_was_killed(engine, small_world, tmp_path, monkeypatch):
    monkeypatch.setattr(parts_of_features, "_MOST_FILES", 2)
    made = tmp_path / "features"
    with pytest.warns(UserWarning, match="lost with block .* of the files"):
        report = dcbmr.featurize(small_world / "audio", made, engine=engine, progress=kill_at_step(engine, 4))
    assert report.n_done == 40
    check_same(made, small_world / "features")


CRASHING = """
import ctypes, sys
here = sys.path.pop(0)
del sys.modules["soundfile"]
import soundfile as real
sys.path.insert(0, here)
whole = real.SoundFile
def opened(file, *args, **options):
    if b"-crash" in file:
        ctypes.string_at(0)
    return whole(file, *args, **options)
real.SoundFile = opened
globals().update({name: value for name, value in vars(real).items() if not name.startswith("__")})
"""


def test_files_that_crash_their_decoder_cost_only_themselves(small_world, tmp_path, monkeypatch):
    """Three of a part and one of another, which would be more workers than may be lost."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "soundfile.py").write_text(CRASHING)
    (tmp_path / "music").mkdir()
    for song in sorted((small_world / "audio").iterdir()):
        shutil.copyfile(song, tmp_path / "music" / song.name)
    crashing = ["song01-crash", "song02-crash", "song05-crash", "song33-crash"]
    for name in crashing:
        shutil.copyfile(small_world / "audio" / "song00.wav", tmp_path / "music" / f"{name}.wav")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"))
    words = [
        "featurize",
        str(tmp_path / "music"),
        "-o",
        str(tmp_path / "made"),
        "--engine",
        "ray",
        "--workers",
        "2",
    ]
    done = subprocess.run([sys.executable, "-P", "-m", "dcbmr", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "made" / "failed.tsv").read_text().splitlines()[1:]
    why = "was being read when a library crashed: SIGSEGV"
    assert sorted(lines) == [f"{name}\t{tmp_path}/music/{name}.wav\t{why}" for name in crashing]
    check_same(tmp_path / "made", small_world / "features")


def check_same(made, wanted):
    stores = [dcbmr.FeatureStore.open(path) for path in (made, wanted)]
    assert stores[0].check() == {"mel": [], "mfcc": []}
    for kind in stores[1]:
        assert sorted(stores[0][kind].song_ids) == sorted(stores[1][kind].song_ids)
        for song, frames in stores[1][kind].items():
            np.testing.assert_array_equal(stores[0][kind][song], frames)
    lines = (made / "sources.tsv").read_text().splitlines()
    assert len(lines) == len(set(lines)) == len(stores[1]["mel"])


def test_codewords_after_a_worker_was_killed(engine, small_world):
    alone, together = dcbmr.Codebook(n_words=8, n_iterations=3), dcbmr.Codebook(n_words=8, n_iterations=3)
    fit_codebook_to_audio(small_world / "audio", alone, max_frames=500)
    with pytest.warns(UserWarning, match="lost with block .* of the files"):
        fit_codebook_to_audio(
            small_world / "audio", together, max_frames=500, engine=engine, progress=kill_at_step(engine, 4)
        )
    np.testing.assert_array_equal(together.words_, alone.words_)


def test_ranks_after_a_worker_was_killed(engine, monkeypatch):
    monkeypatch.setattr(ranks, "blocks_of_users", work.small_blocks)
    rng = np.random.default_rng(1)
    users = rng.standard_normal((9000, 8), dtype=np.float32)
    songs = rng.standard_normal((50, 8), dtype=np.float32)
    heldout = rng.random((9000, 50)) < 0.1
    alone = dcbmr.evaluate_ranking(users, songs, heldout)
    with pytest.warns(UserWarning, match="lost with block .* of the users"):
        together = dcbmr.evaluate_ranking(
            users, songs, heldout, engine=engine, progress=kill_at_step(engine, 1)
        )
    np.testing.assert_array_equal(together.ranks.ranks, alone.ranks.ranks)


def test_lists_after_a_worker_was_killed(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "_BLOCK_ROWS", 5000)
    rng = np.random.default_rng(1)
    users, songs = rng.standard_normal((9000, 8)), rng.standard_normal((50, 8))
    counts = csr_array((rng.random((9000, 50)) < 0.1).astype(np.float32))
    factors = dcbmr.Factors(user_factors=users, song_factors=songs, counts=counts)
    recommender = dcbmr.Recommender.from_factors(factors)
    dcbmr.save_lists(recommender, tmp_path / "alone")
    with pytest.warns(UserWarning, match="lost with block .* of the users"):
        dcbmr.save_lists(recommender, tmp_path / "together", engine=engine, progress=kill_at_step(engine, 1))
    one, other = (pq.read_table(tmp_path / name / "lists.parquet") for name in ("alone", "together"))
    assert other.equals(one)


@pytest.mark.parametrize("stage", ["read counts", "cut plays", "factorize"])
def test_plays_that_workers_hold_after_one_was_killed(engine, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(parts, "_PART_ROWS", 100)
    write_parquet(tmp_path / "plays")
    alone = dcbmr.WeightedALS(**SETTINGS).fit(dcbmr.PlayCounts.read(tmp_path / "plays"))
    als, killed = dcbmr.WeightedALS(**SETTINGS), []

    def kill_one(now, *step):
        if now == stage and not killed:
            killed.append(next(iter(worker.facts.process for worker in engine._workers if worker.facts)))
            os.kill(killed[0], signal.SIGKILL)

    files, wanted = parquet_files(tmp_path / "plays"), PlayFilter()
    cut = cut_plays(engine, files, tmp_path / "cut", als, wanted=wanted, progress=kill_one)
    with pytest.warns(UserWarning, match="done again"):
        fit_and_save(cut, als, tmp_path / "factors", kill_one)
    found = dcbmr.Factors.load(tmp_path / "factors")
    np.testing.assert_array_equal(found.song_factors, alone.song_factors_)
    np.testing.assert_array_equal(found.counts.data, alone.factors_.counts.data)


def fit_and_save(cut, als, directory, progress):
    with cut as plays:
        plays.save(fit_on_workers(als, plays, progress=progress), directory)


def write_parquet(folder):
    folder.mkdir()
    matrix = draw_plays().tocoo()
    columns = {"user": matrix.row, "song": matrix.col, "count": matrix.data}
    table = pa.table(columns)
    for n, start in enumerate(range(0, len(table), 300)):
        pq.write_table(table.slice(start, 300), folder / f"part-{n}.parquet", row_group_size=100)


def test_a_full_disk_where_a_worker_writes(engine):
    told = r"block 2 of the files: .* has no room where it writes: .*No space left.*; free some space there"
    with pytest.raises(DcbmrError, match=told):
        list(engine.map(work.write_to, [os.devnull, "/dev/full"], what="files"))
    assert list(engine.map(work.double, [1], what="numbers")) == [2]


def test_a_full_disk_where_ray_writes():
    """What its object store has no room for; how full a disk may be is Ray's own setting."""
    code = """
        import numpy as np
        import dcbmr

        with dcbmr.RayEngine(n_workers=1, n_threads=1) as engine:
            engine.share(np.ones(60 << 20, np.float32))
        """
    limits = {"RAY_local_fs_capacity_threshold": "0.0001"}
    limits["RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES"] = str(100 << 20)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=os.environ | limits
    )
    assert done.returncode
    assert "DcbmrError: the disk is full where Ray writes what its object store has no room" in done.stderr
    assert "--object-store-memory), and go on with --resume" in done.stderr


def test_features_ranks_and_lists_on_several_machines_of_which_two_are_lost(small_world, tmp_path):
    code = """
        import sys, warnings
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        import pyarrow.parquet as pq
        from pathlib import Path
        from ray.cluster_utils import Cluster
        import dcbmr
        import engine_work as work
        from dcbmr.features import parts
        from dcbmr.ranking import ranks
        from dcbmr.recommendation import lists

        world, root = map(Path, sys.argv[2:])
        parts._MOST_FILES, lists._BLOCK_ROWS = 2, 100
        ranks.blocks_of_users = work.small_blocks
        rng = np.random.default_rng(1)
        users, songs = (rng.standard_normal((n, 8), dtype=np.float32) for n in (9000, 50))
        heldout = rng.random((9000, 50)) < 0.1
        alone = dcbmr.evaluate_ranking(users, songs, heldout)
        recommender = dcbmr.Recommender.from_factors(dcbmr.Factors.load(world / "factors"))
        dcbmr.save_lists(recommender, root / "alone")
        of_node = {"num_cpus": 1, "object_store_memory": 100 << 20}
        cluster = Cluster(initialize_head=True, head_node_args=of_node)
        others = [cluster.add_node(**of_node) for _ in range(2)]
        cluster.wait_for_nodes()

        def lose_one(stage, step, n_steps, figures):
            if step >= n_steps // 4 and len(others) == n_left:
                cluster.remove_node(others.pop(), allow_graceful=False)

        catch = warnings.catch_warnings(record=True)
        with dcbmr.RayEngine(cluster.address, n_workers=3) as engine, catch as told:
            n_left = 2
            dcbmr.featurize(world / "audio", root / "made", engine=engine, progress=lose_one)
            n_left = 1
            together = dcbmr.evaluate_ranking(users, songs, heldout, engine=engine, progress=lose_one)
            dcbmr.save_lists(recommender, root / "together", engine=engine)
        cluster.shutdown()
        np.testing.assert_array_equal(together.ranks.ranks, alone.ranks.ranks)
        one, other = (pq.read_table(root / name / "lists.parquet") for name in ("alone", "together"))
        assert other.equals(one)
        assert sum("was lost with" in str(one.message) for one in told) >= 2, told
        """
    here = os.path.dirname(__file__)
    words = [sys.executable, "-c", textwrap.dedent(code), here, str(small_world), str(tmp_path)]
    path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=400, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    check_same(tmp_path / "made", small_world / "features")


def test_factors_after_a_machine_was_lost():
    code = """
        import sys, warnings
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        from ray.cluster_utils import Cluster
        import dcbmr
        from test_ray_faults import SETTINGS, draw_plays

        alone = dcbmr.WeightedALS(**SETTINGS).fit(draw_plays())
        of_node = {"num_cpus": 1, "object_store_memory": 100 << 20}
        cluster = Cluster(initialize_head=True, head_node_args=of_node)
        other = cluster.add_node(**of_node)
        cluster.wait_for_nodes()

        def lose_one(stage, sweep, n_sweeps, terms):
            if sweep == 1:
                cluster.remove_node(other, allow_graceful=False)

        catch = warnings.catch_warnings(record=True)
        with dcbmr.RayEngine(cluster.address, n_workers=2) as engine, catch as told:
            together = dcbmr.WeightedALS(**SETTINGS).fit(draw_plays(), engine=engine, progress=lose_one)
        cluster.shutdown()
        np.testing.assert_array_equal(together.song_factors_, alone.song_factors_)
        assert "was lost with" in str(told[-1].message)
        """
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), here], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr


def test_factors_after_the_driver_was_killed(tmp_path):
    matrix = draw_plays().tocoo()
    lines = [f"u{u}\ts{s}\t{n:.0f}\n" for u, s, n in zip(*matrix.coords, matrix.data, strict=True)]
    (tmp_path / "plays.tsv").write_text("".join(lines))
    base = [sys.executable, "-m", "dcbmr", "factorize", str(tmp_path / "plays.tsv"), "--iterations", "60"]
    subprocess.run([*base, "-o", str(tmp_path / "alone")], check=True, capture_output=True)
    broken = [*base, "-o", str(tmp_path / "broken")]
    checkpoint = tmp_path / ".broken.checkpoint" / "config.json"
    with subprocess.Popen(
        [*broken, "--engine", "ray", "--workers", "2"], stderr=subprocess.DEVNULL
    ) as driver:
        while not checkpoint.exists():
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()
    assert not (tmp_path / "broken").exists()
    subprocess.run([*broken, "--resume"], check=True, capture_output=True)
    found, wanted = (dcbmr.Factors.load(tmp_path / name) for name in ("broken", "alone"))
    np.testing.assert_array_equal(found.song_factors, wanted.song_factors)


def test_features_after_the_driver_was_killed(small_world, tmp_path):
    for n in range(20):
        for song in (small_world / "audio").iterdir():
            shutil.copyfile(song, tmp_path / f"{song.stem}-{n}.wav")
    (tmp_path / "songs.tsv").write_text(
        "song\tpath\n" + "".join(f"{path.stem}\t{path}\n" for path in sorted(tmp_path.glob("*.wav")))
    )
    base = [sys.executable, "-m", "dcbmr", "featurize", str(tmp_path / "songs.tsv")]
    subprocess.run([*base, "-o", str(tmp_path / "alone")], check=True, capture_output=True)
    broken = [*base, "-o", str(tmp_path / "broken")]
    on_ray = [*broken, "--engine", "ray", "--workers", "2"]
    with subprocess.Popen(on_ray, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as driver:
        while not list((tmp_path / "broken" / "parts").glob("0*")):
            assert driver.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)
        driver.kill()
    assert (tmp_path / "broken" / "unfinished.json").exists()
    done = subprocess.run([*broken, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_same(tmp_path / "broken", tmp_path / "alone")


def test_lists_after_the_driver_was_killed(tmp_path):
    rng = np.random.default_rng(1)
    users, songs = rng.standard_normal((60_000, 8)), rng.standard_normal((200, 8))
    counts = csr_array((np.ones(60_000, np.float32), (np.arange(60_000), rng.integers(0, 200, 60_000))))
    counts.resize(60_000, 200)
    dcbmr.Factors(user_factors=users, song_factors=songs, counts=counts).save(tmp_path / "factors")
    base = [sys.executable, "-m", "dcbmr", "recommend", str(tmp_path / "factors"), "--all-users", "-k", "100"]
    subprocess.run([*base, "-o", str(tmp_path / "alone")], check=True, capture_output=True)
    broken = [*base, "-o", str(tmp_path / "broken")]
    parts_there = tmp_path / ".broken.checkpoint"
    with subprocess.Popen(
        [*broken, "--engine", "ray", "--workers", "2"], stderr=subprocess.DEVNULL
    ) as driver:
        while not list(parts_there.glob("part-*")):
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()
    assert not (tmp_path / "broken").exists()
    done = subprocess.run([*broken, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, other = (pq.read_table(tmp_path / name / "lists.parquet") for name in ("alone", "broken"))
    assert other.equals(one)
    assert not parts_there.exists()


# Long enough to be heard of, and killed, before it is over.
LONG = {"regressor": "cnn", "params": work.NETWORKS["cnn"] | {"epochs": 24}}


def opened(world):
    return dcbmr.Factors.load(world / "factors"), dcbmr.FeatureStore.open(world / "features")


def kill_in_epoch(engine, n):
    """Return a progress that kills a worker, once, when an epoch is over; and the epochs it has heard of."""
    epochs, killed = [], []

    def kill(stage, step, n_steps, figures):
        if "validation_map" in figures:
            epochs.append(step)
            if len(epochs) == n and not killed:
                killed.append(engine._workers[1].facts.process)
                os.kill(killed[0], signal.SIGKILL)

    return kill, epochs


def test_a_network_after_a_worker_was_killed(engine, small_world, tmp_path):
    factors, store = opened(small_world)
    alone = dcbmr.train(factors, store, **LONG)
    kill, epochs = kill_in_epoch(engine, 2)
    with pytest.warns(UserWarning, match="was lost: the fit goes on from the last checkpoint"):
        together = dcbmr.train(
            factors, store, **LONG, engine=engine, checkpoint=tmp_path / "state", progress=kill
        )
    assert [row["epoch"] for row in together.regressor.history] == list(range(24))
    assert len(epochs) < 24 + 24, "it did not begin anew"
    songs = store.song_ids
    np.testing.assert_allclose(
        together.predict_store(store, songs), alone.predict_store(store, songs), atol=1e-4
    )
    assert list(engine.map(work.double, [1, 2], what="numbers")) == [2, 4]


def test_a_fit_that_loses_every_worker_is_given_up(engine, small_world):
    factors, store = opened(small_world)

    def kill(stage, step, n_steps, figures):
        with suppress(ProcessLookupError):  # steps that it told of before are heard after its end
            os.kill(engine._workers[0].facts.process, signal.SIGKILL)

    with (
        pytest.warns(UserWarning, match="the fit goes on"),
        pytest.raises(DcbmrError, match="the fit: workers were lost 3 times before it got any further"),
    ):
        dcbmr.train(factors, store, **LONG | {"params": LONG["params"] | {"epochs": 1000}}, engine=engine,
                    progress=lambda *step: step[0] == "fit" and kill(*step))  # fmt: skip
    assert list(engine.map(work.double, [1], what="numbers")) == [2]


def test_a_fit_that_is_cancelled_leaves_the_workers_free(engine, small_world):
    factors, store = opened(small_world)

    def cancel(stage, step, n_steps, figures):
        if stage == "fit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dcbmr.train(factors, store, **LONG, engine=engine, progress=cancel)
    assert list(engine.map(work.double, [1], what="numbers")) == [2]


def test_a_network_after_a_machine_was_lost(small_world, tmp_path):
    code = """
        import sys, warnings
        sys.path.insert(0, sys.argv[1])
        from pathlib import Path
        from ray.cluster_utils import Cluster
        import dcbmr
        from dcbmr.engine import peers
        from test_ray_faults import LONG, opened

        peers._START_S = 10
        of_node = {"num_cpus": 1, "object_store_memory": 100 << 20}
        cluster = Cluster(initialize_head=True, head_node_args=of_node)
        other = cluster.add_node(**of_node)
        cluster.wait_for_nodes()
        # Long enough to be noticed: a machine takes seconds to be missed.
        long = LONG | {"params": LONG["params"] | {"epochs": 40}}
        epochs = []

        def lose_one(stage, step, n_steps, figures):
            if "validation_map" in figures:
                epochs.append(step)
                if len(epochs) == 2:
                    cluster.remove_node(other, allow_graceful=False)

        catch = warnings.catch_warnings(record=True)
        with dcbmr.RayEngine(cluster.address, n_workers=2) as engine, catch as told:
            state = Path(sys.argv[3]) / "state"
            trained = dcbmr.train(
                *opened(Path(sys.argv[2])), **long, engine=engine, checkpoint=state, progress=lose_one
            )
        cluster.shutdown()
        assert [row["epoch"] for row in trained.regressor.history] == list(range(40))
        assert len(epochs) < 40 + 40
        told = [str(each.message) for each in told]
        assert any("the fit goes on from the last checkpoint" in each for each in told), told
        assert any("1 of 2 workers are there: going on with them" in each for each in told), told
        """
    given = [os.path.dirname(__file__), str(small_world), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *given], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr


def test_a_network_after_the_driver_was_killed(small_world, tmp_path):
    base = [sys.executable, "-m", "dcbmr", "train", "--regressor", "cnn"]
    for name in ("factors", "features"):
        base += [f"--{name}", str(small_world / name)]
    for name, value in (work.NETWORKS["cnn"] | {"epochs": 40}).items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        base += ["--set", f"{name}={shown}"]
    on_ray = ["--engine", "ray", "--workers", "2"]
    subprocess.run([*base, "-o", str(tmp_path / "alone")], check=True, capture_output=True)
    checkpoint = tmp_path / ".broken.checkpoint" / "checkpoint.safetensors"
    with subprocess.Popen(
        [*base, "-o", str(tmp_path / "broken"), *on_ray], stderr=subprocess.DEVNULL
    ) as driver:
        while not checkpoint.exists():
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()
    assert not (tmp_path / "broken").exists()
    n_before = len((checkpoint.parent / "log.jsonl").read_text().splitlines())
    assert 0 < n_before < 40
    subprocess.run([*base, "-o", str(tmp_path / "broken"), *on_ray, "--resume"], check=True)
    store = dcbmr.FeatureStore.open(small_world / "features")
    found, wanted = (dcbmr.Model.load(tmp_path / name) for name in ("broken", "alone"))
    np.testing.assert_allclose(
        found.predict_store(store, store.song_ids), wanted.predict_store(store, store.song_ids), atol=1e-3
    )
