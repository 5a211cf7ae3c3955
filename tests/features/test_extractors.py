"""Kinds of features that plugins offer: made in the pass over the audio, and what is bad of them named."""

import re
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner
from sounds import tone, write

import dcbmr
from dcbmr.audio import decode
from dcbmr.cli import cli
from dcbmr.contract import registry
from dcbmr.features.recipe import Recipe

# "levels" has a frame for each second at 8 kHz, "pitch" a vector of a whole clip at 16 kHz, "contrast" is
# made of all mel frames, "mean" of mel and MFCC frames as they come.
PLUGIN = """
    import numpy as np
    from dcbmr import FeatureSpec, InputError, hookimpl

    DCBMR_CONTRACT = 2

    class Levels:
        n_dims = 2

        def __init__(self, *, sr: float = 8000.0, gain: float = 1.0) -> None:
            self.sr, self.gain = sr, gain

        @property
        def config(self):
            return {"sr": self.sr, "gain": self.gain}

        def check(self):
            if self.gain <= 0:
                raise InputError(f"gain must be above 0; got {self.gain}")

        def stream(self):
            return LevelStream(self)

    class LevelStream:
        def __init__(self, levels):
            self.levels, self.rest = levels, np.empty(0, np.float32)

        def accept(self, samples):
            samples *= self.levels.gain
            samples = np.concatenate([self.rest, samples])
            second = int(self.levels.sr)
            n = len(samples) // second
            whole, self.rest = samples[: n * second].reshape(n, second), samples[n * second :]
            return np.stack([whole.std(axis=1), abs(whole).max(axis=1)], axis=1)

        def finish(self):
            return np.empty((0, 2), np.float32)

    class Pitch:
        sr, n_dims = 16000, 3

        def __init__(self, *, weights: str = "none") -> None:
            self.weights = weights

        @property
        def config(self):
            return {"sha256": "ab" + str(len(self.weights))}

        def extract(self, samples):
            spectrum = abs(np.fft.rfft(samples))
            return np.array([np.argmax(spectrum) * 16000 / len(samples), len(samples), 1.0])

    class Contrast:
        def __init__(self, *, sources) -> None:
            self.n_dims = sources["mel"].n_dims

        @property
        def config(self):
            return {}

        def extract(self, frames):
            return frames["mel"].max(axis=0) - frames["mel"].min(axis=0)

    class Deviation:
        def __init__(self, *, sources) -> None:
            self.n_dims = sources["mel"].n_dims + sources["mfcc"].n_dims

        @property
        def config(self):
            return {}

        def stream(self):
            return Mean()

    class Mean:
        def __init__(self):
            self.sums, self.n = {"mel": 0.0, "mfcc": 0.0}, {"mel": 0, "mfcc": 0}

        def accept(self, frames):
            for kind, rows in frames.items():
                self.sums[kind] = self.sums[kind] + rows.sum(axis=0, dtype=np.float64)
                self.n[kind] += len(rows)
            return np.empty((0, 167), np.float32)

        def finish(self):
            means = [self.sums[kind] / self.n[kind] for kind in ("mel", "mfcc")]
            return np.concatenate(means)[None].astype(np.float32)

    @hookimpl
    def dcbmr_features():
        return [
            FeatureSpec("levels", Levels, "loudness", shape="frames", is_streaming=True, has_check=True),
            FeatureSpec("pitch", Pitch, "a pitch", licence="CC BY-NC 4.0"),
            FeatureSpec("contrast", Contrast, "of mel", made_of=("mel",)),
            FeatureSpec("mean", Deviation, "of both", made_of=("mel", "mfcc"), is_streaming=True),
        ]
"""


@pytest.fixture
def plugin(install):
    install("sound-plugin", PLUGIN)


@pytest.fixture
def music(tmp_path):
    for song, (seconds, hz) in enumerate([(2.0, 440.0), (7.5, 880.0), (3.2, 220.0)]):
        write(tmp_path / "music" / f"song{song}.wav", tone(seconds, hz=hz))
    return tmp_path / "music"


def samples_of(path, sr):
    return np.concatenate(list(decode.decode(path, sr)))


