"""Users and songs as vectors for a vector database, whose nearest neighbours are a recommender's lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dcbmr.base.arrays import blocks
from dcbmr.base.directory import identity_of, new_directory
from dcbmr.base.progress import Progress, silent
from dcbmr.base.text import write_lines
from dcbmr.errors import InputError

if TYPE_CHECKING:
    from dcbmr.recommendation.recommender import Recommender

Metric = Literal["ip", "cosine", "l2"]
Format = Literal["parquet", "npy", "faiss"]
_BLOCK_USERS = 1 << 15


@dataclass(frozen=True)
class ExportReport:
    """What :func:`export_vectors` wrote.

    Attributes
    ----------
    n_users, n_songs : int
    n_predicted : int
        Songs that the model placed, and not their listeners.
    n_dims : int
        Dimensions of the vectors.
    left_out : tuple of str
        Users who have no neighbours, since nothing that they played is known to the model.
    """

    n_users: int
    n_songs: int
    n_predicted: int
    n_dims: int
    left_out: tuple[str, ...]


def export_vectors(
    recommender: Recommender,
    directory: Path | str,
    *,
    metric: Metric = "ip",
    format: Format = "parquet",
    model: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write users and songs as vectors for a vector database, as a directory that is whole or absent.

    The nearest songs of a user by ``metric`` are those of ``recommender.recommend(candidates="all")``, in
    their order. An index of inner products takes the factors as they are. For the other two, songs get one
    more dimension, after which they all have the length of the longest, M, and users get a zero there::

        song (y, sqrt(M^2 - |y|^2)) / M,    user (x, 0) / |x|

    so that all lie on the unit sphere, the cosine is ``x.y / (M |x|)``, the squared distance is two minus
    twice the cosine, and both sort the songs as the score ``x.y`` does. M is ``max_norm`` in ``config.json``:
    songs of a later export have another one, and are not to be mixed with these.

    Users and songs are held in memory, a second time for the export.

    Parameters
    ----------
    recommender : Recommender
        Its users, as known by now, and its songs: by plays where they have some, else by their features.
    directory : path
        To write. Parquet: ``users.parquet`` (user, vector) and ``songs.parquet`` (song, is_predicted,
        vector). NumPy: ``users.txt`` and ``songs.txt``, ids one a line, ``user_vectors.npy`` and
        ``song_vectors.npy``, (n, n_dims) float32, and ``song_is_predicted.npy``, bool. Faiss: the same, but
        ``songs.faiss`` in the place of the songs' vectors, an exact index whose number i is line i of
        ``songs.txt``, from 0.
    metric : {"ip", "cosine", "l2"}
        What the index compares by: inner product, cosine, or Euclidean distance.
    format : {"parquet", "npy", "faiss"}
        The last needs faiss (extra ``faiss``).
    model : path, optional
        The directory of the model or the factors behind the recommender; ``config.json`` keeps its path and
        a digest of it: vectors of a model that was trained again do not fit these.
    overwrite : bool
        Replace an earlier export.
    progress : Progress, optional
        Told of each block of users as they are placed ("users"); it may raise to stop.

    Returns
    -------
    ExportReport

    Raises
    ------
    InputError
        Another metric or format; nobody or nothing to export; the directory exists.

    References
    ----------
    Y. Bachrach, Y. Finkelstein, R. Gilad-Bachrach, L. Katzir, N. Koenigstein, N. Nice, U. Paquet: *Speeding
    up the Xbox recommender system using a Euclidean transformation for inner-product spaces*, RecSys 2014.
    """
    for name, value, known in (("metric", metric, Metric), ("format", format, Format)):
        if value not in get_args(known):
            raise InputError(f"{name} must be one of {', '.join(get_args(known))}; got {value!r}")
    if format == "faiss":
        require_faiss()
    ids = np.asarray(recommender.user_ids, object)
    songs = recommender.song_factors
    users = np.empty((len(ids), songs.shape[1]), np.float32)
    for rows in blocks(len(ids), _BLOCK_USERS):
        users[rows] = recommender.vectors_of(ids[rows])
        (progress or silent)("users", rows.stop, len(ids), {})
    is_known = users.any(axis=1)
    left_out = tuple(ids[~is_known])
    ids, users = ids[is_known], users[is_known]
    if not len(songs) or not len(users):
        raise InputError(
            f"there is nothing to export: {len(users)} users with plays, {len(songs)} songs; a model that "
            "places songs by their features only needs a feature store"
        )
    config: dict[str, Any] = {"metric": metric, "format": format}
    if metric != "ip":
        users, songs, config["max_norm"] = _on_the_sphere(users, songs)
    if model is not None:
        config |= identity_of(model)
    is_predicted = recommender.is_predicted
    report = ExportReport(len(users), len(songs), int(is_predicted.sum()), songs.shape[1], left_out)
    config |= {name: getattr(report, name) for name in ("n_users", "n_songs", "n_predicted", "n_dims")}
    vectors = _Vectors(list(ids), users, recommender.song_ids, songs, is_predicted)
    with new_directory(Path(directory), kind="vectors", config=config, overwrite=overwrite) as beside:
        if format == "parquet":
            _write_parquet(beside, vectors)
        else:
            _write_npy(beside, vectors, with_songs=format == "npy")
        if format == "faiss":
            _write_index(beside / "songs.faiss", songs, metric)
    return report


