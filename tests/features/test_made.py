"""A kind that a store lacks, made of the frames that it has: the numbers that featurize would have stored."""

import numpy as np
import pytest
from sounds import tone, write

import dcbmr
from dcbmr.features.made import MadeKind

PLUGIN = """
    import numpy as np
    from dcbmr import FeatureSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Contrast:
        def __init__(self, *, sources) -> None:
            self.n_dims = sources["mel"].n_dims

        config = {}

        def extract(self, frames):
            if len(frames["mel"]) < 50:
                raise ValueError("too few to compare")
            return frames["mel"].max(axis=0) - frames["mel"].min(axis=0)

    class Change:
        n_dims, config = 2, {}

        def __init__(self, *, sources) -> None:
            self.sources = sources

        def stream(self):
            return ChangeStream()

    class ChangeStream:
        def __init__(self):
            self.last = np.empty((0, 2), np.float32)

        def accept(self, frames):
            rows = np.concatenate([self.last, frames["mel"][:, :2]])
            self.last = rows[-1:]
            return np.diff(rows, axis=0) / 3

        def finish(self):
            return np.empty((0, 2), np.float32)

    @hookimpl
    def dcbmr_features():
        return [
            FeatureSpec("contrast", Contrast, "of mel", made_of=("mel",)),
            FeatureSpec(
                "change", Change, "of mel", shape="frames", dtype="<f2", made_of=("mel",), is_streaming=True
            ),
        ]
"""
KINDS = ["contrast", "change", "stats"]


@pytest.fixture
def music(install, tmp_path):
    install("change-plugin", PLUGIN)
    for song, (seconds, hz) in enumerate([(2.0, 440.0), (7.5, 880.0), (3.2, 220.0)]):
        write(tmp_path / "music" / f"song{song}.wav", tone(seconds, hz=hz))
    return tmp_path / "music"


@pytest.fixture
def store(music, tmp_path):
    dcbmr.featurize(music, tmp_path / "frames")
    return dcbmr.FeatureStore.open(tmp_path / "frames")


def test_they_have_the_bits_of_the_pass_over_the_audio(music, store, tmp_path):
    dcbmr.featurize(music, tmp_path / "all", kinds=["mel", "mfcc", *KINDS])
    stored = dcbmr.FeatureStore.open(tmp_path / "all")
    assert store.kinds == ("mel", "mfcc")
    for kind in KINDS:
        assert kind in store
        made = store[kind]
        assert made.config == stored[kind].config
        assert (made.song_ids, len(made), "song1" in made) == (stored[kind].song_ids, 3, True)
        for song in reversed(made.song_ids):
            np.testing.assert_array_equal(made[song], stored[kind][song])
    songs = ["song2", "song0", "song2"]
    for kind in ("contrast", "stats"):
        found, wanted = (features[kind].features(songs) for features in (store, stored))
        np.testing.assert_array_equal(found.vectors(), wanted.vectors())
    found, wanted = (features["change"].features(songs) for features in (store, stored))
    np.testing.assert_array_equal(found.n_frames, wanted.n_frames)
    where = np.array([0, 1, 2]), np.array([5, 80, 100])
    np.testing.assert_array_equal(found.windows(*where, 60), wanted.windows(*where, 60))


def test_a_song_is_made_once_on_any_number_of_threads(store, monkeypatch):
    asked = []
    real = MadeKind._made
    monkeypatch.setattr(
        MadeKind, "_made", lambda self, song, cancelled: asked.append(song) or real(self, song, cancelled)
    )
    told = []
    pipeline = dcbmr.FeaturePipeline("stats", n_threads=2)
    first = pipeline.learn(store, ["song1", "song0"], progress=lambda *what: told.append(what[:3]))
    assert told == [("make stats", 1, 2), ("make stats", 2, 2)]
    again = pipeline.make(store.song_ids, pipeline.read(store, store.song_ids)).vectors()
    assert sorted(asked) == ["song0", "song1", "song2"]
    np.testing.assert_array_equal(first.vectors(), again[[1, 0]])


def test_what_was_made_before_an_interruption_is_kept(store, monkeypatch):
    def stop(what, done, total, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store["stats"].make(store.song_ids, progress=stop)
    told = []
    store["stats"].make(store.song_ids, progress=lambda *what: told.append(what[:3]))
    assert told == [("make stats", 1, 2), ("make stats", 2, 2)]
    assert np.isfinite(store["stats"].features(store.song_ids).vectors()).all()


def test_what_cannot_be_made_is_named(music, store, tmp_path):
    with pytest.raises(dcbmr.InputError, match="frames lacks the frames of 1 songs: 'nobody'"):
        store["stats"].features(["song0", "nobody"])
    write(music / "brief.wav", tone(0.5))
    dcbmr.featurize(music, tmp_path / "more")
    with pytest.raises(
        dcbmr.InputError,
        match="more, song brief: .*change-plugin.* failed to make 'contrast': ValueError: too few to "
        "compare; dcbmr featurize --kind contrast leaves out what fails",
    ):
        dcbmr.FeatureStore.open(tmp_path / "more")["contrast"].features(["song0", "brief"])
    dcbmr.featurize(music, tmp_path / "mfcc", kinds=["mfcc"])
    alone = dcbmr.FeatureStore.open(tmp_path / "mfcc")
    assert "stats" not in alone
    with pytest.raises(
        dcbmr.InputError, match="no features of kind 'stats', which is made of mel and mfcc: it has mfcc"
    ):
        alone["stats"]