def test_all_kinds_of_one_decoding(plugin, music, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        decode,
        "_open_sndfile",
        lambda path, *rest, real=decode._open_sndfile: opened.append(path) or real(path, *rest),
    )
    report = dcbmr.featurize(
        music, tmp_path / "f", kinds=["mel", "levels", "pitch", "mfcc", "contrast", "mean"]
    )
    assert (report.n_done, len(opened)) == (3, 3)
    assert report.audio_s == pytest.approx(12.7, abs=0.01)
    monkeypatch.undo()
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    for song in store.song_ids:
        path = music / f"{song}.wav"
        mel, mfcc = (make()(samples_of(path, 22050)) for make in (dcbmr.LogMel, dcbmr.MFCC))
        mel = mel.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(store["mel"][song], mel)
        np.testing.assert_array_equal(store["mfcc"][song], mfcc)
        at_8k, at_16k = samples_of(path, 8000), samples_of(path, 16000)
        seconds = at_8k[: len(at_8k) // 8000 * 8000].reshape(-1, 8000)
        np.testing.assert_allclose(store["levels"][song][:, 0], seconds.std(axis=1), rtol=1e-5)
        assert store["pitch"][song][1] == len(at_16k)
        np.testing.assert_array_equal(store["contrast"][song], mel.max(axis=0) - mel.min(axis=0))
        means = np.concatenate([frames.mean(axis=0, dtype=np.float64) for frames in (mel, mfcc)])
        np.testing.assert_allclose(store["mean"][song], means, rtol=1e-5)
    config = store["pitch"].config
    assert (config.package, config.licence) == ("sound-plugin 1.0", "CC BY-NC 4.0")
    assert store["mean"].config.made_of["mfcc"].settings == store["mfcc"].settings
    assert store["mean"].shape == store["pitch"].shape == "vectors"


def test_a_source_is_not_stored_unless_it_is_wanted(plugin, music, tmp_path):
    dcbmr.featurize(music, tmp_path / "f", kinds=["contrast"], params={"n_mels": 40})
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    assert store.kinds == ("contrast",)
    assert store["contrast"].n_dims == 40
    dcbmr.featurize(music, tmp_path / "f", kinds=["contrast"], params={"n_mels": 40}, resume=True)
    with pytest.raises(dcbmr.InputError, match="settings: mel.n_mels is 40 .wanted 128., .*n_dims is 40"):
        dcbmr.featurize(music, tmp_path / "f", kinds=["contrast"], resume=True)


def test_parameters_reach_who_has_them(plugin, music, tmp_path):
    kinds = ["mel", "mfcc", "levels"]
    params = {"hop_length": 256, "mfcc.hop_length": 512, "gain": 2.0}
    with pytest.raises(dcbmr.InputError, match="parameter 'hop_length' of 'mfcc' is given twice"):
        dcbmr.featurize(music, tmp_path / "f", kinds=kinds, params=params)
    del params["hop_length"]
    dcbmr.featurize(music, tmp_path / "f", kinds=kinds, params={**params, "mel.hop_length": 256})
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    assert [store[kind].settings.get("hop_length") for kind in kinds] == [256, 512, None]
    np.testing.assert_array_equal(
        store["mfcc"]["song0"], dcbmr.MFCC()(samples_of(music / "song0.wav", 22050))
    )
    assert store["levels"].config.params == {"sr": 8000.0, "gain": 2.0}
    for wrong, message in (
        ({"loud": 1}, "no parameter 'loud'; there are sr, n_fft, .*, gain"),
        ({"levels.hop_length": 1}, "no parameter 'levels.hop_length'; there are sr, gain"),
        ({"pitch.weights": "x"}, "'pitch' is none of the kinds that are made: mel, mfcc, levels"),
        ({"gain": -1.0}, "gain must be above 0; got -1.0"),
        ({"gain": np.float32}, "parameter gain: wanted a number, a text"),
    ):
        with pytest.raises(dcbmr.InputError, match=message):
            dcbmr.featurize(music, tmp_path / "g", kinds=kinds, params=wrong)
    assert not (tmp_path / "g").exists()


def test_a_model_predicts_a_file_through_the_same_extractor(plugin, small_world, tmp_path, install):
    factors = dcbmr.Factors.load(small_world / "factors")
    dcbmr.featurize(small_world / "audio", tmp_path / "f", kinds=["pitch"], params={"weights": "some"})
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    model = dcbmr.train(factors, store, regressor="linear", kind="pitch")
    model.save(tmp_path / "model")
    model = dcbmr.Model.load(tmp_path / "model")
    song = small_world / "audio" / "song03.wav"
    np.testing.assert_allclose(model.predict_files([song]), model.predict_store(store, ["song03"]), rtol=1e-6)
    assert model.sources[model.kind].package == "sound-plugin 1.0"
    assert model._recipe is model._recipe  # weights are loaded once
    # Another extractor under the same name, as when the weights have changed.
    install("sound-plugin", PLUGIN.replace('"ab"', '"other"'))
    with pytest.raises(
        dcbmr.InputError, match="features of kind 'pitch' would be made here .*sha256 is other4 .wanted ab4"
    ):
        dcbmr.Model.load(tmp_path / "model").predict_files([song])
    install("sound-plugin", PLUGIN.replace('"pitch"', '"height"'))
    np.testing.assert_array_equal(model.predict_store(store).shape, (40, 6))
    with pytest.raises(
        dcbmr.InputError,
        match="made by sound-plugin 1.0, .* does not offer it: pip install sound-plugin==1.0; .*mel",
    ):
        dcbmr.Model.load(tmp_path / "model").predict_files([song])


def test_features_of_another_version_of_their_plugin(plugin, small_world, tmp_path):
    dcbmr.featurize(small_world / "audio", tmp_path / "f", kinds=["pitch"])
    config = dcbmr.FeatureStore.open(tmp_path / "f")["pitch"].config
    assert config.contract == dcbmr.CONTRACT_VERSION
    again = dcbmr.FeatureConfig.from_json(config.to_json() | {"package": "sound-plugin 0.3"})
    with pytest.warns(
        UserWarning, match="kind of feature 'pitch' was made by sound-plugin 0.3, here is .* 1.0"
    ):
        Recipe.again([again])
    Recipe.again([config])


BAD = {
    "raises": ("raise ValueError('no such chord')", "failed to make 'pitch': ValueError: no such chord"),
    "refuses": ("raise InputError('wanted 3 s')", "makes no 'pitch' of it: wanted 3 s"),
    "exits": ("import sys; sys.exit(3)", "failed to make 'pitch': RuntimeError: SystemExit: 3"),
    "shape": ("return np.zeros(4)", "it returned shape .4,., wanted .3,."),
    "matrix": ("return np.zeros((2, 3))", "it returned shape .2, 3., wanted .3,."),
    "dtype": ("return np.zeros(3, np.int16)", "it returned dtype int16, wanted an array of float32"),
    "object": ("return np.array([None] * 3)", "it returned dtype object, wanted an array of float32"),
    "list": ("return [1.0, 2.0, 3.0]", "it returned a list, wanted an array of float32"),
    "nan": ("return np.array([0, 1, np.nan])", "it returned 1 numbers that are NaN or infinite"),
    "large": ("return np.array([0, 1, 1e39])", "it returned 1e.39, too large for float32"),
    "hangs": ("import time; time.sleep(60)", "took longer than 0.5 s for 'pitch'"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_extractor_costs_the_file_and_is_named(fault, install, music, tmp_path):
    """It goes wrong on one of three files."""
    statement, message = BAD[fault]
    bad = PLUGIN.replace(
        "            spectrum = abs",
        f"            if 100000 < len(samples):\n                {statement}\n            spectrum = abs",
    )
    install("sound-plugin", bad)
    report = dcbmr.featurize(music, tmp_path / "f", kinds=["mfcc", "pitch"], timeout_s=0.5)
    assert (report.n_done, report.failed.total()) == (2, 1)
    assert next(iter(report.failed)).startswith("sound-plugin 1.0 ")
    (line,) = (tmp_path / "f" / "failed.tsv").read_text().splitlines()[1:]
    song, path, reason = line.split("\t")
    assert (song, path) == ("song1", str(music / "song1.wav"))
    assert re.search(message, reason), reason
    store = dcbmr.FeatureStore.open(tmp_path / "f")
    assert store["mfcc"].song_ids == store["pitch"].song_ids == ("song0", "song2")
    # Mended, the file is made up for.
    install("sound-plugin", PLUGIN)
    assert dcbmr.featurize(music, tmp_path / "f", kinds=["mfcc", "pitch"], resume=True).n_done == 1


def test_frames_that_half_precision_does_not_hold(install, music, tmp_path):
    install("sound-plugin", PLUGIN.replace('shape="frames", is', 'shape="frames", dtype="<f2", is'))
    report = dcbmr.featurize(music, tmp_path / "f", kinds=["levels"], params={"gain": 1e7})
    assert report.failed.total() == 3
    assert "too large for half precision" in (tmp_path / "f" / "failed.tsv").read_text()
    dcbmr.featurize(music, tmp_path / "g", kinds=["levels"])
    assert dcbmr.FeatureStore.open(tmp_path / "g")["levels"].dtype == np.float16


def test_a_clip_that_gives_no_frame(plugin, tmp_path):
    write(tmp_path / "music" / "short.wav", tone(0.5))
    report = dcbmr.featurize(tmp_path / "music", tmp_path / "f", kinds=["levels"])
    assert report.failed == {"is too short": 1}
    assert "(0.500 s): it gives nothing of kind 'levels'" in (tmp_path / "f" / "failed.tsv").read_text()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("sr, n_dims = 16000, 3", "sr, n_dims = 16000, 3.0"), "n_dims is 3.0; wanted a whole number"),
        (("sr, n_dims = 16000, 3", "sr, n_dims = -1, 3"), "sr is -1; wanted a positive number of Hz"),
        (('{"sha256": "ab" +', '{"sha256": {"ab"} or'), "config is not for JSON: .*set"),
    ],
)
def test_an_extractor_that_breaks_a_rule_is_named(changed, message, install, music, tmp_path):
    install("sound-plugin", PLUGIN.replace(*changed))
    with pytest.raises(
        dcbmr.DcbmrError, match=f"kind of feature 'pitch' of sound-plugin 1.0 breaks a rule: {message}"
    ):
        dcbmr.featurize(music, tmp_path / "f", kinds=["pitch"])
    assert not (tmp_path / "f").exists()


