"""Audio to words in one pass, the sample it learns from, and the store and commands around it."""

import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from dcbmr import MFCC, Codebook, FeatureStore, InputError
from dcbmr.cli import cli
from dcbmr.features.bag_of_words import bag_of_words
from dcbmr.features.codebook import fit_codebook
from dcbmr.features.featurize import features_of_files, featurize
from dcbmr.features.recipe import Recipe
from dcbmr.features.words import FrameSample, fit_codebook_to_audio

SR = 22050
pytestmark = pytest.mark.filterwarnings("ignore:.* fewer than 50 frames a codeword")


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Six songs of noise and tones, of several lengths, and a file that is none."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("audio")
    for i, seconds in enumerate([1.0, 2.5, 0.7, 4.0, 1.3, 2.0]):
        t = np.arange(int(seconds * SR)) / SR
        tones = sum(0.2 * np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 4000, 3))
        sound = tones * (np.sin(2 * np.pi * rng.uniform(1, 5) * t) > 0) + 0.01 * rng.standard_normal(len(t))
        soundfile.write(folder / f"s{i}.wav", sound, SR)
    (folder / "broken.wav").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def store(audio, tmp_path_factory):
    directory = tmp_path_factory.mktemp("features") / "features"
    featurize(audio, directory, kinds=["mfcc"])
    return directory


@pytest.fixture(scope="module")
def codebook(store):
    features = FeatureStore.open(store)["mfcc"]
    return fit_codebook(features.features(features.song_ids), n_words=30)


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


def test_one_pass_counts_what_the_store_counts(audio, store, codebook, tmp_path):
    frames = FeatureStore.open(store)["mfcc"]
    expected = bag_of_words(frames.features(frames.song_ids), codebook)
    report = featurize(audio, tmp_path / "words", kinds=["bow"], codebook=codebook, n_threads=2)
    assert (report.n_done, report.failed.total()) == (6, 1)
    words = FeatureStore.open(tmp_path / "words")["bow"]
    assert words.song_ids == frames.song_ids
    features = words.features(words.song_ids)
    assert (features.kind, features.n_dims, features.song_ids) == ("bow", 30, words.song_ids)
    np.testing.assert_array_equal(features.vectors().toarray(), expected.toarray())
    np.testing.assert_array_equal(words["s3"], expected[[3]].toarray()[0])
    backwards = words.features(words.song_ids[::-1])
    np.testing.assert_array_equal(backwards.vectors().toarray(), expected.toarray()[::-1])
    assert words.features([]).vectors().shape == (0, 30)
    found = features_of_files([audio / "s3.wav"], Recipe.again([words.config], codebook=codebook))["bow"]
    np.testing.assert_array_equal(found.vectors().toarray()[0], words["s3"])
    # Sparse on disk: a pair of numbers for each word that occurs.
    assert (tmp_path / "words" / "bow" / "00000.bin").stat().st_size == 8 * expected.nnz


def test_words_beside_other_kinds(audio, store, codebook, tmp_path):
    featurize(audio, tmp_path / "all", kinds=["mel", "bow", "mfcc"], codebook=codebook)
    frames = FeatureStore.open(tmp_path / "all")["mfcc"]
    np.testing.assert_array_equal(frames["s1"], FeatureStore.open(store)["mfcc"]["s1"])
    assert FeatureStore.open(tmp_path / "all")["mel"].n_dims == 128
    words = FeatureStore.open(tmp_path / "all")["bow"]
    np.testing.assert_array_equal(words["s1"], codebook.bag_of_words(frames["s1"]))


def test_resuming_wants_the_same_codebook(audio, codebook, tmp_path):
    out = tmp_path / "words"
    featurize([audio / "s0.wav"], out, kinds=["bow"], codebook=codebook)
    featurize(audio, out, kinds=["bow"], codebook=codebook, resume=True)
    assert len(FeatureStore.open(out)["bow"]) == 6
    other = Codebook(n_words=30).fit(codebook.words_ + 1, frame_config=codebook.frame_config_)
    with pytest.raises(InputError, match=f"other settings: codebook is {codebook.digest} .wanted"):
        featurize(audio, out, kinds=["bow"], codebook=other, resume=True)


