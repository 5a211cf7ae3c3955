"""Songs for users, and songs like a song: a trained model, or the factors alone, put to use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dcbmr.audio.decode import AudioError
from dcbmr.audio.files import find_songs
from dcbmr.base.directory import new_directory
from dcbmr.base.progress import Progress, silent
from dcbmr.base.spelling import close_names
from dcbmr.base.text import write_lines
from dcbmr.errors import InputError
from dcbmr.factorization.factors import Factors
from dcbmr.features.store import FeatureStore
from dcbmr.ranking.topk import SongIndex, TopSongs

if TYPE_CHECKING:
    from dcbmr.models.model import Model
    from dcbmr.models.stack import Stack

Ids = Sequence[str] | NDArray[np.object_]
Candidates = Literal["unplayed", "all", "new"]
Likeness = Literal["usage", "factors"]


@dataclass(frozen=True)
class Heard:
    """Songs that were predicted from audio files.

    Attributes
    ----------
    song_ids : list of str
        The files' names without the ending.
    song_factors : ndarray of shape (n_songs, width), float32
        Their predictions.
    failed : dict of str to str
        The files that could not be used, and why.
    """

    song_ids: list[str]
    song_factors: NDArray[np.float32]
    failed: dict[str, str]


def hear(model: Model | Stack, paths: Iterable[Path | str], *, progress: Progress | None = None) -> Heard:
    """Predict songs from audio files: each of ``paths`` a file, or a folder that is searched for audio.

    A file that cannot be used is passed over and named in the result; InputError when none can be used.
    """
    report = progress or silent
    files: dict[str, str] = {}
    failed: dict[str, str] = {}
    for path in paths:
        with find_songs(Path(path)) as found:
            failed |= {str(folder.path): folder.reason for folder in found.failed}
            for song, file in found:
                if files.setdefault(song, file) != file:
                    raise InputError(f"two files of the song {song!r}: {files[song]} and {file}; rename one")
    songs: list[str] = []
    factors: list[NDArray[np.float32]] = []
    for n_done, (song, file) in enumerate(files.items(), 1):
        try:
            factors.append(model.predict_files([file]))
            songs.append(song)
        except AudioError as error:
            failed[file] = error.reason
        report("predict", n_done, len(files), {})
    if not songs:
        reasons = "; ".join(f"{file}: {reason}" for file, reason in list(failed.items())[:3])
        raise InputError(f"none of the {len(files)} audio files can be used: {reasons}")
    return Heard(songs, np.concatenate(factors), failed)


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
    n_threads : int, optional
        Threads; every core by default.
    """

    def __init__(
        self,
        source: Factors | Model | Stack,
        song_ids: Sequence[str],
        song_factors: NDArray[np.float32],
        *,
        n_threads: int | None = None,
    ) -> None:
        self._source = source
        self.n_threads = n_threads
        self._factors: Factors = source if isinstance(source, Factors) else source.factors
        # A model with users of its own says how new ones come about.
        own = not isinstance(source, Factors) and source.own_user_factors is not None
        self._folding: Factors | Model | Stack = source if own else self._factors
        self.song_ids = list(song_ids)
        self.song_factors = np.ascontiguousarray(song_factors, np.float32)

    @classmethod
    def from_factors(cls, factors: Factors, *, n_threads: int | None = None) -> Self:
        """Return a recommender of the songs that have plays, without any audio."""
        return cls(factors, *_learned_songs(factors), n_threads=n_threads)

    @classmethod
    def from_model(
        cls,
        model: Model | Stack,
        *,
        features: FeatureStore | None = None,
        from_audio: bool = False,
        n_threads: int | None = None,
    ) -> Self:
        """Return a recommender of songs with plays and of songs that only their audio tells about.

        Parameters
        ----------
        model : Model or Stack
            Predicts the songs without plays.
        features : FeatureStore, optional
            Its songs become candidates.
        from_audio : bool
            Predict the songs with plays from their audio too, and leave out those without features. Models
            with users of their own (metric learning) always do, since their space has no learned songs.
        n_threads : int, optional
            Threads; every core by default.
        """
        ids: list[str] = []
        song_factors = np.zeros((0, model.user_factors.shape[1]), np.float32)
        if not from_audio and model.own_user_factors is None:
            ids, song_factors = _learned_songs(model.factors)
        known = cls(model, ids, song_factors, n_threads=n_threads)
        if features is None:
            return known
        have = set(ids)
        new = [song for song in features.song_ids if song not in have]
        return known.with_songs(new, model.predict_store(features, new)) if new else known

    def with_songs(self, song_ids: Sequence[str], song_factors: NDArray[np.float32]) -> Self:
        """Return a recommender with more songs; one that is there already takes its new factors."""
        new = set(song_ids)
        kept = [row for row, song in enumerate(self.song_ids) if song not in new]
        return type(self)(
            self._source,
            [*(self.song_ids[row] for row in kept), *song_ids],
            np.concatenate([self.song_factors[kept], song_factors]),
            n_threads=self.n_threads,
        )

    @property
    def user_ids(self) -> Ids:
        """The users that have an id."""
        return self._factors.user_ids

    @property
    def user_factors(self) -> NDArray[np.float32]:
        """Their factors, (n_users, width)."""
        return self._source.user_factors

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
        rows = np.flatnonzero(self._factors.has_plays)
        played = {self._factors.song_ids[row] for row in rows}
        return np.array([song not in played for song in self.song_ids], bool)

    def recommend(
        self, user_ids: Sequence[str], k: int = 10, candidates: Candidates = "unplayed"
    ) -> TopSongs:
        """Return the ``k`` songs with the highest scores for each user.

        Parameters
        ----------
        user_ids : sequence of str
            Users of the training plays. One without any training plays gets no songs.
        k : int
            Songs for each.
        candidates : {"unplayed", "all", "new"}
            Songs that the user has not played, every song, or songs that nobody has played.
        """
        rows = np.array([look_up(user, self.row_of_user, "user") for user in user_ids], np.int64)
        return self._best(self.user_factors[rows], self._factors.counts[rows], k, candidates)

    def recommend_for(
        self, plays: Mapping[str, float] | Collection[str], k: int = 10, candidates: Candidates = "unplayed"
    ) -> TopSongs:
        """Return songs for a user who is known by the songs played, folded into the model.

        Parameters
        ----------
        plays : mapping of song id to count, or collection of song ids
            Songs with training plays; a count of 1 where none is said.
        k, candidates
            As for :meth:`recommend`.
        """
        counts = dict(plays) if isinstance(plays, Mapping) else dict.fromkeys(plays, 1.0)
        if not counts:
            raise InputError("a user must be known by at least one song played")
        for song in counts:
            if song in self.row_of_song and song not in self.playable:
                raise InputError(f"song {song!r} has no training plays: nobody can be known by it")
            look_up(song, self.playable, "song with plays")
        values = np.array(list(counts.values()), np.float32)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise InputError(f"counts must be positive numbers; got {counts}")
        factors = self._folding.fold_in_users(_one_row(counts, values, self._folding.song_ids))
        played = _one_row(counts, values, self._factors.song_ids)
        return self._best(factors, played, k, candidates)

    def similar(self, songs: Sequence[str], k: int = 10, by: Likeness = "usage") -> TopSongs:
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
        """
        rows = np.array([look_up(song, self.row_of_song, "song") for song in songs], np.int64)
        vectors = self._usage_vectors if by == "usage" else self._unit_factors
        for song, row in zip(songs, rows, strict=True):
            if not vectors[row].any():
                raise InputError(f"song {song!r} has all-zero factors: there is nothing to compare")
        itself = csr_array(
            (np.ones(len(rows), np.float32), (np.arange(len(rows)), rows)),
            shape=(len(rows), len(self.song_ids)),
        )
        pool = self._pool(by, vectors, lambda: np.asarray(vectors.any(axis=1)))
        return self._top_of(pool, vectors[rows], k, itself)

    @cached_property
    def _unit_factors(self) -> NDArray[np.float32]:
        return _unit(self.song_factors)

    @cached_property
    def _usage_vectors(self) -> NDArray[np.float32]:
        gramian = np.zeros((self.user_factors.shape[1],) * 2)
        for start in range(0, len(self.user_factors), 65536):
            block = np.asarray(self.user_factors[start : start + 65536])
            gramian += block.T @ block
        # Any root of the gramian has the same cosines; this one exists for a singular gramian too.
        values, vectors = np.linalg.eigh(gramian)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).astype(np.float32)
        return _unit(self.song_factors @ root)

    @cached_property
    def _row_of_column(self) -> NDArray[np.int64]:
        """The row among the songs of each column of the training plays; -1 where it is none of them."""
        return np.array([self.row_of_song.get(song, -1) for song in self._factors.song_ids], np.int64)

    def _best(self, users: NDArray[np.float32], plays: csr_array, k: int, candidates: Candidates) -> TopSongs:
        if candidates == "new":
            pool = self._pool("new", self.song_factors, lambda: self.is_new)
        else:
            pool = self._pool("all", self.song_factors, lambda: np.ones(len(self.song_ids), bool))
        played = None
        if candidates == "unplayed":
            user, column = plays.tocoo().coords
            row = self._row_of_column[column]
            there = row >= 0
            played = csr_array(
                (np.ones(int(there.sum()), np.float32), (user[there], row[there])),
                shape=(len(users), len(self.song_ids)),
            )
        top = self._top_of(pool, users, k, played)
        # To a user without plays no song is better than another.
        nobody = (np.diff(plays.indptr) == 0) | ~users.any(axis=1)
        top.songs[nobody], top.scores[nobody] = -1, np.nan
        return top

    def _pool(
        self, name: str, vectors: NDArray[np.float32], allowed: Callable[[], NDArray[np.bool_]]
    ) -> _Pool:
        """Return the songs to choose from, made ready once for many queries."""
        if name not in self._pools:
            rows = np.flatnonzero(allowed())
            if not len(rows):
                raise InputError(
                    "there is no song to choose from: give a feature store or audio files with songs that "
                    "nobody has played, or other candidates"
                )
            chosen = vectors if len(rows) == len(vectors) else vectors[rows]
            self._pools[name] = _Pool(rows, SongIndex(chosen))
        return self._pools[name]

    @cached_property
    def _pools(self) -> dict[str, _Pool]:
        return {}

    def _top_of(
        self, pool: _Pool, queries: NDArray[np.float32], k: int, excluded: csr_array | None
    ) -> TopSongs:
        if excluded is not None and len(pool.rows) < len(self.song_ids):
            excluded = excluded[:, pool.rows]
        top = pool.index.top(queries, k=k, excluded=excluded, n_threads=self.n_threads)
        np.copyto(top.songs, pool.rows[top.songs], where=top.songs >= 0)
        return top


@dataclass(frozen=True)
class _Pool:
    """Songs to choose from, and their rows."""

    rows: NDArray[np.int64]
    index: SongIndex


def _learned_songs(factors: Factors) -> tuple[list[str], NDArray[np.float32]]:
    """Return the songs that have plays, and their factors."""
    rows = np.flatnonzero(factors.has_plays)
    return [factors.song_ids[row] for row in rows], factors.song_factors[rows]


def look_up(name: str, rows: Mapping[str, int], what: str) -> int:
    """Return the row of an id, or raise InputError with the ids that are spelt most like it."""
    if name in rows:
        return rows[name]
    close = close_names(name, rows)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else _example(rows)
    raise InputError(f"unknown {what} {name!r} (there are {len(rows)}){hint}")


def _example(ids: Iterable[str]) -> str:
    return "".join(f"; an id looks like {name!r}" for name in islice(ids, 1))


def _one_row(songs: Collection[str], values: NDArray[np.float32], columns: Ids) -> csr_array:
    """Return ``values`` of ``songs`` as a sparse row with a column for each of ``columns``."""
    place = {song: column for column, song in enumerate(columns)}
    at = np.array([place[song] for song in songs], np.int64)
    return csr_array((values, (np.zeros_like(at), at)), shape=(1, len(columns)))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length one; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(vectors, length, where=length > 0, out=np.zeros_like(vectors))
    return unit


def save_songs(
    directory: Path,
    song_ids: Sequence[str],
    song_factors: NDArray[np.float32],
    *,
    config: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write predicted songs as a directory: ``songs.txt``, one id a line, and ``song_factors.npy``."""
    with new_directory(directory, kind="songs", config=config, overwrite=overwrite) as beside:
        write_lines(beside / "songs.txt", song_ids)
        np.save(beside / "song_factors.npy", song_factors, allow_pickle=False)
