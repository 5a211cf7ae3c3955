"""What benchmarks/hostile has found, kept; and a thousandth of what it tries."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

import dcbmr
from dcbmr.audio.decode import decode
from dcbmr.experiment.experiment import plan_experiment
from dcbmr.experiment.reading import read_experiment

HOSTILE = Path(__file__).parents[1] / "benchmarks" / "hostile"


def test_a_thousandth_of_it_all(tmp_path):
    pytest.importorskip("av")
    words = [sys.executable, "-P", HOSTILE, tmp_path, "--n", "10", "--seed", "tests"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    outcomes = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(outcomes) == 17, done.stderr
    findings = [(file.parent.name, file.read_text()) for file in tmp_path.glob("findings/*/outcome.txt")]
    assert not findings
    assert sum(sum(json.loads(counts).values()) for _, counts, _ in outcomes) == 6 * 10 + 10 + 10


USES = """
import os, pickle, runpy, socket, sys
sys.path.insert(0, sys.argv[1])
import seeds
uses = {
    "crashes": lambda: os.abort(),
    "executes": lambda: pickle.loads(seeds.payloads()[2]),
    "calls": lambda: socket.socket().connect(("127.0.0.1", 9)),
    "raises": lambda: [][0],
    "reads": lambda: None,
}
seeds.use = lambda family, path, of: uses[family]()
sys.argv = [sys.argv[1], "--work", *sys.argv[2:]]
runpy.run_path(os.path.join(sys.argv[0], "__main__.py"), run_name="__main__")
"""


def test_what_a_case_does_is_seen(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HOSTILE)
    worker = runpy.run_path(str(HOSTILE / "__main__.py"))["Worker"](tmp_path / "seeds", tmp_path / "at")
    worker._words = [sys.executable, "-P", "-c", USES, str(HOSTILE), *worker._words[-2:]]
    (tmp_path / "at").mkdir()
    found = {}
    for family in ("crashes", "executes", "calls", "raises", "reads"):
        (tmp_path / "seeds" / family).mkdir(parents=True)
        (tmp_path / "seeds" / family / "a.tsv").write_text("a\tb\n")
        found[family] = worker(family, 0, "0")[0]
    worker.close()
    assert list(found.values()) == ["crash", "executed", "executed", "IndexError", "read"]


def encoded_m4a(path, title):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for begin in range(0, 8192, 1024):
            samples = 0.1 * np.random.default_rng(begin).standard_normal((1, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_m4a_whose_title_is_no_utf8(tmp_path):
    path = tmp_path / "a.m4a"
    content = encoded_m4a(path, "a title")
    assert b"a title" in content
    whole = np.concatenate(list(decode(path)))
    path.write_bytes(content.replace(b"a title", b"\xe9 title"))
    np.testing.assert_array_equal(np.concatenate(list(decode(path))), whole)


def test_m4a_of_a_codec_that_nobody_knows(tmp_path):
    path = tmp_path / "a.m4a"
    content = encoded_m4a(path, "a title")
    assert b"\x40\x15" in content  # MPEG-4 audio, in the description of the stream
    path.write_bytes(content.replace(b"\x40\x15", b"\x99\x15").replace(b"mp4a", b"zzzz"))
    with pytest.raises(dcbmr.InputError, match=r"a\.m4a"):
        list(decode(path))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (3e38, "holds a sample beyond 1.09951e\\+12, at 0.100 s: 3e\\+38"),
        (np.nan, "NaN or infinite, at 0.100 s"),
    ],
)
def test_samples_that_are_no_sound(tmp_path, sample, message):
    sound = np.zeros(9000, np.float32)
    sound[800] = sample
    soundfile.write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    with pytest.raises(dcbmr.InputError, match=message):
        list(decode(tmp_path / "a.wav"))


def test_npz_whose_compression_is_damaged(tmp_path):
    path = tmp_path / "v.npz"
    np.savez_compressed(path, ids=np.array(["a", "b"]), vectors=np.arange(400.0).reshape(2, 200))
    content = bytearray(path.read_bytes())
    at = content.index(b"vectors.npy") + 30
    content[at : at + 40] = bytes(range(200, 240))
    path.write_bytes(content)
    with pytest.raises(dcbmr.InputError, match=r"v\.npz"):
        dcbmr.bring_vectors(path, tmp_path / "f", kind="tags")


def test_npy_whose_header_ends_in_a_bracket(tmp_path):
    header = b"{'descr': ('<f4',"
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (tmp_path / "v.ids.txt").write_text("a\n")
    with pytest.raises(dcbmr.InputError, match=r"v\.npy"):
        dcbmr.bring_vectors(tmp_path / "v.npy", tmp_path / "f", kind="tags")


def test_parquet_whose_ids_are_no_utf8(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    ids = pa.array([b"a", b"\xff\xfe"]).view(pa.string())
    path = tmp_path / "plays.parquet"
    parquet.write_table(pa.table({"user": ids, "song": ids, "count": [1, 2]}), path, store_schema=False)
    with pytest.raises(dcbmr.InputError, match=r"plays\.parquet cannot be read: .*Invalid UTF8"):
        dcbmr.PlayCounts.read(path)


def test_a_path_twice_in_a_manifest_is_one_file(tmp_path):
    (tmp_path / "songs.tsv").write_text("a\tmissing.wav\na\tmissing.wav\n")
    report = dcbmr.featurize(tmp_path / "songs.tsv", tmp_path / "f")
    assert (report.n_copies, report.failed.total()) == (1, 1)


def test_a_zero_byte_in_the_path_of_a_copy_in_a_manifest(tmp_path):
    (tmp_path / "songs.tsv").write_text("a\tmissing.wav\na\tmiss\0ing.wav\n")
    with pytest.raises(dcbmr.InputError, match="1 song has several files that differ: 'a'"):
        dcbmr.featurize(tmp_path / "songs.tsv", tmp_path / "f")


@pytest.mark.parametrize("line", ["x = " + "[" * 3000, 'random_state = "' + "f" * 100_000 + '"'])
def test_toml_that_is_deep_or_long(tmp_path, line):
    path = tmp_path / "config.toml"
    path.write_text(line + "\n")
    with pytest.raises(dcbmr.InputError, match=r"config\.toml"):
        read_experiment(path)


@pytest.mark.parametrize("name", ["alpha", "regularization", "unobserved_weight", "frequency_exponent"])
def test_factors_with_a_text_for_a_number(tmp_path, name):
    plays = dcbmr.PlayCounts.from_triplets(["a", "b"], ["s", "t"], [1, 2])
    dcbmr.WeightedALS(n_factors=2, n_iterations=1).fit(plays).factors_.save(tmp_path / "f")
    change(tmp_path / "f" / "config.json", **{name: "<f8"})
    with pytest.raises(dcbmr.InputError, match=f"f is damaged.*{name} must .*'<f8'"):
        dcbmr.Factors.load(tmp_path / "f")


def test_factors_whose_scores_overflow(tmp_path):
    plays = dcbmr.PlayCounts.from_triplets(["a", "b"], ["s", "t"], [1, 2])
    factors = dcbmr.WeightedALS(n_factors=2, n_iterations=1).fit(plays).factors_
    factors.save(tmp_path / "f")
    tensors = load_file(tmp_path / "f" / "factors.safetensors")
    for name in ("user_factors", "song_factors"):
        tensors[name] = np.full((2, 2), 3e30, np.float32)
    save_file(tensors, tmp_path / "f" / "factors.safetensors")
    with pytest.raises(dcbmr.InputError, match=r"f is damaged.* up to 3e\+30 and 3e\+30, .* overflow"):
        dcbmr.Factors.load(tmp_path / "f")


def change(file, **values):
    content = json.loads(file.read_text())
    content.update(values)
    file.write_text(json.dumps({name: value for name, value in content.items() if value != "gone"}))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store and a model of it."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "music").mkdir()
    rng = np.random.default_rng(0)
    for song in range(6):
        soundfile.write(folder / "music" / f"s{song}.wav", 0.1 * rng.standard_normal(9000), 22050)
    dcbmr.featurize(folder / "music", folder / "features", kinds=("mel", "mfcc", "stats"))
    users, songs = np.repeat(np.arange(8), 3), rng.integers(0, 6, 24)
    plays = dcbmr.PlayCounts.from_triplets([f"u{u}" for u in users], [f"s{s}" for s in songs], [1] * 24)
    factors = dcbmr.WeightedALS(n_factors=2, n_iterations=1).fit(plays).factors_
    store = dcbmr.FeatureStore.open(folder / "features")
    dcbmr.train(factors, store, regressor="linear", kind="stats").save(folder / "model")
    words = dcbmr.FeaturePipeline("bow_pca", n_words=2)
    with pytest.warns(UserWarning, match="fewer than 50 frames a codeword"):
        dcbmr.train(factors, store, regressor="linear", pipeline=words).save(folder / "of_words")
    return folder


@pytest.mark.parametrize(
    "values",
    [
        {"made_of": 0.5},
        {"made_of": [1]},
        {"made_of": None},
        {"settings": "x"},
        {"feature": ["stats"]},
        {"feature": 5},
        {"params": 8},
    ],
)
def test_a_store_whose_kind_is_nonsense(kept, values):
    file = kept / "features" / "stats" / "config.json"
    whole = file.read_text()
    try:
        change(file, **values)
        with pytest.raises(dcbmr.InputError, match=r"stats/config\.json is damaged"):
            _ = dcbmr.FeatureStore.open(kept / "features")["stats"]
    finally:
        file.write_text(whole)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="nothing here that fails to be read")
def test_an_index_that_the_disk_does_not_give(kept, tmp_path):
    shutil.copytree(kept / "features", tmp_path / "f")
    index = tmp_path / "f" / "mel" / "songs.tsv"
    index.unlink()
    index.symlink_to("/proc/self/mem")
    with pytest.raises(dcbmr.InputError, match=r"songs\.tsv is damaged: OSError: .*Input/output error"):
        _ = dcbmr.FeatureStore.open(tmp_path / "f")["mel"]


@pytest.mark.parametrize("value", ["0.1", [0.1]])
def test_results_whose_intervals_are_no_numbers(tmp_path, value):
    pairs = [(f"u{user}", f"s{song}") for user in range(8) for song in range(6) if (user * song) % 3]
    users, songs = zip(*pairs, strict=True)
    split = dcbmr.split_plays(dcbmr.PlayCounts.from_triplets(users, songs, [1] * len(pairs)), by="play")
    known = dcbmr.WeightedALS(n_factors=2, n_iterations=1).fit(split).factors_
    dcbmr.evaluate_factors({"known": known}, split, n_resamples=10).save(tmp_path / "r")
    file = tmp_path / "r" / "results.json"
    rows = json.loads(file.read_text())["rows"]
    change(file, rows=[row | {"auc_low": value} for row in rows])
    with pytest.raises(dcbmr.InputError, match=r"r/results\.json does not hold .*: row 0 has .* for auc_low"):
        dcbmr.Evaluation.load(tmp_path / "r")


@pytest.mark.parametrize(
    ("name", "change_to"),
    [
        ("config.json", {"regressor": "gone"}),
        ("pipeline/config.json", {"feature": "gone"}),
        ("pipeline/config.json", {"source": "gone"}),
        ("pipeline/config.json", {"source": ["stats"]}),
        ("regressor/linear.json", {"loss": "gone", "regularization_used": "gone", "leave_one_out": "gone"}),
    ],
)
def test_a_damaged_model_is_named(kept, name, change_to):
    file = kept / "model" / name
    whole = file.read_text()
    try:
        change(file, **change_to)
        with pytest.raises(dcbmr.DcbmrError, match="model"):
            dcbmr.load_model(kept / "model")
    finally:
        file.write_text(whole)


def test_json_that_is_deep(kept):
    file = kept / "model" / "config.json"
    whole = file.read_text()
    try:
        file.write_text("[" * 100_000)
        with pytest.raises(dcbmr.InputError, match=r"config\.json is damaged"):
            dcbmr.Model.load(kept / "model")
    finally:
        file.write_text(whole)


def test_a_codebook_of_other_frames_than_its_model_is(kept):
    file = kept / "of_words" / "pipeline" / "codebook" / "config.json"
    whole = file.read_text()
    try:
        change(file, frames=json.loads(whole)["frames"] | {"fmax": 8000.0})
        with pytest.raises(dcbmr.InputError, match="of_words is damaged: .*fmax is none .wanted 8000.0"):
            dcbmr.load_model(kept / "of_words")
    finally:
        file.write_text(whole)
    assert dcbmr.load_model(kept / "of_words").pipeline.kind == "bow_pca"


def test_rows_of_songs_that_the_factors_lack(kept, tmp_path):
    shutil.copytree(kept / "model", tmp_path / "model")
    rows = np.load(tmp_path / "model" / "training_songs.npy")
    np.save(tmp_path / "model" / "training_songs.npy", np.where(rows == rows[0], 32767, rows))
    model = dcbmr.load_model(tmp_path / "model")
    with pytest.raises(
        dcbmr.InputError, match="model is damaged: .* rows from [0-9]+ to 32767, and the factors 6"
    ):
        _ = model.song_ids
    np.save(tmp_path / "model" / "training_songs.npy", rows[1:])
    with pytest.raises(dcbmr.InputError, match=r"model is damaged: .*holds int64 \(5,\) for 6 songs"):
        dcbmr.load_model(tmp_path / "model")


@pytest.mark.parametrize("weights", [["x", 0.5], [0.5], [float("inf"), 0.5], 8])
def test_a_stack_whose_weights_are_nonsense(kept, tmp_path, weights):
    models = [dcbmr.load_model(kept / name) for name in ("model", "of_words")]
    dcbmr.Stack(models).save(tmp_path / "stack")
    change(tmp_path / "stack" / "config.json", weights=weights)
    with pytest.raises(dcbmr.InputError, match="stack is damaged: "):
        dcbmr.load_model(tmp_path / "stack")


def test_a_split_that_trains_on_what_it_holds_out(tmp_path):
    plays = dcbmr.PlayCounts.from_triplets(["a"] * 9, [f"s{song}" for song in range(9)], [1] * 9)
    split = dcbmr.split_plays(plays, by="song")
    split.save(tmp_path / "s")
    with (tmp_path / "s" / "heldout_songs.txt").open("a") as songs:
        songs.write(f"{split.train.song_ids[0]}\n")
    with pytest.raises(
        dcbmr.InputError, match="s is damaged: .*1 of its held-out songs are trained on, as 's"
    ):
        dcbmr.Split.load(tmp_path / "s")


def test_a_network_that_no_memory_holds(kept, tmp_path):
    pytest.importorskip("torch")
    store = dcbmr.FeatureStore.open(kept / "features")
    small = {"epochs": 1, "window": 8, "channels": (4,), "pools": (2,), "hidden": (8,), "filter_length": 3}
    factors = dcbmr.load_model(kept / "model").factors
    dcbmr.train(factors, store, regressor="cnn", loss="mse", params=small).save(tmp_path / "m")
    file = tmp_path / "m" / "regressor" / "network.json"
    change(file, parameters=json.loads(file.read_text())["parameters"] | {"window": 1 << 45})
    with pytest.raises((dcbmr.InputError, MemoryError), match=r"out of memory|Unable to allocate"):
        dcbmr.load_model(tmp_path / "m").predict_store(store)


@pytest.mark.parametrize("numbers", ["0\t9223372036854775808\t4", "0\t-1\t4", "0\t0\t9223372036854775808"])
def test_an_index_of_numbers_that_are_none(kept, tmp_path, numbers):
    shutil.copytree(kept / "features", tmp_path / "f")
    index = tmp_path / "f" / "mel" / "songs.tsv"
    index.write_text(f"s0\t{numbers}\t00000000\n")
    with pytest.raises(dcbmr.InputError, match=r"songs\.tsv.* is damaged"):
        _ = dcbmr.FeatureStore.open(tmp_path / "f")["mel"]


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"])
def test_an_experiment_of_plays_that_no_file_can_be(tmp_path, path):
    file = tmp_path / "config.toml"
    (tmp_path / "a.wav").touch()
    row = '[[rows]]\nname = "linear"\nregressor = "linear"\n'
    file.write_text(f'[data]\nplays = {json.dumps(path)}\naudio = "."\n{row}')
    with pytest.raises(dcbmr.InputError, match=r"data.* plays must be .* got|File name too long"):
        plan_experiment(read_experiment(file), tmp_path / "out")
