"""Play counts: triplets of user, song and count in, ids and a sparse matrix out; confidence; splits.

A play-count file is read as a stream of blocks, ids become numbers block by block, and the matrix is built
from those numbers: 48 million lines need no more memory than their numbers and their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.sparse import csr_array

from dcbmr.directory import new_directory, read_config
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("user", "song", "count")


@dataclass(frozen=True)
class PlayCounts:
    """Who played what how often.

    Attributes
    ----------
    user_ids : ndarray of shape (n_users,), object
        Ids of the rows, as str.
    song_ids : ndarray of shape (n_songs,), object
        Ids of the columns, as str.
    counts : csr_array of shape (n_users, n_songs), float32
        Plays; every stored value is positive and finite, and indices are sorted.
    """

    user_ids: NDArray[np.object_]
    song_ids: NDArray[np.object_]
    counts: csr_array

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_ids", ids_array(self.user_ids, "user_ids"))
        object.__setattr__(self, "song_ids", ids_array(self.song_ids, "song_ids"))
        object.__setattr__(self, "counts", checked_counts(self.counts))
        shape = (len(self.user_ids), len(self.song_ids))
        if self.counts.shape != shape:
            raise InputError(f"counts has shape {self.counts.shape}, but there are {shape} user and song ids")

    @classmethod
    def read(cls, path: str | Path, columns: str | Sequence[str | int] | None = None) -> Self:
        """Read triplets from TSV or CSV (plain, ``.gz``, ``.zst``, ``.bz2``) or from Parquet.

        Parameters
        ----------
        path : path
            The file. Fields are separated by tabs, commas or semicolons; a first line whose count is no
            number is a header. Ids are strings. Counts of one user and song are summed; counts of zero
            are no plays.
        columns : sequence of three, or a comma-separated str, optional
            The columns of user, song and count: names of a header, or numbers from 1. Without it, columns
            named user, song and count where there are such, and else the first three.

        Raises
        ------
        InputError
            For a file that holds no such triplets; names the file, and the line of a wrong count.
        """
        from dcbmr._triplets import read_triplets

        users, songs, counts = read_triplets(Path(path), columns)
        return cls(ids_array(users, "user_ids"), ids_array(songs, "song_ids"), counts)

    def write_parquet(self, path: str | Path) -> None:
        """Write the triplets as columns user, song and count; rows and columns without plays are left out."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        matrix = self.counts.tocoo()

        def ids(names: NDArray[np.object_], codes: NDArray[Any]) -> Any:
            numbers: Any = pa.array(codes.astype(np.int32))
            return pa.DictionaryArray.from_arrays(numbers, pa.array(names.tolist(), type=pa.string()))

        columns = [ids(self.user_ids, matrix.row), ids(self.song_ids, matrix.col), pa.array(matrix.data)]
        pq.write_table(pa.table(dict(zip(COLUMNS, columns, strict=True))), path, compression="zstd")

    def keep_songs(self, keep: NDArray[np.bool_]) -> PlayCounts:
        """Return the plays of the songs of a mask (n_songs,), without users who then have none."""
        counts = self.counts[:, np.flatnonzero(keep)]
        played = np.diff(counts.indptr) > 0
        return PlayCounts(self.user_ids[played], self.song_ids[keep], counts[np.flatnonzero(played)])


def ids_array(ids: Sequence[str] | NDArray[Any], name: str) -> NDArray[np.object_]:
    """Return ids as an object array of distinct str."""
    array = np.empty(len(ids), dtype=object)
    array[:] = [str(i) for i in ids]
    if len(set(array)) != len(array):
        raise InputError(f"{name} holds an id twice")
    return array


