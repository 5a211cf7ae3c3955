"""The engine on two workers of one machine, and each command on it once. Faults: test_ray_faults.py."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import engine_work as work
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import random_array

import dcbmr
import dcbmr.engine.on_ray as on_ray
from dcbmr.cli import main
from dcbmr.errors import DcbmrError, InputError
from dcbmr.factorization.als import fit_on_workers
from dcbmr.factorization.cut_plays import cut_plays
from dcbmr.features.words import fit_codebook_to_audio
from dcbmr.plays import parts
from dcbmr.plays.parts import parquet_files
from dcbmr.plays.play_filter import PlayFilter
from dcbmr.ranking import ranks
from dcbmr.recommendation import lists


@pytest.fixture(scope="module")
def plays():
    rng = np.random.default_rng(0)
    counts = random_array((300, 120), density=0.05, rng=rng, format="csr")
    counts.data[:] = rng.integers(1, 9, len(counts.data))
    return counts


def test_results_come_in_the_order_of_the_tasks(engine):
    assert list(engine.map(work.slow_first, range(20), what="numbers")) == list(range(20))
    one, two = engine.share(1), engine.share(np.float64(2))
    assert list(engine.map(work.double, range(5), one, two, what="numbers")) == [3, 5, 7, 9, 11]
    assert list(engine.map(work.double, [], what="numbers")) == []


def test_what_is_placed_stays_with_its_worker(engine):
    placed = engine.place([10, 20])
    assert list(placed.map(work.add_to, [1, 2], what="numbers")) == [11, 22]
    assert list(placed.map(work.add_to, [1, 2], engine.share(100), what="numbers")) == [111, 122]
    where = list(placed.map(work.process_of, [0, 0], what="numbers"))
    assert len(set(where)) == 2
    assert list(placed.map(work.process_of, [0, 0], what="numbers")) == where
    more = engine.place([1, 2, 3, 4, 5])
    assert list(more.map(work.add_to, [0] * 5, what="numbers")) == [1, 2, 3, 4, 5]


def test_an_error_of_the_work_is_named_and_not_tried_again(engine):
    done = []
    with pytest.raises(DcbmrError, match=r"block 4 of the numbers failed on .*: KeyError: 'three'"):
        done.extend(engine.map(work.fail_at_3, range(9), what="numbers"))
    assert done in ([0, 1, 2], [0, 1], [0], [])  # it is told of as soon as it is known
    assert list(engine.map(work.double, [1], what="numbers")) == [2]


def test_workers_must_see_what_they_are_to_read(engine):
    engine.check_sees(__file__, "the tests")
    with open(__file__) as mine:  # under a path that leads elsewhere in another process
        os.dup2(mine.fileno(), 987)
    with pytest.raises(InputError, match="does not see the tests, /proc/self/fd/987: there is no such file"):
        engine.check_sees("/proc/self/fd/987", "the tests")
    os.close(987)


def test_a_worker_of_another_version_is_refused(engine, monkeypatch):
    monkeypatch.setattr(on_ray, "__version__", "9.9")
    with pytest.raises(InputError, match=r"has dcbmr 0\..*, and this is 9.9: install the same version"):
        engine._welcome(replace(engine._workers[0]))


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_factors_have_the_bits_of_one_machine(engine, plays, solver, tmp_path):
    settings = {"n_factors": 9, "n_iterations": 3, "solver": solver}
    alone = dcbmr.WeightedALS(**settings).fit(plays)
    together = dcbmr.WeightedALS(**settings).fit(plays, engine=engine)
    np.testing.assert_array_equal(together.user_factors_, alone.user_factors_)
    np.testing.assert_array_equal(together.song_factors_, alone.song_factors_)
    assert _without_time(together.objective_) == _without_time(alone.objective_)
    # From one machine to many and back, a sweep each.
    state = {"checkpoint": tmp_path / "state", "resume": True}
    for n, where in enumerate([None, engine, None], 1):
        there = dcbmr.WeightedALS(**settings | {"n_iterations": n}).fit(plays, engine=where, **state)
    np.testing.assert_array_equal(there.song_factors_, alone.song_factors_)


def _without_time(objective):
    return [{name: value for name, value in terms.items() if name != "seconds"} for terms in objective]


@pytest.fixture
def parquet(tmp_path):
    """Plays in three files, one with ids of a dictionary; pairs repeat, and users are in two of them."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "plays"
    folder.mkdir()
    for n in range(3):
        n_rows = 900
        users = [f"u{u}" for u in rng.integers(30 * n, 30 * n + 45, n_rows)]
        songs = [f"s{s}" for s in rng.integers(0, 40, n_rows)]
        days = [f"2024-01-{1 + day:02}" for day in rng.integers(0, 28, n_rows)]
        columns = {"user": users, "song": pa.array(songs), "count": rng.integers(0, 4, n_rows), "time": days}
        if n == 1:
            columns["song"] = columns["song"].dictionary_encode()
        pq.write_table(pa.table(columns), folder / f"part-{n}.parquet", row_group_size=200)
    (folder / "_SUCCESS").touch()
    return folder