def test_codebook_and_frames_must_fit(audio, codebook, tmp_path):
    with pytest.raises(InputError, match="go together"):
        featurize(audio, tmp_path / "a", kinds=["bow"])
    with pytest.raises(InputError, match="go together"):
        featurize(audio, tmp_path / "a", kinds=["mel"], codebook=codebook)
    unknown = Codebook(n_words=3).fit(codebook.words_)
    with pytest.raises(InputError, match="does not know how its frames were made"):
        featurize(audio, tmp_path / "a", kinds=["bow"], codebook=unknown)
    featurize(audio, tmp_path / "half", kinds=["mfcc"], params={"n_mfcc": 13})
    frames = FeatureStore.open(tmp_path / "half")["mfcc"]
    config = tmp_path / "half" / "mfcc" / "config.json"
    made = json.loads(config.read_text())
    config.write_text(json.dumps({**made, "settings": {**made["settings"], "hop_length": 256}}))
    other = FeatureStore.open(tmp_path / "half")["mfcc"]
    bag_of_words(frames.features(["s0"]), codebook)
    with pytest.raises(InputError, match="other settings: hop_length is 256 .wanted 512"):
        bag_of_words(other.features(["s0"]), codebook)


def test_the_sample_of_a_stream(audio):
    """All frames where they fit; else as many as fit, whatever the threads."""
    songs = {f"s{i}": soundfile.read(audio / f"s{i}.wav", dtype="float32")[0] for i in range(6)}
    everything = np.concatenate([MFCC()(samples) for samples in songs.values()])
    seen = []

    class Spy(Codebook):
        def fit(self, frames, **rest):
            seen.append(np.array(frames))
            return super().fit(frames, **rest)

    failed = fit_codebook_to_audio(audio, Spy(n_words=5), max_frames=10_000)
    assert [error.path for error in failed] == [str(audio / "broken.wav")]
    np.testing.assert_array_equal(seen[-1], everything)
    for n_threads in (1, 2, 4):
        codebook = Spy(n_words=5, n_threads=n_threads, random_state=3)
        fit_codebook_to_audio(audio, codebook, max_frames=100)
        assert codebook.n_frames_ == 100
        assert codebook.frame_config_ == MFCC().config
        np.testing.assert_array_equal(seen[-1], seen[1])
    # In order, without replacement, and from everywhere.
    places = [np.flatnonzero((everything == row).all(axis=1))[0] for row in seen[1]]
    assert (np.diff(places) > 0).all()
    assert np.abs(np.mean(places) / len(everything) - 0.5) < 0.1
    fit_codebook_to_audio(audio, Spy(n_words=5, random_state=4), max_frames=100)
    assert not np.array_equal(seen[-1], seen[1])
    fit_codebook_to_audio(audio, Spy(n_words=5), max_frames=10_000, without=["s0", "s3"])
    assert len(seen[-1]) == len(everything) - sum(len(MFCC()(songs[s])) for s in ("s0", "s3"))


def test_the_sample_is_even_and_bounded():
    counts = np.zeros(50)
    for seed in range(200):
        sample = FrameSample(10, 1, seed)
        for song in range(10):
            keys = sample.keys_of(f"song {song}").random(5)
            chosen = sample.chosen(keys)
            frames = np.arange(5 * song, 5 * song + 5, dtype=np.float32)[:, None]
            sample.add(keys[chosen], frames[chosen], 5)
        assert sample.n_seen == 50
        assert len(sample.frames()) == 10
        counts[sample.frames()[:, 0].astype(int)] += 1
    # 40 draws of each expected, with a standard deviation below 6.
    assert np.abs(counts - 40).max() < 25
    with pytest.raises(InputError, match="max_frames"):
        FrameSample(0, 1, 0)


