"""Baselines: each against its definition written out, and what the table says of them."""

import numpy as np
import pytest
import reference
from scipy.sparse import csr_array

from dcbmr import (
    Evaluation,
    Factors,
    FeaturePipeline,
    FeatureStore,
    InputError,
    PlayCounts,
    SongTags,
    Split,
    Stack,
    compare_evaluations,
    evaluate_models,
    read_songs,
    split_plays,
    train,
)
from dcbmr.evaluation.baselines import (
    Shuffles,
    artists_as_tags,
    mean_song,
    nearest_songs,
    plays_of_alike,
    shuffled,
    vector_model,
)
from dcbmr.evaluation.scoring import score


@pytest.fixture(scope="module")
def by_artist(small_world):
    store = FeatureStore.open(small_world / "features")
    split = Split.load(small_world / "split")
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    return (
        train(Factors.load(small_world / "factors"), store, regressor="linear", pipeline=pipeline),
        split,
        store,
    )


@pytest.fixture(scope="module")
def by_song(small_world):
    from dcbmr import WeightedALS

    store = FeatureStore.open(small_world / "features")
    artists = read_songs(small_world / "songs.tsv").artist_of()
    split = split_plays(PlayCounts.read(small_world / "plays.tsv"), artists=artists)
    factors = WeightedALS(n_factors=6, n_iterations=5).fit(split).factors_
    pipeline = FeaturePipeline("bow_pca", n_words=16)
    return train(factors, store, regressor="linear", pipeline=pipeline), split, store


def matrix(rng, shape, share):
    return (rng.random(shape) < share) * rng.integers(1, 9, shape)


def test_plays_of_alike_is_the_formula_written_out():
    rng = np.random.default_rng(0)
    users, songs = [f"u{i}" for i in range(30)], [f"s{i}" for i in range(50)]
    counts = matrix(rng, (30, 50), 0.3)
    counts[7, :30] = 0  # nothing in training
    counts[8, :30] = 0
    counts[8, 3] = 2  # a song without a group
    weights = matrix(rng, (50, 12), 0.15) * rng.random((50, 12))
    weights[3] = 0
    known = np.flatnonzero(weights.any(axis=1))
    groups = SongTags([songs[i] for i in known], [f"g{i}" for i in range(12)], csr_array(weights[known]))
    learned = PlayCounts.from_matrix(counts[:, :30], users, songs[:30])
    asked = PlayCounts.from_matrix(counts[:, 30:], users, songs[30:])
    report = plays_of_alike(groups, learned, songs[30:], asked, k=5, random_state=3)

    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    order = 0.01 * np.random.default_rng(3).permutation(20) / 20
    scores = counts[:, :30] @ shares[:30] @ shares[30:].T + order
    kept = [u for u in range(30) if counts[u, :30].any() and counts[u, 30:].any()]
    assert report.users.tolist() == kept  # the eighth user, too, who played nothing with a group
    for user, ap, auc in zip(kept, report.ap, report.auc_of_users, strict=True):
        wanted = reference.average_precision_and_auc(scores[user], counts[user, 30:] > 0, 5)
        assert (ap, auc) == pytest.approx(wanted)


def test_artist_plays_rank_the_artists_of_a_user_first():
    artists = {"a1": "A", "a2": "A", "b1": "B", "b2": "B", "c1": "C", "new": "N"}
    train_songs, candidates = ["a1", "b1", "c1"], ["a2", "b2", "new"]
    learned = PlayCounts.from_matrix([[5, 1, 0], [0, 3, 9]], ["ann", "bob"], train_songs)
    asked = PlayCounts.from_matrix([[1, 0, 0], [0, 1, 0]], ["ann", "bob"], candidates)
    report = plays_of_alike(artists_as_tags(artists), learned, candidates, asked)
    assert (report.map_at_k, report.auc) == (1, 1)
    assert plays_of_alike(artists_as_tags({"a1": "A", "a2": "Z"}), learned, candidates, asked) is None


@pytest.mark.parametrize("kind", ["bow", "bow_pca"])
def test_nearest_songs_are_those_of_the_highest_cosine(small_world, kind):
    store, factors = FeatureStore.open(small_world / "features"), Factors.load(small_world / "factors")
    model = train(factors, store, regressor="linear", pipeline=FeaturePipeline(kind, n_words=16))
    songs = Split.load(small_world / "split").heldout_songs
    found = nearest_songs(model, store, songs, n_neighbours=3)

    def unit(names):
        vectors = model.features_of(store, names).vectors()
        vectors = np.asarray(vectors.toarray() if kind == "bow" else vectors, np.float64)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    row = {song: i for i, song in enumerate(factors.song_ids)}
    of_training = np.array([factors.song_factors[row[song]] for song in model.song_ids])
    for song, cosines in enumerate(unit(songs) @ unit(model.song_ids).T):
        np.testing.assert_allclose(found[song], of_training[np.argsort(-cosines)[:3]].mean(axis=0), rtol=1e-5)
    assert nearest_songs(model, store, songs, n_neighbours=1000).shape == found.shape


def test_the_vector_model_is_found_in_stacks_and_among_networks(by_artist):
    model, _, store = by_artist
    pytest.importorskip("torch")
    cnn = train(
        model.factors, store, regressor="cnn", params={"epochs": 1, "channels": (4, 4), "hidden": (4,)}
    )
    assert vector_model([cnn, model]) is model
    assert vector_model([Stack([cnn, model])]) is model
    assert vector_model([cnn]) is None


