"""Whole kinds pass the suite; of broken ones each is caught by its check, which names the cure."""

import re
import tempfile

import pytest
from broken import changed, failures

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


# A kind that is made of frames of another.
MADE_OF = (
    ("*, sr: int = 8000, hop: int = 100", "*, sources: dict"),
    ("self.sr, self.hop = sr, hop", "pass"),
    ('{"sr": self.sr, "hop": self.hop}', "{}"),
    (
        EXTRACT[0],
        """def extract(self, songs):
            samples = songs["mel"]
            if not len(samples):
                raise InputError("wanted a frame")
            return np.array([samples.min(), samples.max()])""",
    ),
    ("import FeatureSpec", "import FeatureSpec, InputError"),
    ('shape="frames", is_streaming=True', 'shape="vectors", made_of=("mel",)'),
)
BASES = {"frames": (), "vectors": WHOLE, "made_of": MADE_OF}


@pytest.fixture
def suite(install, monkeypatch, tmp_path):
    """Install a kind, changed, and return its checks."""

    # One of the broken ones looks for the store that is being written, which must be the test's own.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def find(base, *changes):
        install("levels-plugin", changed(changed(LEVELS, BASES[base]), changes))
        return dcbmr.testing.feature_checks("levels")

    return find


@pytest.mark.parametrize("kind", ["mel", "mfcc", "stats", "patterns"])
def test_ours_pass(kind):
    assert failures(dcbmr.testing.feature_checks(kind)) == ({}, {})


def test_parameters_reach_the_extractor():
    assert failures(dcbmr.testing.feature_checks("mel", n_mels=20, sr=16000, seconds=1.0)) == ({}, {})


@pytest.mark.parametrize("base", BASES)
def test_a_whole_one_passes(suite, base):
    assert failures(suite(base)) == ({}, {})


def test_every_check_says_what_for_and_has_a_kind_that_it_catches(suite):
    checks = [check for base in BASES for check in suite(base)]
    assert all(check.why.endswith(".") for check in checks)
    assert {name for name, *_ in BROKEN} == set(map(str, checks))


def test_one_that_takes_whole_clips_is_not_cut(suite):
    assert "rows_do_not_depend_on_how_a_song_is_cut" not in map(str, suite("vectors"))


