"""Evaluations that are kept and compared: what is shared, seeds and folds, and every way to print it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dcbmr import (
    RANK_METRICS,
    Evaluation,
    Factors,
    FeaturePipeline,
    FeatureStore,
    InputError,
    Split,
    WeightedALS,
    compare_evaluations,
    evaluate_models,
    read_results,
    read_songs,
    split_plays,
    train,
)
from dcbmr.base.text import latex_table
from dcbmr.cli import cli
from dcbmr.evaluation.groups import rows_by_group
from dcbmr.plays.counts import PlayCounts


def small_model(factors, store, regressor="linear", n_words=16):
    return train(factors, store, regressor=regressor, pipeline=FeaturePipeline("bow_pca", n_words=n_words))


@pytest.fixture(scope="module")
def evaluation(small_world):
    store, split = FeatureStore.open(small_world / "features"), Split.load(small_world / "split")
    factors = Factors.load(small_world / "factors")
    models = {name: small_model(factors, store, name) for name in ("linear", "mlr")}
    everything = WeightedALS(n_factors=6, n_iterations=5).fit(PlayCounts.read(small_world / "plays.tsv"))
    return evaluate_models(
        models, split, store, k=5, upper_bound=everything.factors_, baselines=True, n_resamples=200
    )


@pytest.fixture(scope="module")
def folds(small_world):
    """The same two models, trained and evaluated on three splits by artist."""
    store, found = FeatureStore.open(small_world / "features"), {}
    plays, artists = (
        PlayCounts.read(small_world / "plays.tsv"),
        read_songs(small_world / "songs.tsv").artist_of(),
    )
    for seed in range(3):
        split = split_plays(plays, by="artist", artists=artists, random_state=seed)
        factors = WeightedALS(n_factors=6, n_iterations=5).fit(split).factors_
        models = {f"{n} words": small_model(factors, store, n_words=n) for n in (4, 16)}
        found[f"fold{seed}"] = evaluate_models(models, split, store, k=5, n_resamples=0)
    return found


@pytest.fixture
def kept(evaluation, tmp_path):
    evaluation.save(tmp_path / "kept")
    return tmp_path / "kept"


def only(evaluation, songs):
    """The evaluation as it were if the others of its plays were not held out."""
    reports = {
        name: report.only(np.isin(report.ranks.songs, songs)) for name, report in evaluation.reports.items()
    }
    return replace(evaluation, reports=reports)


def test_what_was_kept_is_there_again(evaluation, kept):
    found = Evaluation.load(kept)
    assert found.reports.keys() == evaluation.reports.keys()
    for name, report in evaluation.reports.items():
        again = found.reports[name]
        for part in ("indptr", "songs", "above", "level", "n_candidates"):
            np.testing.assert_array_equal(getattr(again.ranks, part), getattr(report.ranks, part))
        assert (again.n_songs, again.k, again.left_out) == (report.n_songs, report.k, report.left_out)
        np.testing.assert_array_equal(found.user_ids[again.users], evaluation.user_ids[report.users])
    for name in ("rows", "words", "artists", "settings", "comparisons"):
        assert getattr(found, name) == getattr(evaluation, name), name
    assert found.candidates.song_ids == evaluation.candidates.song_ids
    assert found.predictions == {}
    assert found.table() == evaluation.table()


def test_the_files_are_what_they_say(evaluation, kept):
    users, plays = pq.read_table(kept / "users.parquet"), pq.read_table(kept / "plays.parquet")
    row = evaluation.rows[0]
    mine = np.array(users["model"].to_pylist()) == row["model"]
    for metric in ("map_at_5", "auc", "recall_at_5", "hit_rate_at_5", "ndcg_at_5", "mrr"):
        figures = users[metric].to_numpy()[mine]
        assert np.nanmean(figures) == pytest.approx(row[metric], rel=1e-12)
    # A user's reciprocal rank is that of the best of the user's plays.
    best = {}
    for model, user, rank in zip(*(plays[c].to_pylist() for c in ("model", "user", "rank")), strict=True):
        best[model, user] = min(rank, best.get((model, user), rank))
    assert best == {
        (model, user): round(1 / mrr)
        for model, user, mrr in zip(*(users[c].to_pylist() for c in ("model", "user", "mrr")), strict=True)
    }
    assert pq.read_table(kept / "songs.parquet")["song"].to_pylist() == evaluation.candidates.song_ids


def test_it_is_not_overwritten_unasked(evaluation, kept, tmp_path):
    with pytest.raises(InputError, match="kept exists"):
        evaluation.save(kept)
    evaluation.save(kept, overwrite=True)
    evaluation_of_other_kind = tmp_path / "other"
    Split(*(PlayCounts.from_matrix(np.ones((1, 1)), ["u"], [song]) for song in ("a", "b")), ["b"]).save(
        evaluation_of_other_kind
    )
    with pytest.raises(InputError, match="holds 'split'"):
        evaluation.save(evaluation_of_other_kind, overwrite=True)
    with pytest.raises(InputError, match="holds 'split', not 'evaluation'"):
        Evaluation.load(evaluation_of_other_kind)


def test_what_is_damaged_is_refused(kept):
    plays = pq.read_table(kept / "plays.parquet")
    damages = {
        "plays.parquet": plays.slice(0, plays.num_rows - 1),
        "songs.parquet": pa.table({"title": ["x"]}),
        "users.parquet": None,
    }
    for name, table in damages.items():
        whole = (kept / name).read_bytes()
        if table is None:
            (kept / name).write_bytes(whole[:100])
        else:
            pq.write_table(table, kept / name)
        with pytest.raises(InputError, match="kept is damaged"):
            Evaluation.load(kept)
        (kept / name).write_bytes(whole)
    Evaluation.load(kept)


def test_results_are_read_and_checked(evaluation, kept, tmp_path):
    for path in (kept, kept / "results.json"):
        results = read_results(path)
        assert results.rows == evaluation.rows
        assert results.words == evaluation.words
        assert results.settings == evaluation.settings
    content = json.loads((kept / "results.json").read_text())
    row = content["rows"][0]
    wrong = {
        "it has no settings": {"rows": [row]},
        "it has no rows": {"rows": [], "settings": {}},
        "row 0 has None for n_users": {"rows": [{**row, "n_users": None}], "settings": {}},
        "rows 0 and 1 have different fields": {"rows": [row, {**row, "x": 1}], "settings": {}},
        "wanted an object": [],
    }
    file = tmp_path / "results.json"
    for message, content in wrong.items():
        file.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            read_results(file)
    file.write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_results(file)
    with pytest.raises(InputError, match="does not exist"):
        read_results(tmp_path / "nowhere")


def test_the_rows_are_those_of_the_evaluation(evaluation, kept):
    """Loaded, and compared by itself: the intervals and tests that evaluate printed."""
    found = compare_evaluations({"it": Evaluation.load(kept)}, n_resamples=200)
    table = {row["model"]: row for row in evaluation.rows}
    assert [row["model"] for row in found.rows] == sorted(
        (name for name in evaluation.reports if name not in ("upper-bound", "mean-song")),
        key=lambda name: -table[name]["map_at_5"],
    )
    for row in found.rows:
        of = table[row["model"]]
        assert row["map_at_5"] == pytest.approx(of["map_at_5"], rel=1e-9)
        for end in ("low", "high", "low_of_users", "high_of_users"):
            assert row[end] == pytest.approx(of[f"map_at_5_{end}"], rel=1e-9)
    for ours, theirs in zip(found.uncertainty.comparisons, evaluation.comparisons, strict=True):
        assert (ours.first, ours.second) == (theirs.first, theirs.second)
        assert ours.p_holm == pytest.approx(theirs.p_holm, rel=1e-6)


@pytest.mark.parametrize("metric", RANK_METRICS)
def test_every_metric_at_any_cut_off(evaluation, metric):
    found = compare_evaluations({"it": evaluation}, metric=metric, k=3, n_resamples=50)
    assert found.metric == metric.replace("_k", "_3")
    for row in found.rows:
        report = replace(evaluation.reports[row["model"]], k=3)
        assert row[found.metric] == pytest.approx(report.means()[metric], rel=1e-9)
        assert row["low"] <= row[found.metric] <= row["high"]


def test_one_name_in_two_evaluations_is_told_apart(evaluation):
    found = compare_evaluations({"a": evaluation, "b": evaluation}, rows=["linear", "mlr"], n_resamples=50)
    assert {row["model"] for row in found.rows} == {"a: linear", "b: linear", "a: mlr", "b: mlr"}
    assert found.uncertainty.notes == ()  # all is shared
    assert set(found.candidates.values()) == {0}


def test_of_different_songs_and_users_what_is_shared_is_compared_and_said(evaluation):
    songs = evaluation.candidates.song_ids
    fewer = only(evaluation, np.arange(5))
    other = replace(fewer, candidates=replace(fewer.candidates, song_ids=[*songs[:5], "x", "y", "z"]))
    found = compare_evaluations({"a": evaluation, "b": other}, rows=["linear"], n_resamples=50)
    said = "\n".join(found.words)
    assert "of 8 and 8 candidates 5 are shared: each rank is among the candidates of its own" in said
    assert "the fewer" not in said
    n_all, n_shared = (len(e.reports["linear"].ranks.songs) for e in (evaluation, fewer))
    assert f"of {n_all} and {n_shared} held-out plays {n_shared} are shared; only those are compared" in said
    assert found.uncertainty.n_plays == n_shared

    unlike = replace(fewer, candidates=replace(fewer.candidates, song_ids=songs[:5]))
    found = compare_evaluations({"a": evaluation, "b": unlike}, rows=["linear"], n_resamples=50)
    assert "the fewer there are, the higher are mAP and the like" in "\n".join(found.words)
    assert found.candidates == {"a: linear": 0, "b: linear": 1}, "a higher figure is not called better"

    strangers = replace(evaluation, user_ids=np.array([f"x{u}" for u in evaluation.user_ids], object))
    with pytest.raises(InputError, match="share no held-out play"):
        compare_evaluations({"a": evaluation, "b": strangers})
    names = np.where(np.arange(len(evaluation.user_ids)) < 10, strangers.user_ids, evaluation.user_ids)
    some = replace(evaluation, user_ids=names)
    found = compare_evaluations({"a": evaluation, "b": some}, rows=["linear"], n_resamples=50)
    n = len(evaluation.user_ids)
    assert f"of {n} and {n} users with held-out songs {n - 10} are shared" in "\n".join(found.words)


def test_folds_are_pooled(folds):
    found = compare_evaluations(folds, pool=True, n_resamples=100)
    lists = {name: [e.reports[name].ap for e in folds.values()] for name in ("4 words", "16 words")}
    for row in found.rows:
        assert row["map_at_5"] == pytest.approx(np.concatenate(lists[row["model"]]).mean(), rel=1e-9)
    assert "pooled: 3 folds, 1 seed of each row" in found.words
    # Three folds know more than one of them.
    alone = compare_evaluations({"fold0": folds["fold0"]}, n_resamples=100)
    assert found.uncertainty.n_artists > alone.uncertainty.n_artists
    assert found.uncertainty.intervals["16 words"].standard_error < (
        alone.uncertainty.intervals["16 words"].standard_error
    )


def test_seeds_are_pooled(evaluation):
    """Two rows as if they were two seeds of one."""
    reports = {name: {"m": evaluation.reports[name]} for name in ("linear", "mean-song")}
    seeds = {name: replace(evaluation, reports=of) for name, of in reports.items()}
    found = compare_evaluations(seeds, pool=True, n_resamples=100)
    mean = np.mean([evaluation.reports[name].map_at_k for name in reports])
    assert [row["map_at_5"] for row in found.rows] == [pytest.approx(mean, rel=1e-9)]
    assert "pooled: 1 fold, 2 seeds of each row" in found.words
    # The variance of two seeds' mean is a quarter of their squared difference; users and artists add to it.
    apart = abs(reports["linear"]["m"].map_at_k - reports["mean-song"]["m"].map_at_k)
    assert found.uncertainty.intervals["m"].standard_error > apart / 2 > 0.1


def test_bad_input_is_refused(evaluation):
    with pytest.raises(InputError, match="there is no evaluation"):
        compare_evaluations({})
    with pytest.raises(InputError, match="unknown metric 'accuracy'; there are map_at_k, "):
        compare_evaluations({"a": evaluation}, metric="accuracy")
    with pytest.raises(InputError, match="no evaluation ranks a row 'x'; there are linear, mlr, "):
        compare_evaluations({"a": evaluation}, rows=["x"])
    other = replace(evaluation, settings={**evaluation.settings, "k": 7})
    with pytest.raises(InputError, match=r"different cut-offs \(a: 5, b: 7\)"):
        compare_evaluations({"a": evaluation, "b": other})
    row = {"a": evaluation, "b": replace(evaluation, reports={"z": evaluation.reports["mlr"]})}
    with pytest.raises(InputError, match="no row is in all evaluations"):
        compare_evaluations(row, pool=True)


def test_the_command_prints_a_table_tsv_json_and_latex(kept):
    def run(*words):
        return CliRunner().invoke(cli, ["compare", str(kept), *words], catch_exceptions=False)

    table = run()
    assert table.exit_code == 0
    assert "linear" in table.stdout
    assert "mlr" in table.stdout
    header, *lines = run("--tsv").stdout.splitlines()
    assert header.split("\t")[:4] == ["model", "map_at_5", "low", "high"]
    assert {line.count("\t") for line in lines} == {header.count("\t")}
    content = json.loads(run("--json").stdout)
    assert set(content) == {"metric", "rows", "comparisons", "words"}
    assert [row["model"] for row in content["rows"]] == [line.split("\t")[0] for line in lines]
    assert content["words"] == table.stdout.splitlines()[-len(content["words"]) :]
    latex = run("--latex", "--row", "linear", "--row", "mlr").stdout
    assert latex.startswith("\\begin{tabular}{lrlrll}\n\\toprule\nmodel & map\\_at\\_5 & ")
    assert latex.count(r"\\") == 3
    twice = CliRunner().invoke(cli, ["compare", str(kept), str(kept)])
    assert "an evaluation is given twice" in twice.output


def test_the_rows_of_groups(folds, small_world):
    """What a group is, is tested with dcbmr.ranking.groups; here, that the right numbers go in."""
    split = split_plays(
        PlayCounts.read(small_world / "plays.tsv"),
        by="artist",
        artists=read_songs(small_world / "songs.tsv").artist_of(),
    )
    evaluation = folds["fold0"]
    report = evaluation.reports["16 words"]
    by = {
        name: [row for row in rows_by_group(evaluation, split, name) if row["model"] == "16 words"]
        for name in ("popularity", "activity", "artist")
    }
    assert [(row["group"], row["n_users"]) for row in by["artist"]] == [("new artist", report.n_users)]
    assert by["artist"][0]["map_at_5"] == pytest.approx(report.map_at_k)
    for rows in by.values():
        assert sum(row["n_plays"] for row in rows) == len(report.ranks.songs)
    # Popular songs and active users have the most plays.
    listeners = np.asarray((split.heldout.counts > 0).sum(axis=0)).ravel()
    of_top = by["popularity"][-1]
    assert of_top["n_plays"] / listeners.max() == np.count_nonzero(listeners == listeners.max())
    assert sum(row["n_users"] for row in by["activity"]) == report.n_users
    with pytest.raises(InputError, match="artists are not known"):
        rows_by_group(evaluation, replace(split, artists=None), "artist")


def test_latex_is_escaped():
    rows = [{"a_b": r"50 % & {#1} \x ~ ^ $"}]
    assert r"50 \% \& \{\#1\} \textbackslash{}x \textasciitilde{} \textasciicircum{} \$ \\" in latex_table(
        rows
    )