def test_ctrl_c_does_not_wait_for_a_plugin(install, music, tmp_path):
    install("sound-plugin", PLUGIN.replace("spectrum = abs", "import time; time.sleep(30); spectrum = abs"))

    def stop(*_):
        raise KeyboardInterrupt

    began = time.monotonic()
    (music / "b.wav").write_bytes(b"no audio")
    with pytest.raises(KeyboardInterrupt):
        dcbmr.featurize(
            [music / "b.wav", music / "song0.wav"],
            tmp_path / "f",
            kinds=["pitch"],
            progress=stop,
            n_threads=2,
        )
    assert time.monotonic() - began < 5
    assert threading.active_count() < 10


def test_an_unknown_kind_lists_the_installed_ones(plugin, music, tmp_path):
    with pytest.raises(
        dcbmr.InputError, match="unknown kind of feature 'chroma'; installed: contrast, levels, .*, bow"
    ):
        dcbmr.featurize(music, tmp_path / "f", kinds=["chroma"])
    with pytest.raises(dcbmr.InputError, match="unknown kind of feature 'bow_pca'"):
        dcbmr.featurize(music, tmp_path / "f", kinds=["bow_pca"])


def test_a_store_whose_plugin_is_gone_says_what_to_install(plugin, music, tmp_path):
    dcbmr.featurize(music, tmp_path / "f", kinds=["pitch"])
    (tmp_path / "sound_plugin-1.0.dist-info" / "entry_points.txt").unlink()
    (tmp_path / "sound_plugin-1.0.dist-info" / "METADATA").unlink()
    (tmp_path / "sound_plugin-1.0.dist-info").rmdir()
    registry.installed.cache_clear()
    wanted = (
        "kind 'pitch' were made by sound-plugin 1.0, which is not installed: pip install sound-plugin==1.0"
    )
    with pytest.raises(dcbmr.InputError, match=wanted):
        dcbmr.featurize(music, tmp_path / "f", kinds=["pitch"], resume=True)
    words = ["featurize", music, "-o", tmp_path / "f", "--kind", "pitch", "--resume", "--set", "sr=16000"]
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert wanted in f"{done.output} {done.exception}"