ROWS = "return np.stack([frames.min(axis=1), frames.max(axis=1)], axis=1)"
VECTOR = "return np.array([samples.min(), samples.max()])"
# What is wrong with an extractor the host may see, too, as when it refuses what it gave.
HOST = (
    "files_of_other_rates_through_the_host",
    "a_new_file_is_made_like_the_stored_ones",
    "what_is_stored_is_inert",
)
COMPUTED = (
    "rows_are_what_it_states",
    "the_same_song_gives_the_same_bits",
    "a_song_does_not_depend_on_those_before",
    "songs_on_several_threads_do_not_mix",
    "leaves_what_it_is_given_alone",
    "takes_read_only_arrays",
    "silence",
    "one_sample",
    "config_has_the_parameters_that_change_the_numbers",
)
BROKEN = [
    # check, base, changes, what it says, other checks that fail with it
    (
        "constructor_takes_annotated_keywords",
        "frames",
        [("*, sr: int = 8000", "sr: int = 8000, *")],
        "put a \\* before it",
    ),
    ("constructor_takes_annotated_keywords", "frames", [("hop: int", "hop")], "hop has no type"),
    (
        "declares_sources_where_it_is_made_of_others",
        "frames",
        [("hop: int = 100", "hop: int = 100, sources: str = ''")],
        "make spec.made_of and the constructor agree",
    ),
    (
        "has_what_its_spec_declares",
        "frames",
        [("is_streaming=True", "is_streaming=False")],
        "is_streaming=False, and there is no method extract; write it",
        *COMPUTED,
    ),
    ("states_its_dimensions", "frames", [("n_dims = 2", "n_dims = 2.0")], "wanted a whole number"),
    (
        "states_its_rate",
        "frames",
        [("self.sr, self.hop = sr,", "self.sr, self.hop = 0,")],
        "sr is 0; wanted a number of Hz",
    ),
    ("config_survives_json", "frames", [('"hop": self.hop', '"hop": (self.hop,)')], "use lists, not tuples"),
    (
        "config_survives_json",
        "frames",
        [('"hop": self.hop', '"hop": np.int64(self.hop)')],
        "use int\\(...\\)",
    ),
    (
        "config_is_the_same_for_the_same_parameters",
        "frames",
        [('"hop": self.hop', '"hop": self.hop, "at": __import__("time").time_ns()')],
        "put nothing into it that changes by itself",
    ),
    (
        "config_has_the_parameters_that_change_the_numbers",
        "frames",
        [(', "hop": self.hop', "")],
        "hop of 100 and of 200 give other numbers and the same config; put hop into config",
    ),
    (
        "rows_are_what_it_states",
        "frames",
        [("n_dims = 2", "n_dims = 3")],
        r"shape \(\d+, 2\), wanted \(n, 3\)",
        "silence",
    ),
    (
        "rows_are_what_it_states",
        "frames",
        [(ROWS, ROWS + ".round().astype(int)"), ("np.empty((0, 2), np.float32)", "np.empty((0, 2), int)")],
        "numbers of int64, wanted float32",
        "silence",
    ),
    ("rows_are_what_it_states", "frames", [(ROWS, ROWS + " * np.inf")], "keep what you divide by", "silence"),
    (
        "rows_are_what_it_states",
        "frames",
        [
            (ROWS, "return 1e6 + np.abs(frames[:, :2])"),
            ("is_streaming=True", "is_streaming=True, dtype='<f2'"),
        ],
        "which <f2 cannot hold; offer dtype='<f4'",
        "silence",
    ),
    (
        "rows_are_what_it_states",
        "frames",
        [('shape="frames"', 'shape="vectors"')],
        "a kind of many has shape='frames'",
        "silence",
    ),
    (
        "the_same_song_gives_the_same_bits",
        "frames",
        [(ROWS, ROWS + " + np.random.rand()")],
        "the same song a second time: .* numbers are others; keep nothing",
        "a_song_does_not_depend_on_those_before",
        "songs_on_several_threads_do_not_mix",
        "rows_do_not_depend_on_how_a_song_is_cut",
    ),
    (
        "a_song_does_not_depend_on_those_before",
        "vectors",
        [
            (
                VECTOR,
                "self.first = getattr(self, 'first', samples.max())\n            " + VECTOR + " - self.first",
            )
        ],
        "a song after another one, and alone.*learned by a regressor",
    ),
    (
        "songs_on_several_threads_do_not_mix",
        "vectors",
        [
            (
                VECTOR,
                "import time\n            self.now = samples\n            time.sleep(0.02)\n"
                "            samples = self.now\n            " + VECTOR,
            )
        ],
        "beside others on another thread.*in local variables, or in the stream",
    ),
    (
        "rows_do_not_depend_on_how_a_song_is_cut",
        "frames",
        [("self.rest = ready[n * self.hop:]", "")],
        "a song in 2 pieces.*keep the samples that fill no frame",
    ),
    (
        "leaves_what_it_is_given_alone",
        "vectors",
        [
            (
                VECTOR,
                "samples = np.require(samples, requirements='W')\n            samples /= 2\n"
                "            " + VECTOR + " * 2",
            )
        ],
        "compute new arrays: samples / 2",
    ),
    (
        "leaves_what_it_is_given_alone",
        "made_of",
        [
            (
                "return np.array",
                "np.require(samples, requirements='W')[0] = 0\n            return np.array",
            )
        ],
        "compute new arrays",
    ),
    (
        "takes_read_only_arrays",
        "vectors",
        [(VECTOR, "samples *= 2\n            samples /= 2\n            " + VECTOR)],
        "copy what you change; change nothing back",
    ),
    (
        "silence",
        "vectors",
        [(VECTOR, "return np.array([samples.min(), samples.max()]) / np.abs(samples).max()")],
        "silence gave numbers that are not finite; keep what you divide",
    ),
    (
        "one_sample",
        "vectors",
        [(VECTOR, VECTOR.replace("samples.max()", "samples[:2][1]"))],
        "one sample raised IndexError.*InputError that says how much",
    ),
    (
        "files_of_other_rates_through_the_host",
        "vectors",
        [
            (
                "self.sr, self.hop = sr, hop",
                "self.sr, self.hop = sr, hop; Levels.n_made = getattr(Levels, 'n_made', 0) + 1",
            ),
            (VECTOR, VECTOR + " * Levels.n_made"),
        ],
        "through featurize.*depend on the samples",
        "the_same_song_gives_the_same_bits",
        "a_song_does_not_depend_on_those_before",
    ),
    (
        "a_new_file_is_made_like_the_stored_ones",
        "frames",
        [
            (
                "self.sr, self.hop = sr, hop",
                "self.sr, self.hop = sr, hop; Levels.n_made = getattr(Levels, 'n_made', 0) + 1",
            ),
            ("return Stream(self.hop)", "return Stream(self.hop + Levels.n_made)"),
        ],
        "made again",
        "the_same_song_gives_the_same_bits",
        "a_song_does_not_depend_on_those_before",
        "rows_do_not_depend_on_how_a_song_is_cut",
    ),
    (
        "what_is_stored_is_inert",
        "vectors",
        [
            (
                VECTOR,
                "import glob, tempfile\n"
                "            for at in glob.glob(tempfile.gettempdir() + '/*/features'):\n"
                "                open(at + '/more.pkl', 'w').close()\n            " + VECTOR,
            )
        ],
        "more.pkl was written into the store; an extractor writes nothing",
    ),
]


@pytest.mark.parametrize(
    ("name", "base", "changes", "message", "also"),
    [(*row[:4], row[4:]) for row in BROKEN],
    ids=[row[0] for row in BROKEN],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_breaks_a_rule_is_caught_by_its_check(suite, name, base, changes, message, also):
    failed, _ = failures(suite(base, *changes))
    assert {name, *also} <= set(failed) <= {name, *also, *HOST}, failed
    assert re.search(message, failed[name], re.S), failed[name]
