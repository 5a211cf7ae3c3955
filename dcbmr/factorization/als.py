"""Weighted matrix factorization of play counts by alternating least squares.

Minimises, over all pairs of a user u and a song i,

    sum c (p - x_u . y_i)^2 + lambda (sum |x_u|^2 + sum |y_i|^2)
    p = [r > 0],   c = 1 + alpha log(1 + r / epsilon)

(Hu, Koren and Volinsky, ICDM 2008; van den Oord, Dieleman and Schrauwen, NIPS 2013, eq. 1 to 3). A half-sweep
solves the factors of all users, or of all songs, exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.sparse import csr_array, issparse

from dcbmr.base.estimator import Estimator
from dcbmr.base.progress import Progress, silent
from dcbmr.errors import InputError
from dcbmr.factorization.checkpoint import Checkpoint, identity_of_plays
from dcbmr.factorization.factors import OBJECTIVE, Factors, check_objective
from dcbmr.factorization.half_sweep import Problem, Tell, int32_indices
from dcbmr.factorization.sides import Side, SideHere, on_workers
from dcbmr.factorization.warm_start import check_start, crc32_of, starting_factors
from dcbmr.plays.confidence import surplus
from dcbmr.plays.counts import PlayCounts, ids_array
from dcbmr.plays.split import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.factorization.play_blocks import PlayBlocks

    _Both = tuple[NDArray[np.float32], NDArray[np.float32]]  # of users, of songs

_STEPS_A_SWEEP = 100  # of progress


class WeightedALS(Estimator):
    """Weighted matrix factorization of play counts.

    Parameters
    ----------
    n_factors : int
        Latent factors of a user and of a song. The paper uses 50 on its subset and 400 on all data.
    alpha, epsilon : float
        Confidence c = 1 + alpha log(1 + r / epsilon) of r plays. The paper does not print them; 2 and 1e-6
        are what Liang, Zhan and Ellis (ISMIR 2015) and the authors' group's own code use. With these the
        confidence is nearly binary: c(1) = 28.6, c(10) = 33.2, c(100) = 37.8.
    regularization : float
        lambda, positive. Not printed either; 1e-5 is that code's.
    n_iterations : int
        Sweeps at the most: the users, then the songs.
    solver : {"cholesky", "cg"}
        How a row is solved: exactly, or by a few steps of conjugate gradients from where it was (Takács,
        Pilászy and Tikk, RecSys 2011), in a basis where the confidence alone makes the system hard.
    n_threads : int or None
        None for every core of the process. The result does not depend on it.
    random_state : int
        Seed of the initial song factors.
    cg_steps : int
        Steps of solver "cg" a row and sweep.
    tolerance : float
        Stop once a sweep changes the objective by less than this share of it; 0 for never.
    unobserved_weight : float
        Confidence of a pair without plays; 1 in the paper, the "alpha" of iALS in Rendle et al. (RecSys
        2022), "Revisiting the performance of iALS on item recommendation benchmarks".
    frequency_exponent : float
        nu of frequency-scaled regularization, lambda (n + unobserved_weight n_others)^nu for a row of n
        plays (the same paper, eq. 8); 0 for the paper's lambda.
    init_scale : float
        Initial song factors are normal with standard deviation init_scale / sqrt(n_factors) (the same
        paper, section 4.2).

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors), float32
    song_factors_ : ndarray of shape (n_songs, n_factors), float32
        A user or a song without plays has zeros.
    factors_ : Factors
        Both, with ids, plays and settings.
    objective_ : list of dict
        After each sweep the terms ``observed``, ``unobserved``, ``regularization``, their ``total``, the
        ``seconds`` of the sweep, and ``n_retried``, how many rows float32 could not solve.
    """

    def __init__(
        self,
        *,
        n_factors: int = 50,
        alpha: float = 2.0,
        epsilon: float = 1e-6,
        regularization: float = 1e-5,
        n_iterations: int = 15,
        solver: Literal["cholesky", "cg"] = "cholesky",
        n_threads: int | None = None,
        random_state: int = 0,
        cg_steps: int = 3,
        tolerance: float = 0.0,
        unobserved_weight: float = 1.0,
        frequency_exponent: float = 0.0,
        init_scale: float = 0.1,
    ) -> None:
        self.n_factors = n_factors
        self.alpha = alpha
        self.epsilon = epsilon
        self.regularization = regularization
        self.n_iterations = n_iterations
        self.solver = solver
        self.n_threads = n_threads
        self.random_state = random_state
        self.cg_steps = cg_steps
        self.tolerance = tolerance
        self.unobserved_weight = unobserved_weight
        self.frequency_exponent = frequency_exponent
        self.init_scale = init_scale

    def settings(self) -> dict[str, Any]:
        """Return what the result depends on; InputError where it cannot be."""
        settings = {name: value for name, value in self.get_params().items() if name != "n_threads"}
        check_objective(settings)
        for name, least in (("n_factors", 1), ("n_iterations", 1), ("cg_steps", 1), ("random_state", 0)):
            value = settings[name]
            if not isinstance(value, Integral) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}; got {value!r}")
            settings[name] = int(value)
        # Numbers of NumPy are as good, and are kept as Python's: they go into JSON.
        for name in (*OBJECTIVE, "init_scale", "tolerance"):
            settings[name] = float(settings[name])
        if not (np.isfinite(self.init_scale) and self.init_scale > 0):
            raise InputError(f"init_scale must be a positive number; got {self.init_scale}")
        if not (np.isfinite(self.tolerance) and self.tolerance >= 0):
            raise InputError(f"tolerance must be at least 0; got {self.tolerance}")
        if self.solver not in ("cholesky", "cg"):
            raise InputError(f"solver must be 'cholesky' or 'cg'; got {self.solver!r}")
        return settings

    def fit(
        self,
        plays: PlayCounts | Split | Any,
        *,
        warm_start: Factors | None = None,
        progress: Progress | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        engine: RayEngine | None = None,
    ) -> Self:
        """Factorize plays.

        Parameters
        ----------
        plays : PlayCounts, Split, or matrix of shape (n_users, n_songs)
            Raw plays. Of a split its training plays, and :attr:`factors_` know the songs held out. A matrix
            may be a sparse array of any format, a dense one, or a data frame whose index and columns are
            the ids; without ids, rows and columns get their numbers.
        warm_start : Factors, optional
            Start from these, which earlier plays gave with the same n_factors and objective, rather than
            from random ones: users and songs that they know from where they were, new songs from their
            fold-in. With a tolerance, far fewer sweeps suffice where little has changed.
        progress : Progress, optional
            Told of each sweep ("factorize"), with the objective, when :attr:`user_factors_` and
            :attr:`song_factors_` are those of the sweep; of large plays within a sweep, too ("solve", in
            hundredths of a sweep). It may raise to stop.
        checkpoint : path, optional
            Directory that is written anew after each sweep.
        resume : bool
            Continue from the checkpoint, if there is one, to the bits of an unbroken run. It must be of
            the same plays and settings; n_iterations and tolerance may differ.
        engine : RayEngine, optional
            Solve the rows on its workers. The result has the bits of one machine with the engine's
            instruction set, and a checkpoint may be continued with or without an engine.

        Raises
        ------
        InputError
            Settings out of range; plays that are no plays; a checkpoint of other plays or settings; factors
            to start from that minimise something else, or have seen songs that the split holds out.
        """
        settings = self.settings()
        split = plays if isinstance(plays, Split) else None
        table = _as_plays(plays if split is None else split.train)
        settings["crc32_of_warm_start"] = None
        if warm_start is not None:
            check_start(warm_start, settings, () if split is None else split.heldout_songs)
            settings["crc32_of_warm_start"] = crc32_of(warm_start)
        users = int32_indices(surplus(table.counts, alpha=self.alpha, epsilon=self.epsilon))
        songs = int32_indices(users.T.tocsr())
        sides = [
            SideHere(plays) if engine is None else on_workers(engine, plays, self.n_factors)
            for plays in (users, songs)
        ]
        begin = None
        if warm_start is not None:
            begin = partial(starting_factors, warm_start, table, n_threads=self.n_threads)
        state = None
        if checkpoint is not None:
            state = Checkpoint(Path(checkpoint), settings, identity_of_plays(users))
        self._sweep_all(
            sides, np.diff(songs.indptr) > 0, settings, progress, state, resume=resume, begin=begin
        )
        self.factors_ = self._factors(
            settings,
            counts=table.counts,
            user_ids=table.user_ids,
            song_ids=table.song_ids,
            heldout_songs=() if split is None else tuple(split.heldout_songs),
            artists=None if split is None else split.artists,
            titles=None if split is None else split.titles,
        )
        return self

    def _factors(self, settings: Mapping[str, Any], **of: Any) -> Factors:
        rest = {name: value for name, value in settings.items() if name not in OBJECTIVE}
        return Factors(
            user_factors=self.user_factors_,
            song_factors=self.song_factors_,
            **{name: settings[name] for name in OBJECTIVE},
            config={**rest, "objective": self.objective_},
            **of,
        )

    def _sweep_all(
        self,
        sides: Sequence[Side],
        has_plays: NDArray[np.bool_],
        settings: Mapping[str, Any],
        progress: Progress | None,
        state: Checkpoint | None,
        *,
        resume: bool,
        begin: Callable[[NDArray[np.float32]], _Both] | None = None,
    ) -> None:
        """Solve users and songs in turn; songs begin at random, both with what ``begin`` makes of that."""
        report, problem = progress or silent, Problem.of(settings, self.n_threads)
        of_users, of_songs = sides
        saved = state.load() if state is not None and resume else None
        if saved is not None:
            user_factors, song_factors, self.objective_ = saved
        else:
            song_factors = self._initial_factors(has_plays)
            user_factors = np.zeros((of_users.n_rows, self.n_factors), dtype=np.float32)
            if begin is not None:
                user_factors, song_factors = begin(song_factors)
            self.objective_ = []
        # There from the first sweep on, for a progress that looks at them; they are solved in place.
        self.user_factors_: NDArray[np.float32] = user_factors
        self.song_factors_: NDArray[np.float32] = song_factors

        def tell(share: float) -> None:
            done = _STEPS_A_SWEEP * (len(self.objective_) + share)
            report("solve", int(done), _STEPS_A_SWEEP * self.n_iterations, {})

        while len(self.objective_) < self.n_iterations and not self._converged():
            started = time.perf_counter()
            terms = sweep(of_users, of_songs, user_factors, song_factors, problem, tell)
            self.objective_.append({**terms, "seconds": time.perf_counter() - started})
            if state is not None:
                state.save(user_factors, song_factors, self.objective_)
            report("factorize", len(self.objective_), self.n_iterations, self.objective_[-1])

    def _initial_factors(self, has_plays: NDArray[np.bool_]) -> NDArray[np.float32]:
        rng = np.random.default_rng(self.random_state)
        factors = rng.standard_normal((len(has_plays), self.n_factors), dtype=np.float32)
        factors *= self.init_scale / np.sqrt(self.n_factors)
        factors[~has_plays] = 0
        return factors

    def _converged(self) -> bool:
        if len(self.objective_) < 2:
            return False
        before, now = (terms["total"] for terms in self.objective_[-2:])
        return abs(before - now) < self.tolerance * now


def fit_on_workers(
    als: WeightedALS,
    plays: PlayBlocks,
    *,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Factors:
    """Factorize plays that workers hold, as :meth:`WeightedALS.fit` does with an engine.

    The factors come without plays, for :meth:`PlayBlocks.save` to write them with these.
    """
    settings = {**als.settings(), "crc32_of_warm_start": None}
    state = None if checkpoint is None else Checkpoint(Path(checkpoint), settings, plays.identity)
    als._sweep_all(plays.sides, plays.has_plays, settings, progress, state, resume=resume)
    none = csr_array((len(plays.user_ids), len(plays.song_ids)), dtype=np.float32)
    return als._factors(settings, counts=none, user_ids=plays.user_ids, song_ids=plays.song_ids)


def sweep(
    users: Side,
    songs: Side,
    user_factors: NDArray[np.float32],
    song_factors: NDArray[np.float32],
    problem: Problem,
    tell: Tell,
) -> dict[str, float]:
    """Solve the users, then the songs, in place; return the objective's terms.

    ``tell`` hears now and then which share of the sweep is done, where each half counts the same.
    """
    of_users = users.solve(
        song_factors, problem, user_factors, objective=False, tell=lambda share: tell(share / 2)
    )
    of_songs = songs.solve(
        user_factors, problem, song_factors, objective=True, tell=lambda share: tell((1 + share) / 2)
    )
    observed, unobserved, penalty = of_songs[0], of_songs[1], of_users[2] + of_songs[2]
    terms = {
        "observed": observed,
        "unobserved": unobserved,
        "regularization": penalty,
        "total": observed + unobserved + penalty,
        "n_retried": of_users[3] + of_songs[3],
    }
    return {name: float(value) for name, value in terms.items()}


def _as_plays(counts: Any) -> PlayCounts:
    """Return a matrix as plays, with the ids of a data frame or else with numbers."""
    if isinstance(counts, PlayCounts):
        return counts
    matrix, ids = counts, (None, None)
    if hasattr(counts, "columns"):
        if {str(name).lower() for name in counts.columns} >= {"user", "song"}:
            raise InputError(
                f"a data frame with the columns {', '.join(map(str, counts.columns))} holds triplets, not a "
                "matrix of users by songs: PlayCounts.from_triplets takes it"
            )
        matrix, ids = counts.to_numpy(), (getattr(counts, "index", None), counts.columns)
    if not issparse(matrix):
        matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise InputError(
            "plays must be PlayCounts, a Split, or a matrix of numbers (n_users, n_songs); got "
            f"{type(counts).__name__} of shape {matrix.shape} and dtype {matrix.dtype}"
        )
    users, songs = (
        ids_array(np.arange(n) if names is None else names, what)
        for n, names, what in zip(matrix.shape, ids, ("user_ids", "song_ids"), strict=True)
    )
    return PlayCounts(users, songs, csr_array(matrix))
