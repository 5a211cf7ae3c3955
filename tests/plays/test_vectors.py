"""Vectors that were made elsewhere: every form gives the same, and what is wrong is named."""

import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import write

from dcbmr import InputError
from dcbmr.plays import delimited, vectors
from dcbmr.plays.vectors import read_vectors

IDS = ["a", "b c", "d,e", "007", "\u00fc"]
ARRAY = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def npy(path, array=ARRAY, ids=IDS):
    path = path.with_suffix(".npy")
    np.save(path, array)
    path.with_suffix(".ids.txt").write_text("".join(f"{song}\n" for song in ids))
    return path


def npz(path, array=ARRAY, ids=IDS, save=np.savez):
    path = path.with_suffix(".npz")
    save(path, ids=np.array(ids), vectors=array)
    return path


def parquet(path, columns):
    path = path.with_suffix(".parquet")
    pq.write_table(pa.table(columns), path)
    return path


def lists(path, kind=None, name="song"):
    kind = kind or pa.list_(pa.float32())
    return parquet(path, {"title": IDS[::-1], "emb": pa.array(ARRAY.tolist(), kind), name: IDS})


def numbers(path):
    return parquet(path, {"track_id": IDS, **{f"d{i}": ARRAY[:, i] for i in range(3)}})


def text(path, delimiter="\t", header=True):
    lines = [["song", "0", "1", "2"]] if header else []
    lines += [
        [f'"{s}"' if delimiter != "\t" else s, *map(str, row)] for s, row in zip(IDS, ARRAY, strict=True)
    ]
    return write(path, "".join(delimiter.join(line) + "\n" for line in lines))


def pandas_text(path):
    lines = [",0,1,2", *(f'"{s}",' + ",".join(map(str, row)) for s, row in zip(IDS, ARRAY, strict=True))]
    return write(path.with_suffix(".csv"), "\n".join(lines) + "\n")


FORMS = {
    "npy": npy,
    "npy columns first": lambda p: npy(p, np.asfortranarray(ARRAY)),
    "npy big-endian doubles": lambda p: npy(p, ARRAY.astype(">f8")),
    "npz": npz,
    "npz compressed": lambda p: npz(p, save=np.savez_compressed),
    "npz columns first": lambda p: npz(p, np.asfortranarray(ARRAY)),
    "npz ids of bytes": lambda p: npz(p, ids=[song.encode() for song in IDS]),
    "parquet lists": lists,
    "parquet fixed lists": lambda p: lists(p, pa.list_(pa.float64(), 3), "id"),
    "parquet large lists": lambda p: lists(p, pa.large_list(pa.float32()), "__index_level_0__"),
    "parquet columns": numbers,
    "tsv": lambda p: text(p.with_suffix(".tsv")),
    "tsv.gz without header": lambda p: text(p.with_suffix(".tsv.gz"), header=False),
    "csv": lambda p: text(p.with_suffix(".csv"), ","),
    "semicolons without header": lambda p: text(p.with_suffix(".csv"), ";", header=False),
    "csv of pandas": pandas_text,
}


def whole(path):
    found = list(read_vectors(path))
    assert all(part.dtype == np.float32 and part.flags.c_contiguous for _, part in found)
    return [song for ids, _ in found for song in ids], np.concatenate([part for _, part in found])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", [1 << 24, 1])
def test_every_form_gives_the_same(tmp_path, monkeypatch, form, block):
    if "csv" not in form and "semi" not in form and "tsv" not in form:
        monkeypatch.setattr(vectors, "_BLOCK_BYTES", block)
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", max(block, 80))
    ids, found = whole(FORMS[form](tmp_path / "v"))
    assert ids == IDS
    np.testing.assert_array_equal(found, ARRAY)


def test_wide_row_groups_are_read_in_parts(tmp_path, monkeypatch):
    """Of columns that are too large to be held at once, some at a time are put aside."""
    monkeypatch.setattr(vectors, "_AT_ONCE_BYTES", 700)
    monkeypatch.setattr(vectors, "_BLOCK_BYTES", 1)
    ids = [f"song{i}" for i in range(150)]
    array = np.random.default_rng(1).standard_normal((150, 7)).astype(np.float32)
    table = pa.table({"d0": array[:, 0], "song": ids, **{f"d{i}": array[:, i] for i in range(1, 7)}})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=100)
    held = []
    real = vectors._RowGroup.batches
    monkeypatch.setattr(
        vectors._RowGroup, "batches", lambda self, columns: held.append(len(columns)) or real(self, columns)
    )
    found = list(read_vectors(tmp_path / "v.parquet"))
    assert len(found) == 3  # of 64 rows at most
    assert [song for some, _ in found for song in some] == ids
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), array)
    assert max(held) < 7
    table = table.set_column(5, "d4", pa.array([1.0] * 120 + [None] + [2.0] * 29))
    pq.write_table(table, tmp_path / "v.parquet")
    with pytest.raises(InputError, match="column 'd4' lacks a value"):
        list(read_vectors(tmp_path / "v.parquet"))


def test_ids_may_be_numbers(tmp_path):
    assert whole(npz(tmp_path / "v", ids=[3, 1, 4, 15, 92]))[0] == ["3", "1", "4", "15", "92"]
    columns = {"song_id": [3, 1, 4, 15, 92], "x": pa.array([1, 2, 3, 4, 5], pa.int8())}
    ids, found = whole(parquet(tmp_path / "v", columns))
    assert (ids, found[:, 0].tolist()) == (["3", "1", "4", "15", "92"], [1, 2, 3, 4, 5])