def test_the_mean_song_ties(by_artist):
    model, split, _ = by_artist
    factors = model.factors
    mean = mean_song(factors, model.song_ids, len(split.heldout_songs))
    rows = np.isin(factors.song_ids, model.song_ids)
    np.testing.assert_allclose(mean[0], factors.song_factors[rows].mean(axis=0), rtol=1e-5)
    report = score(factors.user_ids, factors.user_factors, split.heldout_songs, mean, split.heldout)
    np.testing.assert_allclose(report.auc_of_users[report.n_heldout < 8], 0.5)
    worst = [
        reference.average_precision_and_auc(np.zeros(8), np.arange(8) < n, 500)[0] for n in report.n_heldout
    ]
    assert report.map_at_k == pytest.approx(np.mean(worst))


def test_shuffles_are_random_and_a_model_that_hears_is_not(by_artist):
    model, split, store = by_artist
    predicted = model.predict_store(store, split.heldout_songs)
    drawn = [
        shuffled(model, predicted, split.heldout_songs, split.heldout, k=5, n_shuffles=200, random_state=seed)
        for seed in (0, 0, 1)
    ]
    for metric, figures in drawn[0].figures.items():
        np.testing.assert_array_equal(figures, drawn[1].figures[metric])
    assert not np.array_equal(drawn[0].figures["auc"], drawn[2].figures["auc"])
    low, high = drawn[0].interval("auc", confidence=0.999)
    assert low < 0.5 < high < low + 0.2


def test_the_p_of_shuffles_is_never_zero():
    shuffles = Shuffles({"auc": np.array([0.4, 0.5, 0.6, 0.5])})
    assert shuffles.p("auc", 0.9) == 1 / 5
    assert shuffles.p("auc", 0.5) == 4 / 5
    assert shuffles.p("auc", 0.1) == 1
    assert shuffles.interval("auc") == pytest.approx((0.5 - 0.12992, 0.5 + 0.12992), abs=1e-4)


def test_the_table_has_every_baseline_of_a_split_by_song(by_song, small_world):
    model, split, store = by_song
    pitch = SongTags(
        [f"song{i:02d}" for i in range(40)],
        ["low", "high"],
        csr_array(np.array([[i % 10 < 5, i % 10 >= 5] for i in range(40)], float)),
    )
    found = evaluate_models({"m": model}, split, store, k=5, baselines=True, tags=pitch)
    assert [row["model"] for row in found.rows] == [
        "m", "nearest-songs", "artist-plays", "mean-song", "tag-plays", "m (shuffled)", "random",
        "random (in theory)",
    ]  # fmt: skip
    table = {row["model"]: row for row in found.rows}
    assert len({tuple(row) for row in found.rows}) == 1
    # Users of this world like a range of pitches: who knows the artist, or the pitch, knows a lot.
    for name in ("m", "nearest-songs", "artist-plays", "tag-plays"):
        assert table[name]["auc"] > 0.6, name
        assert table[name]["auc_low"] < table[name]["auc"] < table[name]["auc_high"]
    assert table["m (shuffled)"]["auc_low"] < 0.5 < table["m (shuffled)"]["auc_high"]
    said = "\n".join(found.words)
    assert "m on shuffled audio is random: map_at_5 0." in said
    assert "on its own audio it is better than that" in said
    assert "8 of the 8 songs scored are by artists of training songs, which flatters every model" in said


def test_what_is_not_there_is_said(by_artist, by_song):
    model, split, store = by_artist
    found = evaluate_models({"m": model}, split, store, baselines=True, n_resamples=0)
    assert "no song scored shares an artist with a training song: there is no row artist-plays" in found.words
    assert not any("flatters" in words for words in found.words)
    assert found.rows[0]["map_at_500_low"] is None
    assert found.comparisons == []
    model, split, store = by_song
    blind = Split(split.train, split.heldout, split.heldout_songs, by="song")
    found = evaluate_models({"m": model}, blind, store, n_resamples=0)
    assert any(words.startswith("artists are not known: ") for words in found.words)


def test_bad_input_is_refused(by_artist):
    model, split, store = by_artist
    nobody = PlayCounts.from_matrix(np.zeros((2, 8)), ["user00", "user01"], split.heldout_songs)
    with pytest.raises(InputError, match="there are no plays of the 8 songs held out"):
        evaluate_models({"m": model}, Split(split.train, nobody, split.heldout_songs), store)
    first = split.heldout_songs[:1]
    with pytest.raises(InputError, match="only 'song.*' of the 1 held-out songs has features: one candidate"):
        evaluate_models({"m": model}, Split(split.train, split.heldout, first), store)
    strangers = PlayCounts.from_matrix(np.ones((2, 8)), ["x", "y"], split.heldout_songs)
    with pytest.raises(InputError, match="no user is left to evaluate: .* 2 have no training plays"):
        evaluate_models({"m": model}, Split(split.train, strangers, split.heldout_songs), store)
    for name in ("mean-song", "x (shuffled)"):
        with pytest.raises(InputError, match="a model cannot be called"):
            evaluate_models({name: model}, split, store)
    factors = np.full((8, 6), np.nan, np.float32)
    with pytest.raises(InputError, match="song_factors must be finite"):
        score(model.user_ids, model.user_factors, split.heldout_songs, factors, split.heldout)


def test_users_who_hold_out_every_song_have_no_auc(by_artist, tmp_path):
    model, split, store = by_artist
    everything = PlayCounts.from_matrix(np.ones((60, 8)), split.train.user_ids, split.heldout_songs)
    found = evaluate_models(
        {"m": model}, Split(split.train, everything, split.heldout_songs), store, baselines=True
    )
    row = found.rows[0]
    assert (row["map_at_500"], row["auc"], row["auc_low"]) == (1, None, None)
    found.save(tmp_path / "kept")
    again = Evaluation.load(tmp_path / "kept")
    assert again.table() == found.table()
    with pytest.raises(InputError, match="no list of a user has a figure"):
        compare_evaluations({"it": again}, metric="auc")