def test_the_commands(plugin, music, tmp_path):
    def run(*words):
        done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    out = run(
        *("featurize", music, "-o", tmp_path / "f", "--kind", "levels", "--kind", "pitch"),
        *("--set", "gain=2", "--set", "pitch.weights=some"),
    )
    assert "3 songs added" in out
    assert "pitch: weights under CC BY-NC 4.0" in out
    settings = dcbmr.FeatureStore.open(tmp_path / "f")["levels"].settings
    assert settings == {"sr": 8000.0, "gain": 2.0}
    for words, message in (
        (["--set", "gain"], "--set gain: wanted name=value"),
        (["--set", "gain=loud"], "--set levels.gain=loud: wanted a number, got 'loud'"),
        (["--set", "volume=1"], "no parameter 'volume'; there are sr, gain"),
        (["--kind", "chroma"], "unknown kind of feature 'chroma'; installed: contrast"),
    ):
        with pytest.raises(dcbmr.InputError, match=re.escape(message)):
            run("featurize", music, "-o", tmp_path / "g", "--kind", "levels", *words)
    listed = run("plugins", "--tsv")
    assert "feature\tpitch\tvectors" in listed
    described = run("plugins", "pitch")
    for line in (
        "a pitch",
        "from sound-plugin 1.0",
        "one vector a song",
        "CC BY-NC 4.0",
        "--set weights=...",
    ):
        assert line in described
    assert "made of mel" in run("plugins", "contrast")
