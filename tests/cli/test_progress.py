"""Every long command says how far it is, stage by stage, and comes to the end of each."""

import pytest
from click.testing import CliRunner

from dcbmr.cli import cli
from dcbmr.cli._common import Bars

WORDS = ("--words", "16", "--no-standardize")


@pytest.fixture(scope="module")
def world(small_world, tmp_path_factory):
    """A copy with a model of words and one of frames."""
    root = tmp_path_factory.mktemp("progress")
    for name in ("audio", "split", "factors", "features", "plays.tsv"):
        (root / name).symlink_to(small_world / name)
    both = ("--factors", root / "factors", "--features", root / "features")
    for name, regressor in {"words": ("linear", *WORDS), "frames": ("cnn", "--set", "epochs=1")}.items():
        run("train", "--regressor", *regressor, *both, "-o", root / name)
    return root


def run(*words):
    result = CliRunner().invoke(cli, list(map(str, words)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def told(monkeypatch):
    """What the bars are told: the steps of each stage, and how many there are."""
    stages = {}
    move = Bars.__call__

    def see(bars, stage, step, n_steps, *rest, **more):
        stages.setdefault(stage, []).append((step, n_steps))
        move(bars, stage, step, n_steps, *rest, **more)

    monkeypatch.setattr(Bars, "__call__", see)
    return stages


MEL = ("--features", "features")


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (("factorize", "plays.tsv", "--factors", 4, "--iterations", 3), ["factorize"]),
        (("featurize", "audio"), ["featurize"]),
        (("codebook", "features", "--words", 16), ["k-means"]),
        (("codebook", "audio", "--words", 16), ["read audio", "k-means"]),
        (
            ("train", "--regressor", "linear", *WORDS, "--factors", "factors", *MEL),
            ["k-means", "count words"],
        ),
        (("train", "--regressor", "kernel_ridge", "--factors", "factors", *MEL), ["make stats", "fit"]),
        (("train", "--regressor", "mlr", *WORDS, "--factors", "factors", *MEL), ["k-means", "fit"]),
        (("train", "--regressor", "cnn", "--set", "epochs=2", "--factors", "factors", *MEL), ["fit"]),
        (("predict", "words", *MEL), ["count words"]),
        (("predict", "frames", *MEL), ["predict"]),
        (("evaluate", "frames", "--split", "split", *MEL), ["predict", "frames", "resample map_at_500"]),
        (("recommend", "frames", "--all-users", *MEL), ["predict", "recommend"]),
        (("export", "words", *MEL), ["count words", "users"]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fewer than 50 frames a codeword", "ignore:.*held out by the split")
def test_stages_are_told_to_their_end(world, told, tmp_path, monkeypatch, words, stages):
    monkeypatch.chdir(world)
    run(*words, "-o", tmp_path / "made")
    assert set(stages) <= told.keys()
    for stage in stages:
        steps, n_steps = zip(*told[stage], strict=True)
        assert list(steps) == sorted(steps)
        assert len(set(n_steps)) == 1
        # What converges, or whose validation is no better, ends before.
        assert steps[-1] == n_steps[-1] or stage in ("k-means", "fit")


def test_printed_lists_are_told_where_they_go_elsewhere(world, told, monkeypatch):
    monkeypatch.chdir(world)
    run("recommend", "factors", "--all-users", "--tsv")
    assert told["recommend"][-1] == (60, 60)