def fit_parquet(engine, folder, place, settings, **state):
    als = dcbmr.WeightedALS(**settings)
    files = parquet_files(folder)
    with cut_plays(engine, files, place / "cut", als, wanted=PlayFilter(since="2024-01-03")) as plays:
        plays.save(fit_on_workers(als, plays, **state), place / "factors", overwrite=True)
    assert not (place / "cut").exists()
    return als


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_plays_that_workers_read_give_the_bits_of_one_machine(engine, parquet, tmp_path, monkeypatch, solver):
    monkeypatch.setattr(parts, "_PART_ROWS", 300)
    settings = {"n_factors": 9, "n_iterations": 3, "solver": solver, "frequency_exponent": 0.5}
    here = dcbmr.PlayCounts.read(parquet, since="2024-01-03")
    alone = dcbmr.WeightedALS(**settings).fit(here)
    together = fit_parquet(engine, parquet, tmp_path, settings)
    assert _without_time(together.objective_) == _without_time(alone.objective_)
    found = dcbmr.Factors.load(tmp_path / "factors")
    for name in ("user_ids", "song_ids", "user_factors", "song_factors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone.factors_, name))
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found.counts, name), getattr(here.counts, name))
    alone.factors_.save(tmp_path / "alone")
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("alone", "factors")]
    assert configs[0].keys() == configs[1].keys()
    # From one machine to many and back, a sweep each: the plays are known for the same.
    state = {"checkpoint": tmp_path / "state", "resume": True}
    dcbmr.WeightedALS(**settings | {"n_iterations": 1}).fit(here, **state)
    fit_parquet(engine, parquet, tmp_path, settings | {"n_iterations": 2}, **state)
    there = dcbmr.WeightedALS(**settings).fit(here, **state)
    np.testing.assert_array_equal(there.song_factors_, alone.song_factors_)


def test_parquet_in_which_no_row_counts(engine, parquet, tmp_path):
    wanted = PlayFilter(since="2025-01-01")
    with (
        pytest.raises(InputError, match=r"3 files: none of 2,700 rows counts: 2,700 before 2025-01-01"),
        cut_plays(engine, parquet_files(parquet), tmp_path / "cut", dcbmr.WeightedALS(), wanted=wanted),
    ):
        pass
    (parquet / "part-3.parquet").write_bytes((parquet / "part-1.parquet").read_bytes()[:-9] + b"?")
    with (
        pytest.raises(InputError, match=r"part-3.parquet cannot be read"),
        cut_plays(engine, parquet_files(parquet), tmp_path / "cut", dcbmr.WeightedALS(), wanted=wanted),
    ):
        pass
    (parquet / "more.tsv").write_text("a\tb\t1\n")
    assert parquet_files(parquet) is None


