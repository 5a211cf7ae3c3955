"""What every regressor must do."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import SkipTest

import numpy as np
from scipy.sparse import csr_array

from dcbmr.contract import registry
from dcbmr.contract.contract import (
    FactorTarget,
    FitRun,
    HasActivations,
    HasUsers,
    Regressor,
    RegressorSpec,
    SongFeatures,
)
from dcbmr.contract.registry import find_kind
from dcbmr.testing.checks import Check, assert_annotated_keywords, assert_inert, checks_of
from dcbmr.testing.world import N_FACTORS, N_SONGS, N_USERS, planted_world, subset

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One thread is fastest for what is so small.
RUN = FitRun(n_threads=1)


def regressor_checks(name: str, **params: Any) -> list[Check]:
    """Return the checks that a registered regressor must pass.

    Parameters
    ----------
    name : str
        One of :func:`dcbmr.regressors`.
    **params
        Hyper-parameters that make it small enough for tests (its quality is not judged beyond beating
        the mean song).
    """
    suite = _RegressorSuite(name, params)
    checks = checks_of(suite)
    if not suite.spec.has_activations:
        checks = [check for check in checks if check.name != "activations_are_those_of_windows"]
    return checks


class _RegressorSuite:
    """The checks; each fits models of its own, so that each can fail alone."""

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        self.name = name
        self.spec: RegressorSpec = registry.find_regressor(name)
        self.factory = registry.resolve(self.spec)
        self.params = dict(params)

    def make(self) -> Regressor:
        return registry.get_regressor(self.name, **self.params)

    def world(self, kind: str | None = None) -> tuple[SongFeatures, FactorTarget]:
        return planted_world(kind or self.spec.kind)

    def fitted(self, kind: str | None = None) -> tuple[Regressor, SongFeatures, FactorTarget]:
        features, target = self.world(kind)
        return self.make().fit(features, target, run=RUN), features, target

    def check_constructor_takes_annotated_keywords(self) -> None:
        parameters = inspect.signature(self.factory).parameters.values()
        assert_annotated_keywords(parameters)
        for parameter in parameters:
            assert parameter.default is not inspect.Parameter.empty, f"{parameter.name} has no default"
        assert issubclass(self.factory, Regressor), "a regressor is a class with fit, predict, save and load"

    def check_constructor_stores_its_arguments(self) -> None:
        made = self.make()
        for name, value in self.params.items():
            assert getattr(made, name) == value, f"{name} is not kept as given"

    def check_declares_the_reserved_names_where_it_has_a_choice(self) -> None:
        declared = registry.parameters(self.factory)
        losses, devices = registry.losses_of(self.spec), self.spec.devices
        assert ("loss" in declared) == bool(losses), "spec.losses and the argument `loss` disagree"
        if losses:
            default = declared["loss"].default
            assert default in losses, f"the default loss {default!r} is none of {', '.join(losses)}"
        if self.spec.losses is None:
            assert "loss_params" in declared, "what takes any registered loss takes its `loss_params`"
        if "loss_params" in declared:
            assert losses, "there are `loss_params`, and no loss to choose"
            assert not self.factory().loss_params, "`loss_params` are not empty by default"
        assert ("device" in declared) == (devices != ("cpu",)), "spec.devices and `device` disagree"
        if "device" in declared:
            default = declared["device"].default
            assert default in devices, f"the default device {default!r} is none of {', '.join(devices)}"

    def check_has_what_its_spec_declares(self) -> None:
        for capability, method in (
            ("has_check", "check"),
            ("has_users", "user_factors"),
            ("has_activations", "activations"),
        ):
            if getattr(self.spec, capability):
                found = getattr(self.factory, method, None)
                assert callable(found), f"the spec says {capability}, and there is no method {method}"

    def check_leaves_what_it_is_given_alone(self) -> None:
        features, target = self.world()
        before = [part.copy() for part in _arrays(features, target)]
        try:
            self.make().fit(features, target, run=RUN).predict(features)
        except ValueError as error:
            raise AssertionError(f"fit or predict writes to what it is given? {error}") from error
        for old, new in zip(before, _arrays(features, target), strict=True):
            assert np.array_equal(old, new), "fit or predict wrote to what it was given"

    def check_fit_returns_self_and_predict_the_promised_shape(self) -> None:
        features, target = self.world()
        model = self.make()
        assert model.fit(features, target) is model, "fit must return self"
        predicted = model.predict(features)
        assert isinstance(predicted, np.ndarray), f"predict returned {type(predicted)}"
        assert predicted.dtype == np.float32, f"predict returned {predicted.dtype}, wanted float32"
        width = self.users(model, target).shape[1]
        assert predicted.shape == (N_SONGS, width), f"predict returned {predicted.shape}"
        assert np.isfinite(predicted).all(), "predictions are not finite"

    def users(self, model: Regressor, target: FactorTarget) -> NDArray[np.float32]:
        """Return the users that score the model's predictions."""
        if not self.spec.has_users:
            return target.user_factors
        users = cast(HasUsers, model).user_factors(csr_array(target.surplus.T))
        assert users.dtype == np.float32, f"user_factors returned {users.dtype}, wanted float32"
        assert users.shape[0] == N_USERS, f"user_factors returned {users.shape}"
        assert np.isfinite(users).all(), "user_factors are not finite"
        return np.asarray(users)

    def check_learns_what_is_planted_from_every_kind_of_its_shape(self) -> None:
        for kind in registry.kinds_of(self.spec):
            model, features, target = self.fitted(kind)
            predicted = model.predict(features)
            if self.spec.has_users:
                scores = predicted @ self.users(model, target).T
                played = target.surplus.toarray() > 0
                better = [np.mean(s[p][:, None] > s[~p]) for s, p in zip(scores.T, played.T, strict=True)]
                assert np.mean(better) > 0.6, f"{kind}: AUC on its training songs is {np.mean(better):.2f}"
                continue
            songs = target.song_factors
            error = np.square(predicted - songs).sum()
            by_mean = np.square(songs - songs.mean(axis=0)).sum()
            assert error < 0.9 * by_mean, (
                f"{kind}: squared error {error:.3g} on its training songs; the mean song has {by_mean:.3g}. "
                "Are predictions in the units of song_factors?"
            )

    def check_activations_are_those_of_windows(self) -> None:
        model, features, _ = self.fitted()
        wanted = np.array([5, 2])
        rows, starts, length, values = cast(HasActivations, model).activations(features, wanted)
        assert list(dict.fromkeys(rows.tolist())) == wanted.tolist(), (
            f"windows of songs {rows}, wanted {wanted}"
        )
        assert starts.shape == rows.shape, f"{len(starts)} starts of {len(rows)} windows"
        assert values.shape == (len(rows), N_FACTORS), f"values of shape {values.shape}"
        assert values.dtype == np.float32, f"values are {values.dtype}, wanted float32"
        last = np.maximum(features.n_frames[rows] - length, 0)
        assert ((starts >= 0) & (starts <= last)).all(), f"windows of {length} frames start at {starts}"

    def check_a_song_does_not_depend_on_its_neighbours(self) -> None:
        model, features, _ = self.fitted()
        whole = model.predict(features)
        rows = np.array([7, 3, 31])
        _assert_close(model.predict(subset(features, rows)), whole[rows], "three songs predicted alone")
        _assert_close(model.predict(subset(features, rows[:1])), whole[rows[:1]], "one song predicted alone")

    def check_same_seed_same_model(self) -> None:
        first, features, _ = self.fitted()
        second, _, _ = self.fitted()
        _assert_close(first.predict(features), second.predict(features), "two fits with one seed", exact=True)

    def check_works_without_artists_and_without_validation(self) -> None:
        features, target = self.world()
        bare = replace(target, groups=None, validation=np.zeros(N_SONGS, bool))
        assert np.isfinite(self.make().fit(features, bare, run=RUN).predict(features)).all()

    def check_save_and_load(self) -> None:
        model, features, target = self.fitted()
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            model.save(directory)
            written = sorted(p for p in directory.rglob("*") if p.is_file())
            assert written, "save wrote nothing"
            for path in written:
                assert_inert(path)
            loaded = self.factory.load(directory)
        expected = model.predict(features)
        _assert_close(loaded.predict(features), expected, "after save and load", exact=True)
        if self.spec.has_users:
            users = self.users(loaded, target), self.users(model, target)
            _assert_close(*users, "users after save and load", exact=True)

    def check_reports_and_can_be_cancelled(self) -> None:
        features, target = self.world()
        reports: list[tuple[int, int | None]] = []

        def note(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            reports.append((step, n_steps))
            assert all(np.isscalar(value) for value in figures.values()), f"figures are {figures}"

        self.make().fit(features, target, run=replace(RUN, report=note))
        steps = [step for step, _ in reports]
        assert steps == sorted(steps), f"steps reported out of order: {steps}"

        def cancel(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            raise KeyboardInterrupt

        if not reports:
            raise SkipTest(f"{self.name}: fit never reports, so that there is nothing to cancel it by")
        try:
            self.make().fit(features, target, run=replace(RUN, report=cancel))
        except KeyboardInterrupt:
            return
        raise AssertionError("report raised, and fit went on: nobody could cancel it")

    def check_resumes_after_a_cancel(self) -> None:
        features, target = self.world()
        calls = 0

        def cancel(stage: str, step: int, n_steps: int | None, figures: Mapping[str, float]) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt

        with tempfile.TemporaryDirectory() as name:
            run = replace(RUN, checkpoint=Path(name), report=cancel)
            try:
                self.make().fit(features, target, run=run)
            except KeyboardInterrupt:
                again = replace(RUN, checkpoint=Path(name), resume=True)
                resumed = self.make().fit(features, target, run=again)
            else:
                raise SkipTest(f"{self.name}: fit reports {calls} times, so that it could not be cancelled")
            for path in Path(name).rglob("*"):
                if path.is_file():
                    assert_inert(path)
        unbroken, _, _ = self.fitted()
        _assert_close(resumed.predict(features), unbroken.predict(features), "resumed and unbroken")


def _arrays(features: SongFeatures, target: FactorTarget) -> list[NDArray[Any]]:
    """Return every array that a fit is given, a sparse one as its parts."""
    found: list[Any] = [getattr(target, name) for name in ("song_factors", "user_factors", "surplus")]
    found += [target.groups, target.validation]
    if find_kind(features.kind).shape == "frames":
        found += [features.frames(row) for row in range(N_SONGS)]
    else:
        found.append(features.vectors())
    return [
        part for x in found for part in ((x.data, x.indices, x.indptr) if isinstance(x, csr_array) else (x,))
    ]


def _assert_close(found: NDArray[Any], expected: NDArray[Any], what: str, *, exact: bool = False) -> None:
    scale = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(found - expected).max()) / scale
    assert error <= (0 if exact else 1e-4), f"{what}: predictions differ by {error:.2g} of the largest"
