"""What a regressor has learned: something, of each song by itself, and the same each time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dcbmr.contract import registry
from dcbmr.contract.contract import FactorTarget, HasActivations, Regressor
from dcbmr.testing.checks import no_error
from dcbmr.testing.regressors.subject import RUN, Subject, assert_close
from dcbmr.testing.world import N_FACTORS, N_SONGS, N_USERS, is_sparse, made_of, parts_of, subset

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNITS = "predict in the units of target.song_factors, mean and scale included"


def check_fit_returns_self_and_predict_the_promised_shape(subject: Subject) -> None:
    """The host writes ``make().fit(...)``, and multiplies predictions with the factors of users."""
    features, target = subject.world()
    model = subject.make()
    with no_error("fit", "it takes songs, target and the keyword run, which may be None"):
        returned = model.fit(features, target)
    assert returned is model, f"fit returned {returned!r}; end it with: return self"
    with no_error("predict", "it takes songs, and returns an array"):
        predicted = model.predict(features)
    assert isinstance(predicted, np.ndarray), f"predict returned {type(predicted)}; return a NumPy array"
    assert predicted.dtype == np.float32, (
        f"predict returned {predicted.dtype}, wanted float32: predicted.astype(np.float32)"
    )
    shape = (N_SONGS, subject.users(model, target).shape[1])
    assert predicted.shape == shape, (
        f"predict returned shape {predicted.shape}, wanted {shape}: a row for each song, the width of users"
    )
    assert np.isfinite(predicted).all(), "predictions are not finite; look for a division by zero, or a root"


def check_starts_from_another(subject: Subject) -> None:
    """A training of tonight starts from the model of yesterday, which is still in use."""
    yesterday, features, target = subject.fitted()
    before = yesterday.predict(features)
    with no_error("fit with run.start", "a fitted one of the class is given: copy what it has learned"):
        tonight = subject.make().fit(features, target, run=replace(RUN, start=yesterday))
    assert_close(yesterday.predict(features), before, "run.start, afterwards", "copy it", exact=True)
    assert not np.array_equal(tonight.predict(features), subject.fitted()[0].predict(features)), (
        "with run.start, fit has learned the same as without; begin with what run.start has learned, or take "
        "has_warm_start=True out of the spec"
    )


def check_users_are_those_of_the_plays(subject: Subject) -> None:
    """A model with users of its own scores by them, and makes those of new users of their plays."""
    model, _, target = subject.fitted()
    users = subject.users(model, target)
    cure = "return one row of float32 for each row of counts"
    assert users.dtype == np.float32, f"user_factors returned {users.dtype}; {cure}"
    assert users.shape[0] == N_USERS, f"user_factors returned shape {users.shape}; {cure}"
    assert np.isfinite(users).all(), f"user_factors are not finite; {cure}"


def check_is_better_than_the_mean_where_there_is_signal(subject: Subject) -> None:
    """On every kind of its shape, what is planted in the features is found, at least in the songs learned."""
    for kind in registry.kinds_of(subject.spec):
        if is_sparse(kind):  # takes_sparse_vectors has its own check
            continue
        model, features, target = subject.fitted(kind)
        figure, mean = _figure(subject, model, target, model.predict(features))
        if subject.spec.has_users:
            assert figure > 0.6, f"{kind}: AUC on its training songs is {figure:.2f}, by chance 0.5; {_UNITS}"
            continue
        assert figure < 0.9 * mean, (
            f"{kind}: squared error {figure:.3g} on its training songs; the mean song has {mean:.3g}; "
            f"{_UNITS}"
        )


def check_is_no_better_than_the_mean_where_there_is_none(subject: Subject) -> None:
    """Songs with the features of others must be taken for these: nothing is known by its id or its place."""
    model, features, target = subject.fitted()
    figures, mean = [], 0.0
    for shift in (5, 17, 29):
        moved = made_of(features, parts_of(features, np.roll(np.arange(N_SONGS), shift)))
        figure, mean = _figure(subject, model, target, model.predict(moved))
        figures.append(figure)
    figure = float(np.mean(figures))
    cure = "predict from songs.vectors(), .frames() or .windows() alone, not from song_ids or row numbers"
    if subject.spec.has_users:
        assert figure < 0.6, f"AUC is {figure:.2f} with the features of other songs, wanted 0.5; {cure}"
        return
    assert figure > 0.9 * mean, (
        f"squared error {figure:.3g} with the features of other songs; the mean song has {mean:.3g}; {cure}"
    )


def _figure(
    subject: Subject, model: Regressor, target: FactorTarget, predicted: NDArray[Any]
) -> tuple[float, float]:
    """Return the squared error and that of the mean song or, of a model with users, the AUC and 0.5."""
    songs = target.song_factors
    if not subject.spec.has_users:
        return float(np.square(predicted - songs).sum()), float(np.square(songs - songs.mean(axis=0)).sum())
    scores = predicted @ subject.users(model, target).T
    played = target.surplus.toarray() > 0
    better = [np.mean(s[p][:, None] > s[~p]) for s, p in zip(scores.T, played.T, strict=True)]
    return float(np.mean(better)), 0.5


def check_a_song_does_not_depend_on_its_neighbours(subject: Subject) -> None:
    """A song is predicted with a whole catalogue today, and alone tomorrow."""
    model, features, _ = subject.fitted()
    whole = model.predict(features)
    cure = "nothing in predict may come from the other songs, as their mean does"
    for rows in (np.array([7, 3, 31]), np.array([7])):
        what = f"{len(rows)} of the songs alone"
        with no_error(f"predict on {what}", cure):
            found = model.predict(subset(features, rows))
        assert_close(found, whole[rows], f"predictions of {what} and with the others", cure)


def check_the_order_of_songs_does_not_matter(subject: Subject) -> None:
    """A store has songs in the order of their files, another in that of its table."""
    model, features, _ = subject.fitted()
    rows = np.random.default_rng(3).permutation(N_SONGS)
    found, whole = model.predict(subset(features, rows)), model.predict(features)
    cure = "row i of the predictions is row i of the songs: sort nothing, or sort it back"
    assert_close(found, whole[rows], "predictions of songs in another order", cure)


def check_same_seed_same_model(subject: Subject) -> None:
    """Who repeats an experiment gets its numbers again."""
    first, features, _ = subject.fitted()
    second, _, _ = subject.fitted()
    cure = (
        "draw random numbers from np.random.default_rng(self.random_state), with random_state: int = 0 in "
        "the constructor (None draws anew each time), and keep nothing outside self"
    )
    assert_close(
        first.predict(features), second.predict(features), "predictions of two fits", cure, exact=True
    )


def check_activations_are_those_of_windows(subject: Subject) -> None:
    """``explain`` finds these windows in the audio, for people to hear what speaks for a song."""
    model, features, _ = subject.fitted()
    wanted = np.array([5, 2])
    rows, starts, length, values = cast(HasActivations, model).activations(features, wanted)
    assert list(dict.fromkeys(rows.tolist())) == wanted.tolist(), (
        f"windows of songs {rows}, wanted {wanted}; give them song after song, in the order asked for"
    )
    assert starts.shape == rows.shape, f"{len(starts)} starts of {len(rows)} windows; give one for each"
    assert values.shape == (len(rows), N_FACTORS), (
        f"values of shape {values.shape}; wanted {(len(rows), N_FACTORS)}: without a layer, the factors"
    )
    assert values.dtype == np.float32, f"values are {values.dtype}; wanted float32"
    last = np.maximum(features.n_frames[rows] - length, 0)
    assert ((starts >= 0) & (starts <= last)).all(), (
        f"windows of {length} frames start at {starts}; each must end within its song, or start at 0"
    )
    means = np.array([values[rows == row].mean(axis=0) for row in wanted])
    cure = "without a layer, the mean over the windows of a song is what predict returns for it"
    assert_close(means, model.predict(features)[wanted], "means of the windows and predictions", cure)