def test_a_row_that_cannot_be_solved_is_named(engine):
    counts = np.ones((40, 4), np.float32)
    als = dcbmr.WeightedALS(n_factors=3, n_iterations=1, alpha=1e30, regularization=1e-30)
    with pytest.raises(DcbmrError, match=r"block 1 of 1 of the rows: row \d+: its system is singular"):
        als.fit(counts, engine=engine)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "2"], "--workers and --ray-address go with --engine ray"),
        (["--engine", "ray", "--workers", "0"], "0 is not in the range x>=1"),
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], "Ray cluster to be reached: 127.0.0.1:1: Con"),
        (["--engine", "ray", "--ray-address", "here:there"], "wanted HOST:PORT, as 10.0.0.1:6379, or auto"),
    ],
)
def test_wrong_flags_of_an_engine(words, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "plays.tsv").write_text("a\tx\t1\nb\ty\t2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["factorize", "plays.tsv", "-o", "factors", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["codebook", "features"], "a sample is soon read on one machine: leave --engine out"),
        (["train", "--regressor", "auto"], "auto works on one machine: leave --engine out, or name a"),
        (
            ["train", "--regressor", "mlr"],
            "'mlr' learns in one process: leave --engine (engine) out, or take",
        ),
    ],
)
def test_what_one_machine_does_is_refused(words, message, small_world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(small_world)
    if words[0] == "train":
        words = [*words, "--factors", "factors", "--features", "features"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", str(tmp_path / "out"), "--engine", "ray"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray: pip install 'dcbmr\[ray\]'"):
        dcbmr.RayEngine()


def test_features_are_those_of_one_machine(engine, small_world, tmp_path):
    audio = tmp_path / "audio"
    shutil.copytree(small_world / "audio", audio)
    (audio / "bad.wav").write_bytes(b"nothing")
    alone = dcbmr.featurize(audio, tmp_path / "alone")
    together = dcbmr.featurize(audio, tmp_path / "together", engine=engine)
    assert together.audio_s == pytest.approx(alone.audio_s)
    assert replace(together, seconds=0, audio_s=0) == replace(alone, seconds=0, audio_s=0)
    stores = [dcbmr.FeatureStore.open(tmp_path / name) for name in ("alone", "together")]
    for kind in stores[0]:
        assert stores[1][kind].song_ids == stores[0][kind].song_ids
        for song, frames in stores[0][kind].items():
            np.testing.assert_array_equal(stores[1][kind][song], frames)
    assert len(list((tmp_path / "together" / "mel").glob("*.bin"))) > 1
    for name in ("sources.tsv", "failed.tsv"):
        assert (tmp_path / "together" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert not (tmp_path / "together" / "parts").exists()
    # What is new or has changed is made on either, as is what a run that was killed has left.
    first = audio / "song00.wav"
    os.utime(first, ns=(1, 1))
    shutil.copyfile(first, audio / "more.wav")
    again = dcbmr.featurize(audio, tmp_path / "together", resume=True, engine=engine)
    assert (again.n_done, again.n_changed) == (2, 1)
    assert dcbmr.featurize(audio, tmp_path / "together", resume=True).n_done == 0


def test_lists_are_those_of_one_machine(engine, small_world, tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "_BLOCK_ROWS", 100)
    recommender = dcbmr.Recommender.from_factors(dcbmr.Factors.load(small_world / "factors"))
    recommender = recommender.limited_to(per_artist=dcbmr.PerArtist(2, {}))
    for candidates in ("unplayed", "all"):
        given = {"candidates": candidates, "overwrite": True}
        alone, together = (
            dcbmr.save_lists(recommender, tmp_path / name, engine=where, **given)
            for name, where in (("alone", None), ("together", engine))
        )
        assert together == alone
        check_same_lists(tmp_path)
    assert len(list((tmp_path / "together" / "lists.parquet").iterdir())) > 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "together"]


def check_same_lists(root):
    one, other = (pq.read_table(root / name / "lists.parquet") for name in ("alone", "together"))
    assert other.equals(one)
    config, without = (
        [(root / name / file).read_bytes() for name in ("alone", "together")]
        for file in ("config.json", "without_songs.txt")
    )
    assert config[0] == config[1]
    assert without[0] == without[1]


@pytest.mark.parametrize("goes_on_with_workers", [True, False])
def test_lists_go_on_where_they_were(engine, small_world, tmp_path, monkeypatch, goes_on_with_workers):
    monkeypatch.setattr(lists, "_BLOCK_ROWS", 100)
    recommender = dcbmr.Recommender.from_factors(dcbmr.Factors.load(small_world / "factors"))
    dcbmr.save_lists(recommender, tmp_path / "alone")

    def stop(stage, step, n_steps, figures):
        if step > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dcbmr.save_lists(recommender, tmp_path / "together", engine=engine, progress=stop)
    list(engine.map(work.double, [0, 0, 0, 0], what="numbers"))  # they end what they have begun
    assert not (tmp_path / "together").exists()
    parts = tmp_path / ".together.checkpoint"
    times = {part.name: part.stat().st_mtime_ns for part in parts.glob("part-*")}
    assert times
    with pytest.raises(InputError, match=r"unfinished lists were begun .*k"):
        dcbmr.save_lists(recommender, tmp_path / "together", k=5, resume=True, engine=engine)
    fewer = recommender.limited_to(recommender.song_ids[1:])
    with pytest.raises(InputError, match=r"unfinished lists were begun .*crc32"):
        dcbmr.save_lists(fewer, tmp_path / "together", resume=True, engine=engine)
    (parts / f".{next(iter(times))}.123").touch()  # of a worker that was killed
    where = engine if goes_on_with_workers else None
    dcbmr.save_lists(recommender, tmp_path / "together", resume=True, engine=where)
    check_same_lists(tmp_path)
    made = {
        part.name: part.stat().st_mtime_ns for part in (tmp_path / "together" / "lists.parquet").iterdir()
    }
    assert made | times == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "together"]


