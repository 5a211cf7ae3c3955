"""Vectors that users bring: in the store whole or not at all, beside what is there."""

import numpy as np
import pytest
from sounds import tone, write

import dcbmr
from dcbmr.cli import main
from dcbmr.features.brought import bring_vectors

IDS = [f"song{i}" for i in range(9)]
ARRAY = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)


def npz(path, array=ARRAY, ids=IDS):
    np.savez(path, ids=np.array(ids), vectors=array)
    return path


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_new_store_of_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr("dcbmr.plays.vectors._BLOCK_BYTES", 2 * 16)  # blocks of two
    monkeypatch.setattr("dcbmr.features.writer._MAX_SHARD_BYTES", 5 * 16)
    told = []
    report = bring_vectors(
        npz(tmp_path / "v.npz"),
        tmp_path / "f",
        kind="mood",
        songs_with_plays=["song3", "song1", "other"],
        progress=lambda *what: told.append(what),
    )
    assert (report.n_songs, report.n_dims, report.match.n_matched) == (9, 4, 2)
    assert told[-1] == ("vectors", 9, None, {})
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    assert (store.kinds, store.song_ids, store.check()) == (("mood",), tuple(IDS), {"mood": []})
    assert (store["mood"].shape, store["mood"].n_dims, store["mood"].dtype) == ("vectors", 4, np.float32)
    assert len(list((tmp_path / "f" / "mood").glob("*.bin"))) == 2
    np.testing.assert_array_equal(store["mood"].features(IDS[::-1]).vectors(), ARRAY[::-1])


@pytest.fixture
def heard(tmp_path):
    (tmp_path / "audio").mkdir()
    for name in ("song1", "song2"):
        write(tmp_path / "audio" / f"{name}.wav", tone(1.0))
    dcbmr.featurize(tmp_path / "audio", tmp_path / "f", kinds=["mfcc"])
    return tmp_path / "f"


def test_beside_features_of_audio(tmp_path, heard):
    bring_vectors(npz(tmp_path / "v.npz"), heard, kind="mood")
    store = dcbmr.FeatureStore.open(heard)
    assert store.kinds == ("mfcc", "mood")
    assert (len(store["mfcc"]), len(store["mood"]), len(store.song_ids)) == (2, 9, 9)
    # The pass over the audio goes on as if they were not there.
    write(tmp_path / "audio" / "song77.wav", tone(1.0))
    report = dcbmr.featurize(tmp_path / "audio", heard, kinds=["mfcc"], resume=True)
    assert (report.n_done, report.n_present) == (1, 2)
    store = dcbmr.FeatureStore.open(heard)
    assert (len(store["mfcc"]), len(store["mood"]), len(store.song_ids)) == (3, 9, 10)
    (heard / "unfinished.json").write_text('{"n_songs": 12}')
    with pytest.raises(dcbmr.InputError, match="it has 3 of 12 songs"):
        dcbmr.FeatureStore.open(heard)


def test_songs_are_added_to_a_store_and_not_kinds_of_audio(tmp_path, heard):
    def refused(directory, *kinds):
        before = files(directory)
        with pytest.raises(dcbmr.InputError) as error:
            dcbmr.featurize(tmp_path / "audio", directory, kinds=kinds, resume=True)
        assert files(directory) == before
        return str(error.value)

    cure = "featurize all kinds to another directory"
    assert refused(heard, "mfcc", "mel") == f"{heard} holds mfcc: --resume adds songs, not mel; {cure}"
    dcbmr.featurize(tmp_path / "audio", tmp_path / "both")
    assert refused(tmp_path / "both", "stats") == (
        f"{tmp_path / 'both'} holds mel and mfcc: --resume adds songs, not stats; {cure}, or leave out "
        "stats: models make it of what is there"
    )
    bring_vectors(npz(tmp_path / "v.npz"), tmp_path / "alone", kind="mood")
    assert "holds vectors that were brought: --resume adds" in refused(tmp_path / "alone", "mfcc")


def test_other_vectors_take_their_place_when_told(tmp_path, heard):
    bring_vectors(npz(tmp_path / "v.npz"), heard, kind="mood")
    before = files(heard)
    other = npz(tmp_path / "w.npz", ARRAY[:, :2])
    with pytest.raises(dcbmr.InputError, match=r"mood exists; .*--overwrite"):
        bring_vectors(other, heard, kind="mood")
    assert dcbmr.FeatureStore.open(heard)["mood"].n_dims == 4
    bring_vectors(other, heard, kind="mood", overwrite=True)
    assert dcbmr.FeatureStore.open(heard)["mood"].n_dims == 2
    assert files(heard) == before


