"""Tables of songs, as text and as Parquet."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_data import LASTFM, needs_data
from tables import write

import dcbmr
from dcbmr import SongTable, read_songs


def test_read_songs(tmp_path):
    path = tmp_path / "songs.tsv"
    path.write_text("s1\tMiles Davis\tSo What\ns2\tJohn Coltrane\n\ns3\t\tUntitled\n", "utf-8")
    table = read_songs(path)
    assert table.song_ids == ["s1", "s2", "s3"]
    assert table.titles == ["So What", "", "Untitled"]
    assert table.artist_of() == {"s1": "Miles Davis", "s2": "John Coltrane"}
    path.write_text("title\tsong\tartist\nSo What\ts1\tMiles Davis\n", "utf-8")
    table = read_songs(path)
    assert (table.song_ids, table.artists, table.titles) == (["s1"], ["Miles Davis"], ["So What"])
    assert repr(table) == "SongTable(n_songs=1, n_artists=1)"
    assert table != SongTable(["s1"], ["Miles Davis"], ["So What"]), "tables are compared by identity"
    for text, message in [
        ("s1\tA\ns1\tB\n", "line 2: song 's1' is there twice"),
        ("s1\tA\ns2\n", "line 2: wanted song, artist and, optionally, title; got 's2'"),
    ]:
        path.write_text(text)
        with pytest.raises(dcbmr.InputError, match=message):
            read_songs(path)
    with pytest.raises(dcbmr.InputError, match="none.tsv does not exist; wanted songs: song, artist"):
        read_songs(tmp_path / "none.tsv")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(dcbmr.InputError, match="is a binary file, or text in UTF-16"):
        read_songs(path)
    path.write_bytes(b"s1\t\xff\xfe\n")
    with pytest.raises(dcbmr.InputError, match="no text in UTF-8"):
        read_songs(path)


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.csv.zst"])
@pytest.mark.parametrize(
    "text",
    [
        "artist_name,song_id,title\nMiles Davis,s1,So What\n,s2,\n",
        "song;artist;title\ns1;Miles Davis;So What\ns2;;\n",
        "id\tname\tartistID\ns1\tSo What\tMiles Davis\ns2\t\t\n",
        's1,"Miles Davis",So What\r\ns2,\r\n',
        "track_id,song,artist,year\ns1,So What,Miles Davis,1959\ns2,,,0\n",
    ],
    ids=["CSV", "semicolons", "usual names", "no header, quotes", "song is the title beside an id"],
)
def test_forms(tmp_path, name, text):
    table = read_songs(write(tmp_path / name, text))
    assert (table.song_ids, table.artists, table.titles) == (
        ["s1", "s2"],
        ["Miles Davis", ""],
        ["So What", ""],
    )


def test_columns(tmp_path):
    path = write(tmp_path / "s.csv", "clip,artist,title\ns1,A,T\n")
    with pytest.raises(
        dcbmr.InputError, match=r"which is the song; call them .*columns='clip,artist,title'\)"
    ):
        read_songs(path)
    for columns in ("clip,artist,title", ["clip", "artist", "title"], [1, 2, 3]):
        assert read_songs(path, columns=columns).titles == ["T"]
    assert read_songs(path, columns="clip,title").artists == ["T"]


def test_parquet(tmp_path):
    columns = {"artist": pa.array(["A", "A", None]).dictionary_encode(), "track_id": [7, 8, 9]}
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    table = read_songs(tmp_path / "s.parquet")
    assert (table.song_ids, table.artists) == (["7", "8", "9"], ["A", "A", ""])
    pq.write_table(pa.table({**columns, "artist": [["A"]] * 3}), tmp_path / "s.parquet")
    with pytest.raises(dcbmr.InputError, match="column 'artist' holds lists or records, no texts or numbers"):
        read_songs(tmp_path / "s.parquet")


@needs_data
def test_lastfm():
    """Its artists are taken for songs: their names are the titles."""
    table = read_songs(LASTFM / "artists.dat")
    assert (len(table.song_ids), table.titles[0], table.artist_of()) == (17632, "MALICE MIZER", {})


def test_tables_complete_each_other():
    ours = SongTable(["a", "b", "c"], ["A", "", "C"], ["", "", "Sea"])
    theirs = SongTable(["a", "b", "d"], ["other", "B", ""], ["Ay", "Bee", "Dee"])
    both = ours.over(theirs)
    assert both.artist_of() == {"a": "A", "b": "B", "c": "C"}
    assert both.title_of() == {"a": "Ay", "b": "Bee", "c": "Sea", "d": "Dee"}
    assert both.called("a") == "A - Ay"
    assert both.called("d") == "Dee"
    assert both.called("nobody") == ""
    assert both.artist_and_title("nobody") == ("", "")
    assert both.with_names(["c", "nobody"]) == ["c (C - Sea)", "nobody"]
    assert not SongTable(["a"], ["A"], [""]).has_titles


def test_songs_are_found_by_what_they_are_called():
    table = SongTable(
        ["s1", "s2", "s3"], ["Portishead", "Portishead", "Björk"], ["Roads", "Glory Box", "Jóga"]
    )
    assert table.songs_called("roads", {"s1", "s2", "s3"}) == ["s1"]
    assert table.songs_called("Portishaed", {"s1", "s2"}) == ["s1", "s2"]
    assert table.songs_called("BJÖRK", {"s1", "s2"}) == [], "s3 is not among them"
