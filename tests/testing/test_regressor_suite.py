"""Whole regressors pass the suite; of broken ones each is caught by its check, which names the cure."""

import re

import pytest
from broken import changed, failures

import dcbmr.testing

RIDGE = '''
import numpy as np
from scipy.sparse import issparse

from dcbmr import RegressorSpec, hookimpl, load_tensors, save_tensors

DCBMR_CONTRACT = 2


class Ridge:
    """Ridge regression, a factor a step."""

    def __init__(self, *, regularization: float = 1.0, random_state: int = 0) -> None:
        self.regularization = regularization
        self.random_state = random_state

    def fit(self, songs, target, *, run=None):
        vectors = dense(songs)
        factors = target.song_factors
        self.mean_, self.base_ = vectors.mean(axis=0), factors.mean(axis=0)
        centred = vectors - self.mean_
        gram = centred.T @ centred + self.regularization * np.eye(vectors.shape[1])
        self.weights_ = np.zeros((vectors.shape[1], factors.shape[1]), np.float32)
        done = self.resumed(run)
        n_factors = factors.shape[1]
        for step in range(done, n_factors):
            column = np.linalg.solve(gram, centred.T @ (factors[:, step] - self.base_[step]))
            noise = np.random.default_rng([self.random_state, step]).standard_normal(len(column))
            self.weights_[:, step] = column + 1e-3 * noise
            if run is not None:
                if run.checkpoint is not None:
                    tensors, header = {"weights": self.weights_}, {"done": step + 1}
                    save_tensors(run.checkpoint, tensors, header, name="part", format_version=1)
                run.report("fit", step + 1, n_factors, {"norm": float(np.square(column).sum())})
        return self

    def resumed(self, run):
        if run is None or not run.resume or not (run.checkpoint / "part.json").exists():
            return 0
        header, tensors = load_tensors(run.checkpoint, name="part", format_version=1)
        self.weights_ = tensors["weights"]
        return header["done"]

    def predict(self, songs):
        vectors = dense(songs)
        return ((vectors - self.mean_) @ self.weights_ + self.base_).astype(np.float32)

    def save(self, directory):
        tensors = {"mean": self.mean_, "base": self.base_, "weights": self.weights_}
        header = {"regularization": self.regularization, "kind": "ridge"}
        save_tensors(directory, tensors, header, name="ridge", format_version=1)

    @classmethod
    def load(cls, directory):
        header, tensors = load_tensors(directory, name="ridge", format_version=1)
        model = cls(regularization=header["regularization"])
        model.mean_, model.base_, model.weights_ = (tensors[name] for name in ("mean", "base", "weights"))
        return model


def dense(songs):
    vectors = songs.vectors()
    return vectors.toarray() if issparse(vectors) else vectors


@hookimpl
def dcbmr_regressors():
    return [RegressorSpec("subject", Ridge, "ridge regression")]
'''

# A model with users of its own: the mean of the songs that they played. It knows what memory it takes.
USERS = [
    (
        "    def save(self",
        """    def user_factors(self, counts):
        played = (counts > 0).astype(np.float32)
        return np.asarray(played @ self.songs_, np.float32)

    def memory(self, *, n_songs, n_dims, **others):
        return 8.0 * n_songs * n_dims

    def save(self""",
    ),
    ('"ridge regression")', '"ridge regression", has_users=True, has_memory=True)'),
    ("        return self\n", "        self.songs_ = self.predict(songs)\n        return self\n"),
    (
        '"weights": self.weights_}\n        header',
        '"weights": self.weights_, "songs": self.songs_}\n        header',
    ),
    ("        return model", '        model.songs_ = tensors["songs"]\n        return model'),
]
# One on frames, which says what its windows do.
FRAMES = [
    (
        "    vectors = songs.vectors()\n    return vectors.toarray() if issparse(vectors) else vectors\n",
        """    n_songs = len(songs.song_ids)
    return windows_of(songs, np.arange(n_songs))[3].reshape(n_songs, 2, -1).mean(axis=1)


def windows_of(songs, rows):
    found, length = np.repeat(rows, 2), 20
    last = np.maximum(songs.n_frames[rows] - length, 0)
    starts = np.stack([np.zeros_like(rows), last], axis=1).ravel()
    return found, starts, length, songs.windows(found, starts, length)[..., ::10].mean(axis=1)
""",
    ),
    (
        "    def save(self",
        """    def activations(self, songs, rows, *, layer=None):
        found, starts, length, frames = windows_of(songs, rows)
        values = (frames - self.mean_) @ self.weights_ + self.base_
        return found, starts, length, values.astype(np.float32)

    def save(self""",
    ),
    ('"ridge regression")', '"ridge regression", shape="frames", kind="mel", has_activations=True)'),
]
# One that several processes fit: each sums its part of the songs.
PEERS = [
    (
        "        gram = centred.T @ centred +",
        """        peers = run and run.peers
        total = peers.sum if peers else np.asarray
        mine = np.array_split(np.arange(len(vectors)), peers.size)[peers.rank] if peers else slice(None)
        gram = total(centred[mine].T @ centred[mine]) +""",
    ),
    (
        "solve(gram, centred.T @ (factors[:, step] - self.base_[step]))",
        "solve(gram, total(centred[mine].T @ (factors[mine, step] - self.base_[step])))",
    ),
    ('"ridge regression")', '"ridge regression", has_peers=True)'),
]
BASES = {"ridge": [], "users": USERS, "frames": FRAMES, "peers": PEERS}