def checked_counts(counts: Any) -> csr_array:
    """Return counts as canonical float32 CSR without stored zeros, after checking the values."""
    matrix = csr_array(counts)
    for what, wrong in (
        ("NaN or infinite", ~np.isfinite(matrix.data)),
        ("negative", matrix.data < 0),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
            raise InputError(
                f"counts[{row}, {matrix.indices[at]}] is {matrix.data[at]}: {what} counts are not plays"
            )
    if matrix.dtype != np.float32 or not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.astype(np.float32)  # a copy: the caller's matrix is left alone
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        if not np.isfinite(matrix.data).all():
            raise InputError("counts, summed over duplicates, exceed what float32 holds (3.4e38)")
    return matrix


def check_confidence(alpha: float, epsilon: float) -> None:
    """Raise InputError unless both parameters of the confidence are finite and of the right sign."""
    if not (np.isfinite(alpha) and alpha > 0):
        raise InputError(f"alpha must be a positive number; got {alpha}")
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise InputError(f"epsilon must be a positive number; got {epsilon}")


def surplus(counts: csr_array, alpha: float = 2.0, epsilon: float = 1e-6) -> csr_array:
    """Return what the confidence exceeds one by: s = c - 1 = alpha * log(1 + counts / epsilon).

    Hu, Koren and Volinsky (2008), eq. 6, as used by van den Oord et al. (2013), eq. 2. It is as sparse as
    the counts and shares their indices.

    Parameters
    ----------
    counts : csr_array, float32
        Plays.
    alpha, epsilon : float
        Rate and scale of the confidence.

    Returns
    -------
    csr_array
        Of the shape of ``counts``, float32.
    """
    check_confidence(alpha, epsilon)
    # In float64: 1 + 1e6 would lose the count's digits in float32.
    values = np.log1p(counts.data / np.float64(epsilon))
    values *= alpha
    return csr_array((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def confidence_quantiles(
    counts: csr_array, alpha: float, epsilon: float, at: Sequence[float] = (0, 0.25, 0.5, 0.75, 0.95, 1)
) -> dict[float, tuple[float, float]]:
    """Return, for quantiles of the plays, how many plays that is and the confidence they get."""
    plays = np.quantile(counts.data, at)
    return {q: (float(r), float(1 + alpha * np.log1p(r / epsilon))) for q, r in zip(at, plays, strict=True)}


@dataclass(frozen=True)
class SongTable:
    """What is known of songs: song_ids, and of each its artist and title ("" where unknown)."""

    song_ids: list[str]
    artists: list[str]
    titles: list[str]

    def artist_of(self) -> dict[str, str]:
        """Return the artist of every song that has one."""
        pairs = zip(self.song_ids, self.artists, strict=True)
        return {song: artist for song, artist in pairs if artist}


def read_songs(path: str | Path) -> SongTable:
    """Read a table of songs: tab-separated song, artist and, optionally, title.

    A first line that names the columns (song, artist, title, in any order) is a header.

    Raises
    ------
    InputError
        For a line with too few columns or a song named twice; names the line.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    first = [name.strip().lower() for name in lines[0].split("\t")]
    has_header = "song" in first and "artist" in first
    order = [first.index(name) if name in first else -1 for name in ("song", "artist", "title")]
    song_at, artist_at, title_at = order if has_header else (0, 1, 2)
    table = SongTable([], [], [])
    seen: set[str] = set()
    for number, line in enumerate(lines[has_header:], start=1 + has_header):
        fields = line.rstrip("\r").split("\t")
        if fields == [""]:
            continue
        if len(fields) <= max(song_at, artist_at):
            raise InputError(
                f"{path}, line {number}: wanted song, artist and title between tabs; got {line!r}"
            )
        if fields[song_at] in seen:
            raise InputError(f"{path}, line {number}: song {fields[song_at]!r} is there twice")
        seen.add(fields[song_at])
        table.song_ids.append(fields[song_at])
        table.artists.append(fields[artist_at])
        table.titles.append(fields[title_at] if 0 <= title_at < len(fields) else "")
    if not table.song_ids and not has_header:
        raise InputError(f"{path} is empty; wanted lines of song, artist and title, between tabs")
    return table


@dataclass(frozen=True)
class Split:
    """Plays to learn from, plays to test on, and the songs that only the second hold.

    Attributes
    ----------
    train, heldout : PlayCounts
        Plays of the training songs and of the held-out songs.
    heldout_songs : list of str
        Every held-out song, played or not.
    artists : dict of str to str, or None
        The artist of each song, where artists are known.
    """

    train: PlayCounts
    heldout: PlayCounts
    heldout_songs: list[str]
    artists: dict[str, str] | None = None

    def save(self, directory: str | Path, *, overwrite: bool = False, **config: Any) -> None:
        """Write the split as a directory; ``config`` is kept with it."""
        with new_directory(Path(directory), kind="split", config=config, overwrite=overwrite) as folder:
            self.train.write_parquet(folder / "train.parquet")
            self.heldout.write_parquet(folder / "heldout.parquet")
            write_lines(folder / "heldout_songs.txt", self.heldout_songs)
            if self.artists is not None:
                rows = (f"{song}\t{artist}\t" for song, artist in self.artists.items())
                write_lines(folder / "songs.tsv", ["song\tartist\ttitle", *rows])

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        directory = Path(directory)
        read_config(directory, kind="split")
        songs = directory / "songs.tsv"
        return cls(
            PlayCounts.read(directory / "train.parquet"),
            PlayCounts.read(directory / "heldout.parquet"),
            list(read_lines(directory / "heldout_songs.txt")),
            read_songs(songs).artist_of() if songs.is_file() else None,
        )


def split_plays(
    plays: PlayCounts,
    by: Literal["song", "artist"] = "song",
    artists: Mapping[str, str] | None = None,
    fraction: float = 0.2,
    random_state: int = 0,
) -> Split:
    """Hold out songs that nobody is then known to have played.

    Parameters
    ----------
    plays : PlayCounts
        All plays.
    by : {"song", "artist"}
        Hold out songs one by one, or all songs of an artist together: an artist's songs on both sides
        flatter every model that hears the artist.
    artists : mapping of song to artist, optional
        Needed for "artist"; a song that it lacks is an artist of its own.
    fraction : float
        Share of the songs to hold out; of an artist's songs all or none, so met to within one artist.
    random_state : int
        Seed of the choice.
    """
    if not 0 < fraction < 1:
        raise InputError(f"fraction must lie between 0 and 1; got {fraction}")
    if by not in ("song", "artist"):
        raise InputError(f"by must be 'song' or 'artist'; got {by!r}")
    if by == "artist" and not artists:
        raise InputError("a split by artist needs the artists of the songs: give --songs SONGS.tsv")
    known = dict(artists or {})
    if by == "artist" and known.keys().isdisjoint(plays.song_ids):
        raise InputError(
            f"a split by artist needs artists, and none of these {len(plays.song_ids)} songs has one: "
            f"plays have {list(plays.song_ids[:3])}, the table of songs {list(known)[:3]}"
        )
    groups = [("artist", known[song]) if by == "artist" and song in known else ("song", song)
              for song in plays.song_ids]  # fmt: skip
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group = np.array([names[g] for g in groups], dtype=np.int64)
    order = np.random.default_rng(random_state).permutation(len(names))
    sizes = np.bincount(group, minlength=len(names))[order]
    wanted = fraction * len(groups)
    n_chosen = int(np.argmin(np.abs(np.cumsum(sizes) - wanted))) + 1 if len(groups) else 0
    heldout = np.isin(group, order[:n_chosen])
    if not heldout.any() or heldout.all():
        raise InputError(
            f"{len(groups)} songs in {len(names)} groups cannot be split with a fraction of {fraction}: "
            "nothing would be left on one side"
        )
    if plays.counts.nnz == 0:
        raise InputError("there are no plays to split")
    songs = {song: known[song] for song in plays.song_ids if song in known} if artists else None
    return Split(plays.keep_songs(~heldout), plays.keep_songs(heldout), list(plays.song_ids[heldout]), songs)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write ids one a line; an id with a line break in it is refused."""
    lines = list(lines)
    for line in lines:
        if "\n" in line:
            raise InputError(f"the id {line!r} has a line break in it")
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


def read_lines(path: Path) -> Iterator[str]:
    """Read what :func:`write_lines` wrote."""
    with open(path, encoding="utf-8", newline="\n") as file:
        try:
            for line in file:
                yield line.removesuffix("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is no text in UTF-8: {error}") from error
