"""Plays made by hand, from arrays, frames and matrices."""

import builtins

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import coo_array, csc_matrix, csr_array
from tables import as_dict

import dcbmr
from dcbmr import PlayCounts

USERS, SONGS, COUNTS = ["ann", "bob", "ann", "ann"], ["so what", "naima", "naima", "so what"], [3, 1, 2, 4]
WANTED = {("ann", "so what"): 7, ("bob", "naima"): 1, ("ann", "naima"): 2}
FRAME = {"plays": COUNTS, "track_id": SONGS, "user": USERS}


def test_plays_are_checked_when_made_by_hand():
    with pytest.raises(dcbmr.InputError, match="counts has shape"):
        PlayCounts(["a"], ["x", "y"], csr_array((2, 2)))
    with pytest.raises(dcbmr.InputError, match="song_ids holds an id twice"):
        PlayCounts(["a"], ["x", "x"], csr_array((1, 2)))
    theirs = csr_array(([1.0, 0.0, 2.0], [1, 0, 1], [0, 3]), shape=(1, 2))
    made = PlayCounts(["a"], ["x", "y"], theirs)
    assert made.counts.toarray().tolist() == [[0, 3]]
    assert made.counts.nnz == 1
    assert theirs.nnz == 3, "the caller's matrix is left alone"
    assert made != PlayCounts(["a"], ["x", "y"], theirs), "plays are compared by identity"
    assert repr(made) == "PlayCounts(n_users=1, n_songs=2, n_pairs=1)"


@pytest.mark.parametrize("kind", [list, tuple, np.array, pa.array, pa.chunked_array])
def test_arrays(kind):
    if kind is pa.chunked_array:
        arrays = [pa.chunked_array([values[:2], values[2:]]) for values in (USERS, SONGS, COUNTS)]
    else:
        arrays = [kind(values) for values in (USERS, SONGS, COUNTS)]
    made = PlayCounts.from_triplets(*arrays)
    assert as_dict(made) == WANTED
    assert list(made.user_ids) == ["ann", "bob"], "in the order of their first appearance"
    assert list(made.song_ids) == ["so what", "naima"]


def test_ids_become_str():
    assert as_dict(PlayCounts.from_triplets(np.array([7, 8]), ["x", 5], [1, 2])) == {
        ("7", "x"): 1,
        ("8", "5"): 2,
    }
    assert as_dict(PlayCounts.from_triplets(np.array([b"a"]), ["x"], [1.5])) == {("a", "x"): 1.5}


@pytest.mark.parametrize(
    "make",
    [dict, pa.table, pa.record_batch, lambda columns: pa.table(columns).to_reader()],
    ids=["mapping", "table", "batch", "stream"],
)
def test_frames(make):
    assert as_dict(PlayCounts.from_triplets(make(FRAME))) == WANTED
    who = {"who": USERS, "what": SONGS, "n": COUNTS, "more": COUNTS}
    assert as_dict(PlayCounts.from_triplets(make(who), columns="who,what,n")) == WANTED
    assert as_dict(PlayCounts.from_triplets(make(who), columns=[1, 2, 3])) == WANTED
    with pytest.raises(
        dcbmr.InputError, match=r"the frame: .* which is the user and which the song; give columns="
    ):
        PlayCounts.from_triplets(make(who))


def test_a_null_in_a_dictionary_is_no_id():
    users = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, 0]), pa.array(["ann", None]))
    with pytest.raises(dcbmr.InputError, match="the frame: no plays: an id is empty"):
        PlayCounts.from_triplets(pa.table({**FRAME, "user": users}))


def test_pandas():
    pd = pytest.importorskip("pandas")
    assert as_dict(PlayCounts.from_triplets(pd.DataFrame(FRAME))) == WANTED
    assert as_dict(PlayCounts.from_triplets(pd.DataFrame(FRAME, index=[5, 6, 7, 8]))) == WANTED
    by_place = pd.DataFrame(list(zip(USERS, SONGS, COUNTS, strict=True)))
    assert as_dict(PlayCounts.from_triplets(by_place)) == WANTED
    assert as_dict(PlayCounts.from_triplets(*map(pd.Series, (USERS, SONGS, COUNTS)))) == WANTED
    categories = pd.DataFrame(FRAME).astype({"user": "category", "track_id": "category"})
    assert as_dict(PlayCounts.from_triplets(categories)) == WANTED
    mixed = pd.DataFrame({"user": ["a", 1], "song": ["x", "y"], "count": [1, 2]})
    assert as_dict(PlayCounts.from_triplets(mixed)) == {("a", "x"): 1, ("1", "y"): 2}
    with pytest.raises(dcbmr.InputError, match="the frame: no plays: a count is missing"):
        PlayCounts.from_triplets(mixed.assign(count=[1, None]))
    with pytest.raises(
        dcbmr.InputError, match="column 'at' holds times, no counts; give columns='user,song,COUNT'"
    ):
        at = pd.to_datetime([1, 2])
        PlayCounts.from_triplets(mixed.assign(at=at), columns="user,song,at")
    with pytest.raises(dcbmr.InputError, match="or one frame with columns; got one Series"):
        PlayCounts.from_triplets(pd.Series(USERS))