@pytest.mark.parametrize("can_link", [True, False])
def test_features_of_audio_are_replaced_and_brought_vectors_stay(tmp_path, heard, monkeypatch, can_link):
    if not can_link:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    bring_vectors(npz(tmp_path / "v.npz"), heard, kind="mood")
    dcbmr.featurize(tmp_path / "audio", heard, kinds=["mel"], overwrite=True)
    store = dcbmr.FeatureStore.open(heard)
    assert set(store.kinds) == {"mel", "mood"}
    np.testing.assert_array_equal(store["mood"].features(IDS).vectors(), ARRAY)
    assert store.check() == {"mel": [], "mood": []}
    (heard / "mood" / "config.json").write_text("{")  # what cannot be read is no reason to keep it
    dcbmr.featurize(tmp_path / "audio", heard, kinds=["mfcc"], overwrite=True)
    assert dcbmr.FeatureStore.open(heard).kinds == ("mfcc",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mfcc"}, "kind 'mfcc' is made of audio; call the vectors otherwise"),
        ({"kind": "bow"}, "kind 'bow' is made of audio"),
        ({"kind": "../x"}, "kind '../x': wanted a letter"),
        (
            {"songs_with_plays": [f"{s}.mp3" for s in IDS]},
            "0 of 9 songs .*cause: a file ending .*nothing was",
        ),
        ({"array": ARRAY * np.nan}, "is not finite"),
        ({"ids": [*IDS[:8], "song0"]}, "song 'song0' is there twice"),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, heard, monkeypatch, options, message):
    monkeypatch.setattr("dcbmr.plays.vectors._BLOCK_BYTES", 2 * 16)
    path = npz(tmp_path / "v.npz", options.pop("array", ARRAY), options.pop("ids", IDS))
    before = files(heard)
    for root in (heard, tmp_path / "new"):
        with pytest.raises(dcbmr.InputError, match=message):
            bring_vectors(path, root, **{"kind": "mood", **options})
    assert files(heard) == before
    assert not [p for p in tmp_path.iterdir() if "new" in p.name]


def test_a_stop_leaves_nothing(tmp_path, heard):
    before = files(heard)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_vectors(npz(tmp_path / "v.npz"), heard, kind="mood", progress=stop)
    assert files(heard) == before


@pytest.fixture
def run(capsys):
    def run(*args):
        with pytest.raises(SystemExit) as stopped:
            main([str(arg) for arg in args])
        return stopped.value.code, *capsys.readouterr()

    return run


def test_command_line(tmp_path, run):
    path = npz(tmp_path / "v.npz")
    plays = tmp_path / "plays.tsv"
    plays.write_text("".join(f"u\tsong{i}\t1\n" for i in range(4)) + "u\tSONG5\t2\nu\tSONG6\t2\n")
    command = ("featurize", "--vectors", path, "-o", tmp_path / "f")
    status, out, _ = run(*command, "--kind", "mood", "--plays", plays)
    assert status == 0
    assert out == (
        f"{tmp_path / 'f' / 'mood'}: 9 vectors of 4 dimensions\n"
        "  4 of 6 songs with plays have vectors (not 'SONG5', 'SONG6'), 5 vectors are of other songs; likely "
        "cause: upper and lower case ('song5' here, 'SONG5' there)\n"
    )
    assert run("featurize", "--check", tmp_path / "f")[:2] == (0, f"{tmp_path / 'f' / 'mood'}: whole\n")
    for wrong, message in (
        ((), "wants one --kind NAME"),
        (("--kind", "a", "--kind", "b"), "wants one --kind NAME"),
        (("--kind", "a", "--resume"), "no --resume"),
        (("--kind", "a", tmp_path), "wanted AUDIO or --vectors FILE"),
        (("--kind", "mel"), "kind 'mel' is made of audio"),
    ):
        status, _, err = run(*command, *wrong)
        assert status == 2, wrong
        assert message in err
    assert (
        "--plays goes with --vectors" in run("featurize", tmp_path, "-o", tmp_path / "g", "--plays", plays)[2]
    )
