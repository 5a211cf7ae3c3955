"""Play-count files as people have them, good and bad."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import LASTFM, TASTE_PROFILE, needs_data
from tables import as_dict, write

import dcbmr
from dcbmr.plays import delimited
from dcbmr.plays.counts import PlayCounts

TRIPLETS = [("ann", "so what", 3.0), ("bob", "naima", 1.0), ("ann", "naima", 2.0), ("ann", "so what", 4.0)]
LINES = "".join(f"{u}\t{s}\t{c:g}\n" for u, s, c in TRIPLETS)


WANTED = {("ann", "so what"): 7, ("bob", "naima"): 1, ("ann", "naima"): 2}


@pytest.mark.parametrize("name", ["p.tsv", "p.txt", "p.tsv.gz", "p.tsv.zst", "p.tsv.bz2"])
@pytest.mark.parametrize("header", ["", "user\tsong\tplays\n", "userID\tartistID\tweight\n"])
def test_reads_tsv(tmp_path, name, header):
    table = PlayCounts.read(write(tmp_path / name, header + LINES))
    assert as_dict(table) == WANTED
    assert list(table.user_ids) == ["ann", "bob"], "in the order of their first appearance"
    assert list(table.song_ids) == ["so what", "naima"]
    assert table.counts.dtype == np.float32
    assert table.counts.has_sorted_indices


@pytest.mark.parametrize(
    "text",
    [
        LINES.replace("\t", ","),
        LINES.replace("\t", ";"),
        LINES.replace("\n", "\r\n"),
        "\ufeff" + LINES,
        LINES.replace("\n", "\n\n"),
        LINES.rstrip("\n"),
        "user,song,count\n" + LINES.replace("\t", ",").replace("so what", '"so what"'),
        "count,extra,song,user\n" + "".join(f"{c},x,{s},{u}\n" for u, s, c in TRIPLETS),
        LINES + "ann\tsilence\t0\n",
    ],
    ids=["comma", "semicolon", "crlf", "bom", "blank lines", "no newline", "quotes", "named", "zero"],
)
def test_reads_what_people_write(tmp_path, text):
    assert as_dict(PlayCounts.read(write(tmp_path / "p.csv", text))) == WANTED


def test_quote_in_tsv_is_a_letter(tmp_path):
    table = PlayCounts.read(write(tmp_path / "p.tsv", 'u\t"heroes\t2\nv\tlow"\t1\n'))
    assert list(table.song_ids) == ['"heroes', 'low"']


def test_ids_stay_strings(tmp_path):
    table = PlayCounts.read(write(tmp_path / "p.tsv", "007\t1e3\t2\nNaN\tnull\t1\n"))
    assert list(table.user_ids) == ["007", "NaN"]
    assert list(table.song_ids) == ["1e3", "null"]


@pytest.mark.parametrize("columns", ["who,what,n", "2,4,1", ["who", "what", "n"], [2, 4, 1]])
def test_columns(tmp_path, columns):
    text = "n\twho\twhen\twhat\n" + "".join(f"{c}\t{u}\tnow\t{s}\n" for u, s, c in TRIPLETS)
    assert as_dict(PlayCounts.read(write(tmp_path / "p.tsv", text), columns=columns)) == WANTED


def test_parquet_round_trip(tmp_path):
    table = PlayCounts.read(write(tmp_path / "p.tsv", LINES))
    table.write_parquet(tmp_path / "p.parquet")
    assert as_dict(PlayCounts.read(tmp_path / "p.parquet")) == WANTED


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float32(), pa.decimal128(9, 2)])
def test_foreign_parquet(tmp_path, kind):
    users, songs, counts = zip(*TRIPLETS, strict=True)
    numbers = {"ann": 1, "bob": 2}
    columns = {
        "listener": pa.array([numbers[u] for u in users]),
        "track": pa.array(songs, pa.large_string()),
        "n": pa.array(counts).cast(kind),
    }
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    found = as_dict(PlayCounts.read(tmp_path / "p.parquet"))
    assert found == {(str(numbers[u]), s): c for (u, s), c in WANTED.items()}
    assert as_dict(PlayCounts.read(tmp_path / "p.parquet", columns="listener,track,n")) == found


def test_blocks_of_any_size_give_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    lines = [f"user{u}\tsong{s}\t{c}\n" for u, s, c in rng.integers(1, 300, (20_000, 3))]
    path = write(tmp_path / "p.tsv", "".join(lines))
    whole = PlayCounts.read(path)
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 1000)
    parts = PlayCounts.read(path)
    np.testing.assert_array_equal(parts.user_ids, whole.user_ids)
    np.testing.assert_array_equal(parts.song_ids, whole.song_ids)
    np.testing.assert_array_equal(parts.counts.toarray(), whole.counts.toarray())
    assert whole.counts.sum() == sum(int(line.split("\t")[2]) for line in lines)
    pq.write_table(pa.table({"0": ["u"] * 9, "1": ["s"] * 9, "2": [1] * 9}), tmp_path / "p.parquet")
    assert PlayCounts.read(tmp_path / "p.parquet").counts.toarray().tolist() == [[9]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\t1\nc\td\tmany\n", r"p.tsv, line 2: the count 'many' is not a number"),
        ("a\tb\t1\n\nc\td\t-3\n", r"line 3: the count '-3' is negative"),
        ("user\tsong\tn\na\tb\tnan\n", r"line 2: the count 'nan' is not finite"),
        ("a\tb\t1\nc\td\tinf\n", r"line 2: the count 'inf' is not finite"),
        ("a\tb\t1\nc\td\t1e39\n", r"line 2: the count '1e39' is not finite"),
        ("a\tb\t1\nc\td\t\n", r"line 2: the count '' is not a number"),
        ("a\tb\t\nc\td\t1\n", r"line 1: the count '' is not a number"),
        ("a\tb\t1\nc\t\t2\n", r"line 2: the song is empty"),
        ("a\tb\t1\n\td\t2\n", r"line 2: the user is empty"),
        ("a\tb\t1\nc\td\n", r"line 2: 2 columns, where the first line has 3"),
        ("a\tb\t1\nc\td\t1\t9\n", r"line 2: 4 columns, where the first line has 3"),
        ("a\tb\t1\nc\t\udcff\t1\n".encode("utf-8", "surrogateescape"), r"line 2: no text in UTF-8"),
        ("\udcff\tb\t1\n".encode("utf-8", "surrogateescape"), r"p.tsv is no text in UTF-8"),
        ("", r"p.tsv is empty; wanted lines of user, song and count"),
        ("\n\n", r"p.tsv is empty"),
        ("user\tsong\tcount\n", r"p.tsv: no plays in it; wanted rows of user, song and count"),
        ("a\nb\n", r"p.tsv has one column; wanted user, song and count, separated by tabs"),
        (
            "a\t1\nb\t2\n",
            r"p.tsv: 2 columns; wanted user, song and count, or one row a play; give --columns 1,2 ",
        ),
        (bytes(range(256)) * 9, r"p.tsv is a binary file"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(dcbmr.InputError, match=message):
        PlayCounts.read(write(tmp_path / "p.tsv", text))


def test_bad_line_far_into_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 1000)
    path = write(tmp_path / "p.tsv.gz", "a\tb\t1\n" * 5000 + "a\tb\t-1\n" + "a\tb\t1\n" * 5000)
    with pytest.raises(dcbmr.InputError, match=r"p.tsv.gz, line 5001: the count '-1' is negative"):
        PlayCounts.read(path)


def test_other_bad_input(tmp_path):
    with pytest.raises(dcbmr.InputError, match="does not exist"):
        PlayCounts.read(tmp_path / "none.tsv")
    with pytest.raises(dcbmr.InputError, match="is a folder without files"):
        PlayCounts.read(tmp_path)
    path = write(tmp_path / "p.tsv", "who\twhat\tn\n" + LINES)
    for columns, message in [
        ("who,what,times", "has no column 'times'; its columns: who, what, n"),
        ("who", "columns must name user, song, count, time=COLUMN, seconds=COLUMN, of which user and song"),
        ("who,what,n,when", "columns must name user"),
        ("who,what,user=n", "columns must name user"),
        ("who,who,n", "names one column twice"),
        ("1,2,4", "has no column '4'"),
    ]:
        with pytest.raises(dcbmr.InputError, match=message):
            PlayCounts.read(path, columns=columns)
    whole = write(tmp_path / "p.tsv.gz", LINES * 1000).read_bytes()
    (tmp_path / "p.tsv.gz").write_bytes(whole[:-20])
    with pytest.raises(dcbmr.InputError, match=r"p.tsv.gz cannot be read"):
        PlayCounts.read(tmp_path / "p.tsv.gz")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(dcbmr.InputError, match=r"p.parquet cannot be read"):
        PlayCounts.read(tmp_path / "p.parquet")
    pq.write_table(pa.table({"a": ["x"], "b": ["y"], "c": ["z"]}), tmp_path / "q.parquet")
    with pytest.raises(dcbmr.InputError, match="column 'c' holds texts, no counts; give --columns a,b,COUNT"):
        PlayCounts.read(tmp_path / "q.parquet", columns="a,b,c")
    for bad in (-1.0, float("nan"), None):
        table = pa.table({"user": ["x", "x"], "song": ["y", "z"], "count": [1.0, bad]})
        pq.write_table(table, tmp_path / "r.parquet")
        with pytest.raises(dcbmr.InputError, match=r"r.parquet cannot be read: .*(count|missing)"):
            PlayCounts.read(tmp_path / "r.parquet")


names = st.text(
    st.characters(codec="utf-8", exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, names, st.integers(1, 1000)), min_size=1))
def test_any_ids(tmp_path_factory, triplets):
    path = tmp_path_factory.mktemp("any") / "p.tsv"
    path.write_text(
        "user\tsong\tcount\n" + "".join(f"{u}\t{s}\t{c}\n" for u, s, c in triplets), "utf-8", newline="\n"
    )
    wanted = {}
    for u, s, c in triplets:
        wanted[u, s] = wanted.get((u, s), 0) + c
    assert as_dict(PlayCounts.read(path)) == wanted


@needs_data
def test_lastfm():
    table = PlayCounts.read(LASTFM / "user_artists.dat")
    assert table.counts.shape == (1892, 17632)
    assert table.counts.nnz == 92834
    assert table.counts.sum(dtype=float) == pytest.approx(69.2e6, rel=1e-3)


@needs_data
def test_taste_profile():
    tables = [PlayCounts.read(path) for path in sorted(TASTE_PROFILE.glob("*.txt"))]
    assert sorted(table.counts.nnz for table in tables) == [7093, 7345]
    assert len({user for table in tables for user in table.user_ids}) == 526