def test_polars():
    pl = pytest.importorskip("polars")
    assert as_dict(PlayCounts.from_triplets(pl.DataFrame(FRAME))) == WANTED
    assert as_dict(PlayCounts.from_triplets(*map(pl.Series, (USERS, SONGS, COUNTS)))) == WANTED
    kinds = {"user": pl.Categorical, "track_id": pl.Enum(["so what", "naima"])}
    assert as_dict(PlayCounts.from_triplets(pl.DataFrame(FRAME, schema_overrides=kinds))) == WANTED
    with pytest.raises(dcbmr.InputError, match="or one frame with columns; got one LazyFrame"):
        PlayCounts.from_triplets(pl.DataFrame(FRAME).lazy())


def test_no_library_of_frames_is_imported(monkeypatch):
    imported = []
    real = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: imported.append(name) or real(name, *rest)
    )
    PlayCounts.from_triplets(FRAME)
    PlayCounts.from_triplets(pa.table(FRAME))
    assert not {name.split(".")[0] for name in imported} & {"pandas", "polars"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((USERS, SONGS, [1, 2]), "must have one length; got 4 of users, 4 of songs, 2 of counts"),
        ((USERS, SONGS), "wanted users, songs and counts, or one frame"),
        ((USERS,), "or one frame with columns; got one list"),
        ((USERS, SONGS, ["1", "2", "3", "4"]), "column 'count' holds texts, no counts"),
        ((USERS, SONGS, [1, 2, np.nan, 4]), "a count is missing"),
        ((USERS, [None, *SONGS[1:]], COUNTS), "a song is missing"),
        ((["", *USERS[1:]], SONGS, COUNTS), "an id is empty"),
        ((USERS, SONGS, [1, 2, -3, 4]), "the count -3.0 is not a finite number of plays"),
        (
            (USERS, SONGS, [1500000000 + n for n in range(4)]),
            "'count' looks like times, such as 1500000000: sec",
        ),
        ((np.zeros((2, 2)), SONGS, COUNTS), r"user must have one dimension; got shape \(2, 2\)"),
        ((5, SONGS, COUNTS), "user must be an array or a list; got 5"),
        (("abcd", SONGS, COUNTS), "user must be an array or a list; got 'abcd'"),
        (([], [], []), "no plays in it"),
        (
            ({**FRAME, "plays": [["x"]] * 4},),
            "column 'plays' holds lists or records, no counts; give columns=",
        ),
        (({"user": USERS, "song": SONGS, "rating": COUNTS},), "which is the count"),
    ],
)
def test_bad_triplets(given, message):
    with pytest.raises(dcbmr.InputError, match=message):
        PlayCounts.from_triplets(*given)


@pytest.mark.parametrize("kind", [np.array, csr_array, csc_matrix, coo_array, np.ndarray.tolist])
def test_matrix(kind):
    made = PlayCounts.from_matrix(
        kind(np.array([[7, 2, 0], [0, 1, 0]])), ["ann", "bob"], ["so what", "naima", "unheard"]
    )
    assert as_dict(made) == WANTED
    assert made.counts.shape == (2, 3)
    assert made.counts.dtype == np.float32
    assert list(PlayCounts.from_matrix(kind(np.eye(2))).song_ids) == ["0", "1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.eye(2), ["a"]), r"counts has shape \(2, 2\), but there are \(1, 2\) user and song ids"),
        ((np.eye(2), ["a", "a"]), "user_ids holds an id twice"),
        (([[1, -1]],), r"counts\[0, 1\] is -1: negative counts are not plays"),
        (([[np.nan]],), "NaN or infinite counts are not plays"),
        (([1, 2],), r"counts must have shape \(n_users, n_songs\); got \(2,\)"),
        (([["a"]],), "counts must be numbers; got an array of <U1"),
    ],
)
def test_bad_matrices(given, message):
    with pytest.raises(dcbmr.InputError, match=message):
        PlayCounts.from_matrix(*given)