def test_no_usable_audio(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"no file could be used; the first: .*a\.wav"):
        fit_codebook_to_audio(tmp_path, Codebook(n_words=2))


def test_commands(audio, store, tmp_path):
    heldout = tmp_path / "heldout_songs.txt"
    heldout.write_text("s5\n")
    done = run("codebook", store, "-o", tmp_path / "a", "--words", 20, "--without", heldout)
    assert done.exit_code == 0, done.output
    assert "20 codewords" in done.output
    frames = FeatureStore.open(store)["mfcc"]
    n_frames = frames.n_frames[:5].sum()
    assert f"over {n_frames} frames" in done.output
    done = run("codebook", audio, "-o", tmp_path / "b", "--words", 20, "--without", heldout)
    assert done.exit_code == 0, done.output
    assert "skipped" in done.stderr
    # Both ways see the same frames.
    a, b = Codebook.load(tmp_path / "a"), Codebook.load(tmp_path / "b")
    np.testing.assert_array_equal(a.words_, b.words_)
    assert a.frame_config_ == b.frame_config_
    assert a.n_frames_ == n_frames
    np.testing.assert_array_equal(a.scale_, b.scale_)
    done = run("codebook", store, "-o", tmp_path / "raw", "--words", 20, "--no-standardize")
    assert done.exit_code == 0, done.output
    assert Codebook.load(tmp_path / "raw").scale_ is None
    # Both know their songs: not the one left out, not the file that is none.
    for learned in (a, b):
        assert learned.seen(["s5", "broken", "s4", "s0", "elsewhere"]) == ["s4", "s0"]
        assert len(learned.songs_) == 5

    done = run("featurize", audio, "-o", tmp_path / "words", "--kind", "bow", "--codebook", tmp_path / "b")
    assert done.exit_code == 0, done.output
    assert FeatureStore.open(tmp_path / "words")["bow"]["s0"].sum() == len(frames["s0"])
    with pytest.raises(InputError, match="exists"):
        run("codebook", store, "-o", tmp_path / "a", "--words", 20)
    with pytest.raises(InputError, match="holds 'features' and is not overwritten with 'codebook'"):
        run("codebook", heldout, "-o", tmp_path / "words", "--overwrite")
    with pytest.raises(InputError, match="fewer than n_words = 4000"):
        run("codebook", store, "-o", tmp_path / "c")


def test_what_can_be_known_is_checked_before_any_audio_is_read(audio, codebook, tmp_path, monkeypatch):
    def read(*_, **__):
        pytest.fail("audio was read")

    monkeypatch.setattr("dcbmr.features.words.decode", read)
    monkeypatch.setattr("dcbmr.features.extraction.decode_at", read)
    with pytest.raises(InputError, match="100 frames are fewer than n_words = 4000"):
        fit_codebook_to_audio(audio, Codebook(), max_frames=100)
    codebook.save(tmp_path / "codebook")
    words = ["featurize", audio, "-o", tmp_path / "f", "--kind", "bow", "--codebook", tmp_path / "codebook"]
    differ = "learned from frames with other settings: "
    with pytest.raises(InputError, match=rf"{differ}n_fft is 1024 \(wanted 2048\); leave"):
        run(*words, "--set", "n_fft=2048")
    with pytest.raises(InputError, match=rf"{differ}n_mfcc is 13 \(wanted 20\), deltas is 2 \(wanted 1\);"):
        run(*words, "--set", "n_mfcc=20", "--set", "deltas=1")
    with pytest.raises(InputError, match="holds 'codebook' and is not overwritten with 'features'"):
        run("featurize", audio, "-o", tmp_path / "codebook", "--overwrite")
    assert not (tmp_path / "f").exists()