def test_codewords_have_the_bits_of_one_machine(engine, small_world, tmp_path):
    audio = tmp_path / "audio"
    shutil.copytree(small_world / "audio", audio)
    (audio / "bad.wav").write_bytes(b"nothing")
    found = []
    for where in (None, engine):  # of about 5,000 frames, so that later files hear what is left of the sample
        codebook = dcbmr.Codebook(n_words=8, n_iterations=3)
        (failed,) = fit_codebook_to_audio(audio, codebook, max_frames=500, without=["song03"], engine=where)
        assert "bad.wav" in str(failed)
        found.append(codebook)
    np.testing.assert_array_equal(found[1].words_, found[0].words_)
    np.testing.assert_array_equal(found[1].songs_, found[0].songs_)
    assert found[1].inertias_ == found[0].inertias_


def test_ranks_are_those_of_one_machine(engine, monkeypatch):
    monkeypatch.setattr(ranks, "blocks_of_users", work.small_blocks)
    rng = np.random.default_rng(1)
    users = rng.standard_normal((3000, 8), dtype=np.float32)
    songs = rng.standard_normal((50, 8), dtype=np.float32)
    both = rng.random((3000, 50))
    given = {"excluded": both > 0.9, "k": 10, "n_listed": 5}
    alone, together = (
        dcbmr.evaluate_ranking(users, songs, both < 0.1, **given, engine=where) for where in (None, engine)
    )
    assert together.means() == alone.means()
    np.testing.assert_array_equal(together.top.songs, alone.top.songs)
    np.testing.assert_array_equal(together.top.scores, alone.top.scores)
    np.testing.assert_array_equal(together.ranks.ranks, alone.ranks.ranks)


def test_command_on_an_engine(small_world, tmp_path):
    """All of it, as it is called: Ray is started on this machine, and ended."""
    plays = dcbmr.PlayCounts.read(small_world / "plays.tsv")
    plays.write_parquet(tmp_path / "plays.parquet")
    words = ["factorize", str(tmp_path / "plays.parquet"), "-o", str(tmp_path / "factors")]
    words += ["--iterations", "2", "--engine", "ray", "--workers", "2"]
    done = subprocess.run([sys.executable, "-m", "dcbmr", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ray: 2 workers on 1 machine, 1 thread each" in done.stderr
    n_users, n_songs = plays.counts.shape
    assert f"{n_users:,} users, {n_songs:,} songs, {plays.counts.nnz:,} pairs with plays" in done.stderr
    found = dcbmr.Factors.load(tmp_path / "factors")
    np.testing.assert_array_equal(found.counts.toarray(), plays.counts.toarray())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["factors", "plays.parquet"]


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_a_network_on_two_workers_follows_one_machine(engine, small_world, tmp_path, kind):
    factors, store = (
        dcbmr.Factors.load(small_world / "factors"),
        dcbmr.FeatureStore.open(small_world / "features"),
    )
    how = {"regressor": kind, "params": work.NETWORKS[kind], "kind": {"cnn": "mel", "mlp": "stats"}[kind]}
    alone = dcbmr.train(factors, store, **how)
    seen = []
    together = dcbmr.train(
        factors,
        store,
        **how,
        engine=engine,
        checkpoint=tmp_path / "state",
        progress=lambda *step: seen.append(step),
    )
    songs = store.song_ids
    np.testing.assert_allclose(
        together.predict_store(store, songs), alone.predict_store(store, songs), atol=1e-5
    )
    assert seen[-1][1] == seen[-1][2]
    assert [row["epoch"] for row in together.regressor.history] == [0, 1, 2]
    # It is the same checkpoint: one machine finds nothing left to do.
    again = dcbmr.train(factors, store, **how, checkpoint=tmp_path / "state", resume=True)
    assert again.regressor.history == together.regressor.history
    if kind == "mlp":
        both = [
            dcbmr.train(factors, store, **how, warm_start=alone, engine=where) for where in (None, engine)
        ]
        np.testing.assert_allclose(*(model.predict_store(store, songs) for model in both), atol=1e-5)


def test_an_error_of_a_fit_is_named_and_not_tried_again(engine, small_world):
    factors, store = (
        dcbmr.Factors.load(small_world / "factors"),
        dcbmr.FeatureStore.open(small_world / "features"),
    )
    how = {"regressor": "cnn", "params": work.NETWORKS["cnn"] | {"batch_size": 1}}
    with pytest.raises(InputError, match=r"the fit on .*: 2 workers cannot share batches of 1 songs"):
        dcbmr.train(factors, store, **how, engine=engine)
    assert list(engine.map(work.double, [1], what="numbers")) == [2]
    with pytest.raises(InputError, match="regressor 'linear' learns in one process: leave --engine"):
        dcbmr.train(factors, store, regressor="linear", engine=engine)