def test_a_line_may_be_longer_than_what_is_looked_at_first(tmp_path):
    wide = np.arange(20_000, dtype=np.float32)
    lines = [f"{song}," + ",".join(map(str, wide)) + "\n" for song in "ab"]
    ids, found = whole(write(tmp_path / "v.csv", "".join(lines)))
    assert ids == ["a", "b"]
    np.testing.assert_array_equal(found, [wide, wide])


def bad(**changes):
    array = ARRAY.copy()
    for place, value in changes.items():
        array[int(place[1]), int(place[2])] = value
    return array


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: npy(p, bad(p12=np.nan)), "vector of song 'b c' is not finite: nan in dimension 3"),
        (lambda p: npz(p, bad(p30=-np.inf)), "vector of song '007' is not finite: -inf in dimension 1"),
        (lambda p: npz(p, ARRAY.astype(float) * 1e39), "'a' is not finite: "),
        (lambda p: npy(p, ids=[*IDS[:4], "a"]), "song 'a' is there twice"),
        (lambda p: npy(p, ids=[*IDS[:4], ""]), "the id '' of vector 5 is empty or holds a break"),
        (lambda p: npz(p, ids=[*IDS[:4], "x\ty"]), r"the id 'x\\ty' of vector 5"),
        (lambda p: npy(p, ids=IDS[:3]), r"v.npy has 5 vectors, .*v.ids.txt 3 ids"),
        (lambda p: npz(p, ids=IDS[:3]), "has 5 vectors, the array ids 3 ids"),
        (lambda p: npy(p, ARRAY[0]), r"vectors are float32 of shape \(3,\); wanted numbers"),
        (lambda p: npy(p, ARRAY.astype(str)), "wanted numbers"),
        (lambda p: npy(p, np.empty((0, 3)), []), "holds no vectors"),
        (lambda p: write(p.with_suffix(".csv"), "song,x\na,1\nb,two\n"), "line 3: 'two' is not a number"),
        (
            lambda p: write(p.with_suffix(".csv"), "a,1,2\nb,1\n"),
            "line 2: 2 columns, where the first line has 3",
        ),
        (lambda p: write(p.with_suffix(".csv"), "a,1,2\nb,1,\n"), "line 2: '' is not a number"),
        (lambda p: write(p.with_suffix(".csv"), "a,1\nb,nan\n"), "vector of song 'b' is not finite: nan"),
        (lambda p: write(p.with_suffix(".csv"), "a\nb\n"), "has no column beside the ids"),
        (
            lambda p: write(p.with_suffix(".csv"), "x,y\n1,2\n"),
            "do not say which is the song; call the column",
        ),
        (lambda p: write(p.with_suffix(".csv"), "   \n"), "is empty"),
        (lambda p: parquet(p, {"song": IDS, "mood": IDS}), "column 'mood' holds texts; leave it out"),
        (lambda p: parquet(p, {"song": IDS}), "has no column beside the ids"),
        (lambda p: parquet(p, {"song": IDS, "x": [1, None, 3, 4, 5]}), "column 'x' lacks a value"),
        (
            lambda p: parquet(p, {"song": IDS[:2], "v": [[1.0, 2.0], [3.0]]}),
            "song 'b c' has 1 dimensions, that of",
        ),
        (lambda p: parquet(p, {"song": ["a"], "v": [[1.0, None]]}), "lacks a number"),
        (
            lambda p: parquet(p, {"song": ["a"], "v": [[1.0]], "w": [[1.0]]}),
            "several columns of vectors: v, w",
        ),
        (lambda p: p.with_suffix(".csv"), "does not exist; wanted vectors"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        list(read_vectors(make(tmp_path / "v")))


def test_ids_must_lie_beside(tmp_path):
    path = npy(tmp_path / "v")
    path.with_suffix(".ids.txt").unlink()
    with pytest.raises(InputError, match=r"needs its songs' ids beside it, one a line, in .*v.ids.txt"):
        list(read_vectors(path))
    np.savez(tmp_path / "w.npz", x=ARRAY)
    with pytest.raises(InputError, match="has the arrays x; wanted ids and vectors"):
        list(read_vectors(tmp_path / "w.npz"))


@pytest.mark.parametrize("form", ["npy", "npy columns first", "npz"])
def test_truncated_files(tmp_path, form):
    path = FORMS[form](tmp_path / "v")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"is truncated|cannot be read"):
        list(read_vectors(path))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("name", ["v.npy", "v.npz", "v.pkl", "v.csv", "ids.npz", "vectors.npz", "object.npy"])
def test_pickled_objects_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    objects = np.array([Bomb(), Bomb()], object)
    if name == "ids.npz":
        np.savez(path, ids=objects, vectors=ARRAY[:2])
    elif name == "vectors.npz":
        np.savez(path, ids=np.array(["a", "b"]), vectors=objects)
    elif name == "object.npy":
        np.save(path, objects)
        path.with_suffix(".ids.txt").write_text("a\nb\n")
    else:
        path.write_bytes(pickle.dumps({"a": Bomb()}))
    with pytest.raises(InputError, match="holds pickled objects or is damaged, and is not read"):
        list(read_vectors(path))
    assert not (tmp_path / "executed").exists()