@pytest.fixture
def suite(install):
    """Install a regressor, changed, and return its checks."""

    def find(base, *changes):
        install("ridge-plugin", changed(changed(RIDGE, BASES[base]), changes))
        return dcbmr.testing.regressor_checks("subject")

    return find


@pytest.mark.parametrize("base", BASES)
def test_a_whole_one_passes(suite, base):
    assert failures(suite(base)) == ({}, {})


def test_every_check_says_what_for(suite):
    for base in BASES:
        for check in suite(base):
            assert check.why.endswith("."), check


def test_every_check_has_a_plugin_that_it_catches(suite):
    checks = {str(check) for base in BASES for check in suite(base)}
    assert {name for name, *_ in BROKEN} == checks


SILENT = [
    ('                run.report("fit", step + 1, n_factors, {"norm": float(np.square(column).sum())})\n', "")
]
VECTORS = "vectors = dense(songs)\n        factors"
PREDICTED = "return ((vectors - self.mean_) @ self.weights_ + self.base_).astype(np.float32)"
PREDICT = "vectors = dense(songs)\n        return"
SPEC = '"ridge regression")'
TOTAL = "total = peers.sum if peers else np.asarray"
BROKEN = [
    # check, base, changes, what it says, other checks that fail with it
    (
        "processes_learn_together",
        "peers",
        [(TOTAL, "total = np.asarray")],
        "never called run.peers",
    ),
    (
        "processes_learn_together",
        "peers",
        [(TOTAL, "total = (lambda x: (peers.sum(x), x)[1]) if peers else np.asarray")],
        "bring together by run.peers",
    ),
    (
        "processes_learn_together",
        "peers",
        [("        return self\n", "        return self if not peers or peers.rank == 0 else 1 / 0\n")],
        "ZeroDivisionError",
    ),
    (
        "constructor_takes_annotated_keywords",
        "ridge",
        [("(self, *, reg", "(self, reg")],
        "put a \\* before it",
    ),
    (
        "constructor_takes_annotated_keywords",
        "ridge",
        [("regularization: float =", "regularization=")],
        "has no type",
    ),
    (
        "has_the_methods_of_a_regressor",
        "ridge",
        [("    @classmethod\n    def load(cls,", "    @classmethod\n    def read(cls,")],
        "Ridge lacks load",
        "save_and_load",
        "load_executes_nothing",
    ),
    (
        "constructor_stores_its_arguments",
        "ridge",
        [
            ("        self.regularization = regularization\n", "        self.alpha = regularization\n"),
            ("gram = centred.T @ centred + self.regularization", "gram = centred.T @ centred + self.alpha"),
            ('"regularization": self.regularization', '"regularization": self.alpha'),
        ],
        "write self.regularization = regularization",
    ),
    (
        "declares_the_reserved_names_where_it_has_a_choice",
        "ridge",
        [(SPEC, '"", devices=("cpu", "npu"))')],
        "spec.devices and `device` disagree; declare both",
    ),
    (
        "says_where_to_look_for_its_parameters",
        "ridge",
        [(SPEC, '"", space={"penalt": (1.0, 10.0)})')],
        "space: penalt is no setting that can be tuned",
    ),
    (
        "has_what_its_spec_declares",
        "frames",
        [("def activations", "def excitations")],
        "no method activations; write",
        "activations_are_those_of_windows",
    ),
    (
        "tells_its_memory",
        "users",
        [("return 8.0 * n_songs * n_dims", "return -1.0")],
        "memory returned -1.0; return a number of bytes",
    ),
    (
        "tells_its_memory",
        "users",
        [("return 8.0 * n_songs * n_dims", "return 8e9 / n_songs")],
        "more songs take no less",
    ),
    (
        "leaves_what_it_is_given_alone",
        "ridge",
        [
            (
                VECTORS,
                "vectors = np.require(dense(songs), requirements='W')\n        vectors *= 2\n        factors",
            ),
            (PREDICT, "vectors = 2 * dense(songs)\n        return"),
        ],
        "take a copy before you change anything",
        "resumes_after_a_cancel",
        "takes_sparse_vectors",
        "is_better_than_the_mean_where_there_is_signal",
    ),
    (
        "takes_read_only_arrays",
        "ridge",
        [(VECTORS, "vectors = dense(songs)\n        vectors *= 2\n        vectors /= 2\n        factors")],
        "copy what you change",
    ),
    (
        "takes_fortran_order",
        "ridge",
        [
            (
                VECTORS,
                "vectors = dense(songs)\n"
                "        vectors = vectors.ravel('K').reshape(vectors.shape)\n        factors",
            )
        ],
        "index arrays by axis",
    ),
    (
        "takes_sparse_vectors",
        "ridge",
        [("vectors.toarray() if issparse(vectors) else vectors", "np.asarray(vectors)")],
        "take vectors.toarray\\(\\) where scipy.sparse.issparse",
        "leaves_what_it_is_given_alone",
    ),
    (
        "works_without_validation_songs",
        "ridge",
        [
            (
                "        return self\n",
                "        self.judged_ = factors[target.validation][0]\n        return self\n",
            )
        ],
        "where target.validation.any\\(\\) is false",
    ),
    (
        "works_without_artists",
        "ridge",
        [
            (
                "        return self\n",
                "        self.n_artists_ = len(set(target.groups))\n        return self\n",
            )
        ],
        "target.groups is None then",
    ),
    (
        "one_song",
        "ridge",
        [(VECTORS, "vectors = dense(songs)\n        vectors[1]\n        factors")],
        'one song raised IndexError.*InputError\\("wanted at least',
    ),
    (
        "one_user",
        "ridge",
        [(VECTORS, "vectors = dense(songs)\n        target.user_factors[1]\n        factors")],
        "the plays of one user raised IndexError.*says how many users",
    ),
    (
        "one_frame",
        "frames",
        [
            (
                "n_songs = len(songs.song_ids)\n",
                "n_songs = len([songs.frames(row)[1] for row in range(len(songs.song_ids))])\n",
            )
        ],
        "songs of one frame raised IndexError.*songs.windows\\(...\\) repeats",
    ),
    (
        "fit_returns_self_and_predict_the_promised_shape",
        "ridge",
        [("self.base_).astype(np.float32)", "self.base_).astype(np.float64)")],
        "astype\\(np.float32\\)",
    ),
    (
        "users_are_those_of_the_plays",
        "users",
        [("np.asarray(played @ self.songs_, np.float32)", "played @ self.songs_.astype(float)")],
        "one row of float32 for each row of counts",
    ),
    (
        "is_better_than_the_mean_where_there_is_signal",
        "ridge",
        [("self.weights_ + self.base_", "self.weights_ + 3 * self.base_ + 1")],
        "in the units of target.song_factors",
    ),
    (
        "is_no_better_than_the_mean_where_there_is_none",
        "ridge",
        [
            (
                "        return self\n",
                "        self.known_ = dict(zip(songs.song_ids, factors))\n        return self\n",
            ),
            (
                PREDICTED,
                "known = getattr(self, 'known_', {})\n"
                "        " + PREDICTED.replace("return", "predicted =") + "\n"
                "        return np.stack([known.get(s, p) for s, p in zip(songs.song_ids, predicted)])",
            ),
        ],
        "not from song_ids or row numbers",
        "save_and_load",
    ),
    (
        "a_song_does_not_depend_on_its_neighbours",
        "ridge",
        [("(vectors - self.mean_)", "(vectors - vectors.mean(axis=0))")],
        "nothing in predict may come from the other songs",
    ),
    (
        "the_order_of_songs_does_not_matter",
        "ridge",
        [
            (
                "return ((vectors - self.mean_)",
                "vectors = sorted_by(vectors, songs.song_ids)\n        return ((vectors - self.mean_)",
            ),
            (
                "def dense(songs):",
                "def sorted_by(vectors, ids):\n    numbers = np.array([int(i.split()[1]) for i in ids])\n"
                "    return vectors[np.argsort(numbers)] if len(ids) > 3 else vectors\n\n\ndef dense(songs):",
            ),
        ],
        "sort nothing, or sort it back",
    ),
    (
        "same_seed_same_model",
        "ridge",
        [("default_rng([self.random_state, step])", "default_rng()")],
        "default_rng\\(self.random_state\\)",
        "takes_fortran_order",
        "takes_sparse_vectors",
        "resumes_after_a_cancel",
    ),
    (
        "activations_are_those_of_windows",
        "frames",
        [("return found, starts, length, values", "return found, starts + 1, length, values")],
        "each must end within its song",
    ),
    (
        "activations_are_those_of_windows",
        "frames",
        [("return found, starts, length, values.astype", "return found, starts, length, 2 * values.astype")],
        "the mean over the windows of a song is what predict returns",
    ),
    (
        "save_and_load",
        "ridge",
        [
            ("model.mean_, model.base_", "model.base_, model.mean_"),
        ],
        "save all that predict uses",
    ),
    (
        "save_and_load",
        "ridge",
        [
            (
                "        header = {",
                "        self.place = str(directory)\n        header = {'place': self.place, ",
            ),
            (
                "        model = cls(",
                "        load_tensors(header['place'], name='ridge', format_version=1)\n        model = cls(",
            ),
        ],
        "read what save wrote, in the directory that is given",
    ),
    (
        "what_is_saved_is_inert",
        "ridge",
        [
            (
                "        header = {",
                "        import pickle\n"
                "        (directory / 'more.pkl').write_bytes(pickle.dumps(self))\n        header = {",
            )
        ],
        "dcbmr.save_tensors writes the two",
    ),
    (
        "what_is_saved_is_inert",
        "ridge",
        [
            (
                "        header = {",
                "        np.save(directory / 'more.npy', np.array([{}]))\n        header = {",
            )
        ],
        "more.npy holds pickled objects; save numbers alone",
    ),
    (
        "load_executes_nothing",
        "ridge",
        [
            ("        model = cls(", "        __import__(header['module'])\n        model = cls("),
            ("        header = {", "        header = {'module': 'json', "),
        ],
        "ridge.json says at module; compare it with the names that you know",
    ),
    (
        "load_executes_nothing",
        "ridge",
        [
            ("        model = cls(", "        eval(header['how'][0])\n        model = cls("),
            ("        header = {", "        header = {'how': ['1 + 1'], "),
        ],
        "ridge.json says at how.0",
    ),
    (
        "progress_goes_forward",
        "ridge",
        [('run.report("fit", step + 1, n_factors', 'run.report("fit", n_factors - step, n_factors')],
        "step 3 was reported after step 4; count up",
    ),
    (
        "progress_goes_forward",
        "ridge",
        [('run.report("fit", step + 1, n_factors', 'run.report("fit", step + 1, 2')],
        "step 3 of 2 was reported; give the number of all steps, or None",
    ),
    (
        "can_be_cancelled",
        "ridge",
        [
            (
                SILENT[0][0],
                SILENT[0][0].replace("run.report", "try:\n                    run.report", 1)
                + "                except BaseException:\n                    pass\n",
            )
        ],
        "nobody could cancel it; let what it raises through",
    ),
    (
        "resumes_after_a_cancel",
        "ridge",
        [('return header["done"]', 'return header["done"] + 1')],
        "a checkpoint holds all that the next step depends on",
    ),
    (
        "resumes_after_a_cancel",
        "ridge",
        [('{"norm":', '{"validation_map":')],
        "report once more what the checkpoint holds",
    ),
]


@pytest.mark.parametrize(
    ("name", "base", "changes", "message", "also"),
    [(*row[:4], row[4:]) for row in BROKEN],
    ids=[row[0] for row in BROKEN],
)
def test_what_breaks_a_rule_is_caught_by_its_check(suite, name, base, changes, message, also):
    failed, _ = failures(suite(base, *changes))
    assert set(failed) == {name, *also}, failed
    assert re.search(message, failed[name]), failed[name]
