"""Nothing made before the evaluation may depend on a held-out play: not a bit of any file."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcbmr import PlayCounts, read_songs, split_plays
from dcbmr.experiment.config import DataSettings, FeatureSettings
from dcbmr.experiment.demo import demo_config
from dcbmr.experiment.experiment import run_experiment

CONFIG = replace(
    demo_config("small"), features=FeatureSettings(n_words=(20, 30)), factorization={"n_factors": 4}
)
# What is made of the held-out plays on purpose: they themselves, what is measured on them, and the factors of
# all plays, which are the upper bound and nothing else. And the clock.
# They lie in directories whose names say of which plays they are: they are compared where the links lead.
MAY_DIFFER = {"split/heldout.parquet", "all-factors", "evaluation", "results.json", "stages"}
_TIME = re.compile(rb'("(?:seconds|[a-z]+_per_s)": )[-+.e0-9]+')


def other_plays(plays, heldout_songs):
    """Every held-out song gets as many listeners as before, but others, who play it more often."""
    counts = plays.counts.toarray()
    rng = np.random.default_rng(0)
    for song in np.flatnonzero(np.isin(plays.song_ids, heldout_songs)):
        others = rng.permutation(np.flatnonzero(counts[:, song] == 0))
        listeners = others[: np.count_nonzero(counts[:, song])]
        counts[:, song] = 0
        counts[listeners, song] = rng.integers(50, 100, len(listeners))
        assert len(listeners)
    return PlayCounts.from_matrix(counts, plays.user_ids, plays.song_ids)


def files(directory):
    """Each file that may not differ, by its name within the directory, without the times in JSON."""
    found = {}
    for folder, _, names in os.walk(directory, followlinks=True):
        for path in (Path(folder) / name for name in names):
            name = path.relative_to(directory)
            if MAY_DIFFER.isdisjoint({str(name), name.parts[0]}):
                content = path.read_bytes()
                if path.suffix == ".jsonl":  # within an epoch a fit reports by the clock
                    content = b"".join(line for line in content.splitlines(True) if b"validation_" in line)
                found[str(name)] = _TIME.sub(rb"\1", content) if path.suffix.startswith(".json") else content
    return found


@pytest.fixture(scope="module")
def runs(small_world, tmp_path_factory):
    """The whole experiment on the same training plays, and on held-out plays of which none is the same."""
    pytest.importorskip("torch")
    plays = PlayCounts.read(small_world / "plays.tsv")
    artists = read_songs(small_world / "songs.tsv").artist_of()
    split = split_plays(plays, by="artist", artists=artists)
    root = tmp_path_factory.mktemp("leakage")
    found = {}
    for name, table in (("as played", plays), ("changed", other_plays(plays, split.heldout_songs))):
        table.write_parquet(root / f"{name}.parquet")
        data = DataSettings(
            plays=(root / f"{name}.parquet",), audio=small_world / "audio", songs=small_world / "songs.tsv"
        )
        found[name] = run_experiment(replace(CONFIG, world=None, data=data), root / name)
    return root, found["as played"], found["changed"]


def test_no_file_made_before_the_evaluation_depends_on_a_heldout_play(runs):
    root, _, _ = runs
    ours, theirs = files(root / "as played"), files(root / "changed")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    # All of it was compared: plays, factors, words, components, every model, the curves of the networks.
    for part in (
        "split/train.parquet",
        "factors/factors.safetensors",
        "codebook/bow_pca/config.json",
        "codebook/bow_pca/pipeline/codebook/",
        "codebook/bow_pca/pipeline/pca/",
        *(f"models/{row.name}/regressor/" for row in CONFIG.rows),
        "curves/cnn-mse.jsonl",
    ):
        assert any(name.startswith(part) for name in ours), part


def test_the_choice_among_codebooks_does_not_depend_on_a_heldout_play(runs):
    _, before, after = runs
    for chosen in ("n_words", "validation_map_by_n_words"):
        assert before.results[chosen] == after.results[chosen]
    assert len(before.results["validation_map_by_n_words"]) == 2


def test_what_may_depend_on_the_heldout_plays_does(runs):
    """Else nothing was changed, and the tests above say nothing."""
    root, before, after = runs
    for name in ("split/heldout.parquet", "all-factors/factors.safetensors"):
        assert (root / "as played" / name).read_bytes() != (root / "changed" / name).read_bytes()
    for name, report in before.evaluation.reports.items():
        assert report.map_at_k != after.evaluation.reports[name].map_at_k
        predicted = before.evaluation.predictions.get(name)
        if predicted is not None:
            np.testing.assert_array_equal(predicted, after.evaluation.predictions[name])
