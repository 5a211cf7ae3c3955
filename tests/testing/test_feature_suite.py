"""The suite of features passes ours, and finds in a plugin that is broken just what is broken."""

import pytest

import dcbmr.testing

LEVELS = """
    import numpy as np

    from dcbmr import FeatureSpec, hookimpl

    DCBMR_CONTRACT = 2

    class Levels:
        def __init__(self, *, sr: int = 8000, hop: int = 100) -> None:
            self.sr, self.hop = sr, hop

        n_dims = 2

        @property
        def config(self):
            return {"sr": self.sr, "hop": self.hop}

        def stream(self):
            return Stream(self.hop)

    class Stream:
        def __init__(self, hop):
            self.hop, self.rest = hop, np.empty(0, np.float32)

        def accept(self, samples):
            ready = np.concatenate([self.rest, samples])
            n = len(ready) // self.hop
            self.rest = ready[n * self.hop:]
            return self.rows(ready[:n * self.hop].reshape(n, self.hop))

        def rows(self, frames):
            return np.stack([frames.min(axis=1), frames.max(axis=1)], axis=1)

        def finish(self):
            return np.empty((0, 2), np.float32)

    @hookimpl
    def dcbmr_features():
        return [FeatureSpec("levels", Levels, "lowest and highest sample", shape="frames", is_streaming=True)]
"""
# The same as a vector of the whole song.
EXTRACT = (
    "def stream(self):\n            return Stream(self.hop)",
    "def extract(self, samples):\n            return np.array([samples.min(), samples.max()])",
)
WHOLE = (EXTRACT, ('shape="frames", is_streaming=True', 'shape="vectors"'))


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
def test_ours_pass(kind):
    for check in dcbmr.testing.feature_checks(kind):
        check()


def test_parameters_reach_the_extractor():
    for check in dcbmr.testing.feature_checks("mel", n_mels=20, sr=16000, seconds=1.0):
        check()


@pytest.fixture
def checks(install):
    """Install the levels, changed, and return their checks by name."""

    def find(*changes):
        source = LEVELS
        for old, new in changes:
            assert old in source, old
            source = source.replace(old, new)
        install("levels-plugin", source)
        return {str(check): check for check in dcbmr.testing.feature_checks("levels")}

    return find


@pytest.mark.parametrize("changes", [(), WHOLE], ids=["frames", "vectors"])
def test_what_keeps_the_contract_passes(checks, changes):
    for check in checks(*changes).values():
        check()


def test_one_that_takes_whole_clips_is_not_cut(checks):
    assert "rows_do_not_depend_on_how_a_song_is_cut" not in checks(*WHOLE)


ROWS = "return np.stack([frames.min(axis=1), frames.max(axis=1)], axis=1)"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "constructor_takes_annotated_keywords",
            [("*, sr: int = 8000", "sr: int = 8000, *")],
            "sr is not keyword-only",
        ),
        ("constructor_takes_annotated_keywords", [("hop: int", "hop")], "hop has no type"),
        (
            "has_what_its_spec_declares",
            [("is_streaming=True", "is_streaming=False")],
            "is_streaming=False, and there is no method extract",
        ),
        ("has_what_its_spec_declares", [("is_streaming=True", "has_check=True")], "there is no"),
        ("states_its_rate_and_its_dimensions", [("n_dims = 2", "n_dims = 2.0")], "wanted a whole number"),
        (
            "states_its_rate_and_its_dimensions",
            [("self.sr, self.hop = sr,", "self.sr, self.hop = 0,")],
            "sr is 0",
        ),
        (
            "config_is_json_and_the_same_for_the_same_parameters",
            [('"hop": self.hop', '"hop": (self.hop,)')],
            "use lists, not tuples",
        ),
        (
            "config_is_json_and_the_same_for_the_same_parameters",
            [
                ('"hop": self.hop', '"hop": Levels.n_made'),
                (
                    "self.sr, self.hop = sr, hop",
                    "self.sr, self.hop = sr, hop; Levels.n_made = getattr(Levels, 'n_made', 0) + 1",
                ),
            ],
            "have another config",
        ),
        (
            "config_has_the_parameters_that_change_the_numbers",
            [(', "hop": self.hop', "")],
            "hop of 100 and of 200 give other numbers and the same config",
        ),
        ("rows_are_what_it_states", [("n_dims = 2", "n_dims = 3")], r"shape \(\d+, 2\), wanted \(n, 3\)"),
        (
            "rows_are_what_it_states",
            [
                (ROWS, ROWS + ".round().astype(int)"),
                ("np.empty((0, 2), np.float32)", "np.empty((0, 2), int)"),
            ],
            "numbers of int64, wanted float32",
        ),
        ("rows_are_what_it_states", [(ROWS, ROWS + " / 0")], "not finite"),
        (
            "rows_are_what_it_states",
            [
                (ROWS, "return 1e6 + np.abs(frames[:, :2])"),
                ("is_streaming=True", "is_streaming=True, dtype='<f2'"),
            ],
            "which <f2 cannot hold",
        ),
        ("rows_are_what_it_states", [('shape="frames"', 'shape="vectors"')], "vectors, wanted one"),
        (
            "the_same_song_gives_the_same_bits",
            [(ROWS, ROWS + " + np.random.rand()")],
            "the same song a second time: .* numbers are others",
        ),
        (
            "songs_on_several_threads_do_not_mix",
            [
                (
                    "return Stream(self.hop)",
                    "self.one = getattr(self, 'one', None) or Stream(self.hop); return self.one",
                ),
                ("def finish(self):", "def finish(self):\n            self.rest = self.rest[:0]"),
                (ROWS, "import time; time.sleep(0.01); " + ROWS),
                ("self.rest = ready[n", "rest = ready[n"),
                (
                    "ready = np.concatenate([self.rest, samples])",
                    "self.now = samples; import time; time.sleep(0.01); ready = self.now",
                ),
            ],
            "beside others on another thread",
        ),
        (
            "rows_do_not_depend_on_how_a_song_is_cut",
            [("self.rest = ready[n * self.hop:]", "")],
            "a song in 2 pieces",
        ),
        (
            "leaves_the_samples_alone",
            [(EXTRACT[0], EXTRACT[1].replace("return", "samples /= 2; return")), WHOLE[1]],
            "written to",
        ),
        (
            "silence",
            [
                (
                    ROWS,
                    "return np.stack([frames.min(axis=1), frames.max(axis=1) / frames.std(axis=1)], axis=1)",
                )
            ],
            "silence gave",
        ),
        (
            "one_sample",
            [(EXTRACT[0], EXTRACT[1].replace("samples.max()", "samples[:2][1]")), WHOLE[1]],
            "one sample raised IndexError",
        ),
        ("files_of_other_rates_through_the_host", [("n_dims = 2", "n_dims = 3")], "featurize could not use"),
        (
            "a_new_file_is_made_like_the_stored_ones",
            [
                (
                    "self.sr, self.hop = sr, hop",
                    "self.sr, self.hop = sr, hop; Levels.n_made = getattr(Levels, 'n_made', 0) + 1",
                ),
                ("return Stream(self.hop)", "return Stream(self.hop + Levels.n_made)"),
            ],
            "made again",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_breaks_the_contract_is_found(checks, name, changes, message):
    with pytest.raises(AssertionError, match=message):
        checks(*changes)[name]()
