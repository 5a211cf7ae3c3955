"""Songs for users, and songs like a song: a trained model, or the factors alone, put to use."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.base.arrays import in_columns, places, unit_rows
from dcbmr.base.progress import Progress
from dcbmr.base.spelling import look_up
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.plays.counts import PlayCounts
from dcbmr.ranking.topk import TopSongs
from dcbmr.recommendation.choice import Choice
from dcbmr.recommendation.listeners import Listeners, plays_of_somebody, warn_of_heldout
from dcbmr.recommendation.per_artist import PerArtist
from dcbmr.recommendation.pool import Pool
from dcbmr.recommendation.usage import usage_vectors

if TYPE_CHECKING:
    from dcbmr.engine.on_ray import RayEngine
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack
    from dcbmr.recommendation.predicted import Predicted

Ids = Sequence[str] | NDArray[np.object_]
Candidates = Literal["unplayed", "all", "new"]
Likeness = Literal["usage", "factors"]
Value = TypeVar("Value")


class Recommender:
    """Users and songs in one space, where the inner product of a user and a song is the score.

    A song with plays stands where its listeners put it (its learned factors), a song without plays where
    its audio puts it (the model's prediction). :meth:`from_factors` and :meth:`from_model` make one.

    Parameters
    ----------
    source : Factors, Model or Stack
        Gives the users, their plays, and the fold-in of new users.
    song_ids : sequence of str
        The songs.
    song_factors : ndarray of shape (n_songs, width), float32
        One row for each of ``song_ids``.
    is_predicted : ndarray of shape (n_songs,), bool, optional
        Which of them a model placed, and not their listeners; none by default.
    plays : PlayCounts, optional
        Every play as of now, where the ones behind the factors are older or only a part. A user with any
        of these plays is folded in from them, and they take the place of the plays behind the factors; a
        user without keeps factors and plays. Users that only these plays know can be asked for, and songs
        that anybody played in them are not new.
    n_threads : int, optional
        Threads; every core by default.
    """

    def __init__(
        self,
        source: Factors | Model | Stack,
        song_ids: Sequence[str],
        song_factors: NDArray[np.float32],
        *,
        is_predicted: NDArray[np.bool_] | None = None,
        plays: PlayCounts | None = None,
        n_threads: int | None = None,
    ) -> None:
        self._source = source
        self._plays = plays
        self.n_threads = n_threads
        self._factors: Factors = source if isinstance(source, Factors) else source.factors
        # A model with users of its own says how new ones come about.
        own = not isinstance(source, Factors) and source.own_user_factors is not None
        self._folding: Factors | Model | Stack = source if own else self._factors
        self.song_ids = list(song_ids)
        self.song_factors = np.ascontiguousarray(song_factors, np.float32)
        self.is_predicted = np.zeros(len(self.song_ids), bool) if is_predicted is None else is_predicted
        self._told = plays is not None
        self._per_artist: PerArtist | None = None

    @classmethod
    def from_factors(
        cls, factors: Factors, *, plays: PlayCounts | None = None, n_threads: int | None = None
    ) -> Self:
        """Return a recommender of the songs that have plays, without any audio."""
        return cls(factors, *_learned_songs(factors), plays=plays, n_threads=n_threads)

    @classmethod
    def from_model(
        cls,
        model: Model | Stack,
        *,
        features: FeatureStore | None = None,
        predicted: Predicted | None = None,
        plays: PlayCounts | None = None,
        from_audio: bool = False,
        n_threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Return a recommender of songs with plays and of songs that only their audio tells about.

        Parameters
        ----------
        model : Model or Stack
            Predicts the songs without plays.
        features : FeatureStore, optional
            Its songs become candidates.
        predicted : Predicted, optional
            Songs that this model predicted before, which become candidates without being predicted again,
            unless ``features`` has others of them by now.
        plays : PlayCounts, optional
            Every play as of now; see :class:`Recommender`.
        from_audio : bool
            Predict the songs with plays from their audio too, and leave out those without features. Models
            with users of their own (metric learning) always do, since their space has no learned songs.
        n_threads : int, optional
            Threads; every core by default.
        progress : Progress, optional
            Told as songs are predicted; see :meth:`dcbmr.Model.predict_store`.
        """
        ids: list[str] = []
        song_factors = np.zeros((0, model.user_factors.shape[1]), np.float32)
        if not from_audio and model.own_user_factors is None:
            ids, song_factors = _learned_songs(model.factors)
        known = cls(model, ids, song_factors, plays=plays, n_threads=n_threads)
        if predicted is not None:
            if features is not None:
                predicted = predicted.unchanged(model, features)
            more = np.flatnonzero([song not in known.row_of_song for song in predicted.song_ids])
            known = known.with_songs([predicted.song_ids[i] for i in more], predicted.song_factors[more])
        if features is None:
            return known
        model.check_store(features)
        have = set(known.song_ids)
        new = [song for song in model.songs_in(features) if song not in have]
        return known.with_songs(new, model.predict_store(features, new, progress=progress)) if new else known

    def with_songs(self, song_ids: Sequence[str], song_factors: NDArray[np.float32]) -> Self:
        """Return a recommender with more songs; one that is there already takes its new factors."""
        kept = self.limited_to(without=song_ids)
        return self._of(
            [*kept.song_ids, *song_ids],
            np.concatenate([kept.song_factors, song_factors]),
            np.concatenate([kept.is_predicted, np.ones(len(song_ids), bool)]),
        )

    def limited_to(
        self,
        only: Collection[str] | None = None,
        *,
        without: Collection[str] = (),
        per_artist: PerArtist | None = None,
    ) -> Self:
        """Return one of ``only`` these songs, all if None, ``without`` those, its lists ``per_artist``."""
        allowed, barred = set(self.song_ids if only is None else only), set(without)
        rows = [row for row, song in enumerate(self.song_ids) if song in allowed and song not in barred]
        ids = [self.song_ids[row] for row in rows]
        made = self._of(ids, self.song_factors[rows], self.is_predicted[rows])
        made._per_artist = per_artist or self._per_artist
        return made

    def _of(
        self, song_ids: list[str], song_factors: NDArray[np.float32], is_predicted: NDArray[np.bool_]
    ) -> Self:
        """Return a recommender of the same users."""
        made = type(self)(self._source, song_ids, song_factors, is_predicted=is_predicted, plays=self._plays)
        made.n_threads, made._per_artist = self.n_threads, self._per_artist
        return made

    def __repr__(self) -> str:
        n_songs, width = self.song_factors.shape
        return f"Recommender(n_users={len(self.user_ids)}, n_songs={n_songs}, width={width})"

    @property
    def user_ids(self) -> Ids:
        """The users that can be asked for, (n_users,)."""
        return self._listeners.user_ids

    @cached_property
    def _listeners(self) -> Listeners:
        return Listeners.of(self._factors, self._plays)

    @cached_property
    def row_of_song(self) -> dict[str, int]:
        """Row of each song id."""
        return {song: row for row, song in enumerate(self.song_ids)}

    @cached_property
    def row_of_user(self) -> dict[str, int]:
        """Row of each user id."""
        return {user: row for row, user in enumerate(self.user_ids)}

    @cached_property
    def playable(self) -> dict[str, int]:
        """The songs that a new user can be known by, and the column of each in the plays of fold-in."""
        return {song: column for column, song in enumerate(self._folding.song_ids)}

    @cached_property
    def is_new(self) -> NDArray[np.bool_]:
        """Which of the songs nobody has played yet, (n_songs,)."""
        new = np.ones(len(self.song_ids), bool)
        played = self._row_of_column[self._listeners.has_plays]
        new[played[played >= 0]] = False
        return new

    @property
    def n_listeners(self) -> NDArray[np.int64]:
        """How many users have played each of the songs, (n_songs,)."""
        n = np.append(np.bincount(self._listeners.counts.indices, minlength=len(self._listeners.song_ids)), 0)
        return np.asarray(n[places(self.song_ids, {s: i for i, s in enumerate(self._listeners.song_ids)})])

    def recommend(self, user_ids: Ids, *, k: int = 10, candidates: Candidates = "unplayed") -> TopSongs:
        """Return the ``k`` songs with the highest scores for each user.

        Warns, once, where songs that a split held out are among the candidates: who played them is not
        known then.

        Parameters
        ----------
        user_ids : sequence of str
            Users of the training plays, or of the newer ones. One without any plays gets no songs.
        k : int
            Songs for each.
        candidates : {"unplayed", "all", "new"}
            Songs that the user has not played, every song, or songs that nobody has played.

        Returns
        -------
        TopSongs
            ``[0]`` is the list of ids and scores for the first user.
        """
        self._tell_of_heldout(candidates)
        users, excluded = self._query(user_ids, candidates)
        return self._choice(candidates).best(users, excluded, k=k, n_threads=self.n_threads)

    def _query(self, user_ids: Ids, candidates: Candidates) -> tuple[NDArray[np.float32], csr_array | None]:
        """Return the vectors of users, and the songs that they are not to get."""
        users, plays = self._users(user_ids)
        if candidates == "all":
            return users, None
        return users, in_columns(plays, self._row_of_column, len(self.song_ids))

    def vectors_of(self, user_ids: Ids) -> NDArray[np.float32]:
        """Return users as they are ranked for, (n, width) float32: learned, or folded in from newer plays.

        Zeros for a user without any plays, and for a new one who played only songs that are unknown here.
        """
        return self._users(user_ids)[0]

    def _users(self, user_ids: Ids) -> tuple[NDArray[np.float32], csr_array]:
        """Return the vectors of users, and their plays in the columns of the listeners."""
        if isinstance(user_ids, str):
            raise InputError(f"user_ids must be a sequence of ids, as [{user_ids!r}]")
        rows = np.array([look_up(user, self.row_of_user, "user") for user in user_ids], np.int64)
        plays = self._listeners.counts[rows]
        users = self._vectors(rows, plays)
        # A model with users of its own has some for who played nothing, too.
        users[np.diff(plays.indptr) == 0] = 0
        return users, plays

    def recommend_for(
        self,
        plays: Mapping[str, float] | Collection[str],
        *,
        k: int = 10,
        candidates: Candidates = "unplayed",
    ) -> TopSongs:
        """Return songs for a user who is known by the songs played, folded into the model.

        Parameters
        ----------
        plays : mapping of song id to count, or collection of song ids
            Songs with training plays; a count of 1 where none is said.
        k, candidates
            As for :meth:`recommend`.
        """
        self._tell_of_heldout(candidates)
        folded = self.as_plays(plays)
        row = places(self.playable, self.row_of_song)
        played = in_columns(folded, row, len(self.song_ids))
        users = self._folding.fold_in_users(folded, n_threads=self.n_threads)
        excluded = None if candidates == "all" else played
        return self._choice(candidates).best(users, excluded, k=k, n_threads=self.n_threads)

    def as_plays(self, plays: Mapping[str, float] | Collection[str]) -> csr_array:
        """Return the songs that somebody played as a row in the columns of :attr:`playable`."""
        return plays_of_somebody(plays, self.playable, self.row_of_song)

    def plays_of(self, user_ids: Ids) -> csr_array:
        """Return the plays of users as of now, of the songs here, (n, n_songs) float32."""
        return in_columns(self._users(user_ids)[1], self._row_of_column, len(self.song_ids))

    def fold_in_plays(self, user_ids: Ids) -> csr_array:
        """Return the plays that users are known by as of now, in the columns of :attr:`playable`."""
        return in_columns(self._users(user_ids)[1], self._playable_column, len(self.playable))

    @property
    def factors(self) -> Factors:
        """What factorize learned."""
        return self._factors

    def _tell_of_heldout(self, candidates: Candidates) -> None:
        """Warn, once, of candidates that seem unplayed because a split kept their plays from the factors."""
        if self._told or candidates == "all":
            return
        self._told = True
        heldout = set(self._factors.heldout_songs)
        n_heldout = sum(song in heldout for song in self.song_ids)
        if n_heldout:
            n_candidates = self.is_new.sum() if candidates == "new" else len(self.song_ids)
            warn_of_heldout(n_heldout, int(n_candidates))

    def _vectors(self, rows: NDArray[np.int64], plays: csr_array) -> NDArray[np.float32]:
        """Return users as they are now, (n, width): learned, or folded in where they have newer ``plays``."""
        learned = self._source.user_factors
        users = np.zeros((len(rows), learned.shape[1]), np.float32)
        is_learned = rows < len(learned)
        users[is_learned] = learned[rows[is_learned]]
        newer = np.flatnonzero(self._listeners.is_newer[rows])
        if len(newer):
            columns = in_columns(plays[newer], self._playable_column, len(self.playable))
            folded = self._folding.fold_in_users(columns, n_threads=self.n_threads)
            # Who now plays only songs that the factors do not know stays where the learned ones are.
            known = np.diff(columns.indptr) > 0
            users[newer[known]] = folded[known]
        return users

    def similar(
        self, songs: Sequence[str], *, k: int = 10, by: Likeness = "usage", progress: Progress | None = None
    ) -> TopSongs:
        """Return the songs most like each song, itself left out; the scores are cosines.

        Parameters
        ----------
        songs : sequence of str
            Song ids.
        k : int
            Songs for each.
        by : {"usage", "factors"}
            Compare the predicted usage patterns (a song's scores for all users, ``X @ y``), or the bare
            factors ``y``. The former is the plain cosine of ``L.T @ y`` where ``X.T @ X = L @ L.T``.
        progress : Progress, optional
            Told of each block of songs; it may raise to stop.
        """
        rows = np.array([look_up(song, self.row_of_song, "song") for song in songs], np.int64)
        if by not in get_args(Likeness):
            raise InputError(f"by must be one of {', '.join(get_args(Likeness))}; got {by!r}")
        vectors = self.usage_vectors if by == "usage" else self._unit_factors
        for song, row in zip(songs, rows, strict=True):
            if not vectors[row].any():
                raise InputError(f"song {song!r} has all-zero factors: there is nothing to compare")
        itself = csr_array(
            (np.ones(len(rows), np.float32), (np.arange(len(rows)), rows)),
            shape=(len(rows), len(self.song_ids)),
        )
        pool = self._pool(by, vectors, lambda: np.asarray(vectors.any(axis=1)))
        return pool.top(vectors[rows], k=k, excluded=itself, n_threads=self.n_threads, progress=progress)

    @cached_property
    def _unit_factors(self) -> NDArray[np.float32]:
        return unit_rows(self.song_factors)

    @cached_property
    def usage_vectors(self) -> NDArray[np.float32]:
        """What :func:`dcbmr.recommendation.usage.usage_vectors` makes of the songs, (n_songs, width)."""
        return usage_vectors(self._source.user_factors, self.song_factors)

    @cached_property
    def _row_of_column(self) -> NDArray[np.int64]:
        """The row among the songs of each column of the listeners' plays; -1 where it is none of them."""
        return places(self._listeners.song_ids, self.row_of_song)

    @cached_property
    def _artist_of(self) -> NDArray[np.int64]:
        assert self._per_artist is not None
        return self._per_artist.numbers(self.song_ids)

    @cached_property
    def _playable_column(self) -> NDArray[np.int64]:
        """The column in the plays of fold-in of each column of the listeners' plays, or -1."""
        return places(self._listeners.song_ids, self.playable)

    def _choice(self, candidates: Candidates) -> Choice:
        """Return what there is to choose from, made ready once for many queries."""
        if candidates not in get_args(Candidates):
            raise InputError(
                f"candidates must be one of {', '.join(get_args(Candidates))}; got {candidates!r}"
            )
        if candidates == "new":
            pool = self._pool("new", self.song_factors, lambda: self.is_new)
        else:
            pool = self._pool("all", self.song_factors, lambda: np.ones(len(self.song_ids), bool))
        return Choice(pool) if self._per_artist is None else Choice(pool, self._per_artist.n, self._artist_of)

    def _pool(
        self, name: str, vectors: NDArray[np.float32], allowed: Callable[[], NDArray[np.bool_]]
    ) -> Pool:
        """Return the songs to choose from, made ready once for many queries."""
        if name not in self._pools:
            self._pools[name] = Pool(self.song_ids, vectors, allowed())
        return self._pools[name]

    @cached_property
    def _pools(self) -> dict[str, Pool]:
        return {}


def rank_blocks(
    recommender: Recommender,
    work: Callable[..., Value],
    blocks: Iterable[tuple[Any, ...]],
    *,
    candidates: Candidates,
    engine: RayEngine | None,
) -> Iterator[Value]:
    """Yield ``work(task, (choice, songs, n_threads))`` of each block of users, here or from workers.

    A block begins with the ids of its users. Its task is the users' vectors and the songs that they are not
    to get, and then what there is of the block. ``songs`` are the ids as an array of Arrow.
    """
    import pyarrow as pa

    recommender._tell_of_heldout(candidates)
    choice = recommender._choice(candidates), pa.array(recommender.song_ids, pa.string())
    tasks = ((*recommender._query(block[0], candidates), *block) for block in blocks)
    if engine is None:
        yield from (work(task, (*choice, recommender.n_threads)) for task in tasks)
    else:
        yield from engine.map(work, tasks, engine.share((*choice, None)), what="users")


def digest_of(recommender: Recommender) -> int:
    """Return what tells recommenders apart by their lists: a CRC-32 of users, songs and plays."""
    n_per_artist = recommender._per_artist and recommender._per_artist.n
    crc = zlib.crc32("\n".join([str(n_per_artist), *recommender.song_ids]).encode())
    crc = zlib.crc32("\n".join(recommender.user_ids).encode(), crc)
    counts = recommender._listeners.counts
    arrays: list[NDArray[Any]] = [recommender.song_factors, recommender._source.user_factors]
    arrays += [counts.indptr, counts.indices, counts.data]
    arrays += [recommender._artist_of] if n_per_artist else []
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc


def _learned_songs(factors: Factors) -> tuple[list[str], NDArray[np.float32]]:
    """Return the songs that have plays, and their factors."""
    rows = np.flatnonzero(factors.has_plays)
    return [factors.song_ids[row] for row in rows], factors.song_factors[rows]