def require_faiss() -> None:
    """Raise InputError, with what to do, where faiss cannot be imported."""
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise InputError(f"format faiss needs faiss: pip install 'dcbmr[faiss]' ({error})") from None


def _write_index(file: Path, songs: NDArray[np.float32], metric: Metric) -> None:
    """Write an index that compares all songs. Of vectors of length one, cosines are inner products."""
    import faiss

    index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(songs.shape[1])
    index.add(np.ascontiguousarray(songs, np.float32))
    faiss.write_index(index, str(file))


def _on_the_sphere(
    users: NDArray[np.float32], songs: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return unit vectors of one dimension more, whose cosine sorts as the inner product did, and M."""
    squares = np.einsum("ij,ij->i", songs, songs, dtype=np.float64)
    longest = float(np.sqrt(squares.max()))
    if longest == 0:
        raise InputError("all songs have zeros for factors: there is nothing to compare")
    on_sphere = np.empty((len(songs), songs.shape[1] + 1), np.float32)
    np.divide(songs, longest, out=on_sphere[:, :-1])
    on_sphere[:, -1] = np.sqrt(np.maximum(0.0, 1.0 - squares / longest**2))
    lengths = np.sqrt(np.einsum("ij,ij->i", users, users, dtype=np.float64))
    asking = np.zeros((len(users), users.shape[1] + 1), np.float32)
    np.divide(users, lengths[:, None], out=asking[:, :-1], casting="same_kind")
    return asking, on_sphere, longest


@dataclass(frozen=True, eq=False)
class _Vectors:
    """What is written, in one format or another."""

    user_ids: Sequence[str]
    users: NDArray[np.float32]
    song_ids: Sequence[str]
    songs: NDArray[np.float32]
    is_predicted: NDArray[np.bool_]


def _write_parquet(folder: Path, of: _Vectors) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(vectors: NDArray[np.float32]) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])

    tables = {
        "users": {"user": pa.array(of.user_ids, pa.string()), "vector": column(of.users)},
        "songs": {
            "song": pa.array(of.song_ids, pa.string()),
            "is_predicted": pa.array(of.is_predicted),
            "vector": column(of.songs),
        },
    }
    for name, columns in tables.items():
        # Numbers without any pattern: to look for one costs time and saves nothing.
        pq.write_table(
            pa.table(columns), folder / f"{name}.parquet", row_group_size=1 << 16, use_dictionary=False
        )


def _write_npy(folder: Path, of: _Vectors, *, with_songs: bool) -> None:
    write_lines(folder / "users.txt", of.user_ids)
    write_lines(folder / "songs.txt", of.song_ids)
    arrays = {"user_vectors": of.users, "song_is_predicted": of.is_predicted}
    if with_songs:
        arrays["song_vectors"] = of.songs
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
