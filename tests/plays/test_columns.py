"""Which column is what: usual names in any order, places without a header; what is refused, and how."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_data import LASTFM, needs_data
from tables import as_dict, write

from dcbmr import InputError, PlayCounts, SongTags

EPOCH = 1_500_000_000


def table(header, rows, delimiter=","):
    return "".join(delimiter.join(map(str, line)) + "\n" for line in [header.split(","), *rows])


# A triplet of ann, naima, 3, under names that published data and exports have.
UNDERSTOOD = {
    "song,user,count": ("naima", "ann", 3),
    "track_id,user_id,n": ("naima", "ann", 3),
    "user_id,song_id,play_count": ("ann", "naima", 3),
    "user_id,song_id,listen_count": ("ann", "naima", 3),
    "userID,artistID,weight": ("ann", "naima", 3),
    "uid,item_id,timestamp,plays": ("ann", "naima", EPOCH, 3),
    "Listener,Artist,Track,Listens": ("ann", "coltrane", "naima", 3),
    "artist_name,recording_mbid,user_name,listen_count": ("coltrane", "naima", "ann", 3),
    ",user,song,count": (0, "ann", "naima", 3),
    "user,song,title,count": ("ann", "naima", "Naima", 3),
    "song,track_id,user,plays": ("Naima", "naima", "ann", 3),
    "user,song,last played,play count": ("ann", "naima", EPOCH, 3),
}


@pytest.mark.parametrize("header", UNDERSTOOD)
@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "frame"])
def test_usual_names_are_recognised_in_any_order(tmp_path, header, form):
    row = UNDERSTOOD[header]
    if form in ("csv", "tsv"):
        delimiter = "," if form == "csv" else "\t"
        plays = PlayCounts.read(write(tmp_path / f"p.{form}", table(header, [row], delimiter)))
    else:
        columns = {name: [value] for name, value in zip(header.split(","), row, strict=True)}
        if form == "frame":
            plays = PlayCounts.from_triplets(columns)
        else:
            pq.write_table(pa.table(columns), tmp_path / "p.parquet")
            plays = PlayCounts.read(tmp_path / "p.parquet")
    assert as_dict(plays) == {("ann", "naima"): 3}


@pytest.mark.parametrize(
    ("header", "row", "columns"),
    [
        ("user,song,ts,total plays", ("ann", "naima", EPOCH, 3), "'user,song,total plays'"),
        ("user,song,lastPlayed", ("ann", "naima", "2009-05-04"), "user,song,COUNT"),
        ("user_id,track_id,artist_id", (1, 2, 3), "user_id,track_id,COUNT"),
        ("who,what,n", ("ann", "naima", 3), "who,what,n"),
        ("who,what,how often", ("ann", "naima", 3), "'who,what,how often'"),
        ("who,n,what", ("ann", 3, "naima"), "who,what,n"),
        ("user,song,x,y", ("ann", "naima", 3, 4), "user,song,COUNT"),
        ("user_id,userid,song,count", ("ann", "bob", "naima", 3), "USER,song,count"),
        ("user,artist,title,count", ("ann", "coltrane", "naima", 3), "user,SONG,count"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_header_that_is_not_understood_is_refused_with_the_columns_to_give(
    tmp_path, header, row, columns, form
):
    path = tmp_path / f"p.{form}"
    if form == "csv":
        write(path, table(header, [row]))
    else:
        pq.write_table(pa.table({n: [v] for n, v in zip(header.split(","), row, strict=True)}), path)
    with pytest.raises(
        InputError, match=rf"do not say which is the .*; give --columns {columns} \(in Python"
    ):
        PlayCounts.read(path)
    if columns == "who,what,n":
        assert as_dict(PlayCounts.read(path, columns=columns)) == {("ann", "naima"): 3}


def test_a_name_with_a_comma_is_given_by_its_number(tmp_path):
    path = write(tmp_path / "p.csv", '"who, really",song,count\nann,naima,3\n')
    with pytest.raises(InputError, match=r"give --columns 1,2,3 \(in"):
        PlayCounts.read(path)
    assert as_dict(PlayCounts.read(path, columns="1,2,3")) == {("ann", "naima"): 3}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("ann", "naima", EPOCH), ("bob", "naima", EPOCH + 60)],
            "column 3 looks like times, such as 1500000000: sec",
        ),
        ([("ann", "naima", EPOCH * 1000)], "column 3 looks like times, such as 1500000000000: milliseconds"),
        ([("ann", "naima", EPOCH + 0.25)], "column 3 looks like times"),
        (
            [("ann", "naima", 20090504)],
            "column 3 looks like identifiers or dates: no value is below 20090504",
        ),
        ([("ann", "naima", n) for n in range(1000)], "looks like identifiers: 1,000 different whole numbers"),
        ([(1, "naima", "abc"), (2, "naima", "def")], "column 3 holds no numbers, but 'abc'"),
    ],
)
def test_a_third_column_that_is_no_count_is_refused(tmp_path, rows, message):
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    wanted = "time=3" if "times" in message else "COUNT"
    with pytest.raises(InputError, match=rf"without a header, .*{message}.*; give --columns 1,2,{wanted} \("):
        PlayCounts.read(write(tmp_path / "p.tsv", text))
    wider = "".join("\t".join(map(str, (*row, 1))) + "\n" for row in rows)
    path = write(tmp_path / "p.tsv", wider)
    with pytest.raises(InputError, match=r"; give --columns 1,2,4 \(in Python: columns='1,2,4'\)"):
        PlayCounts.read(path)
    assert PlayCounts.read(path, columns="1,2,4").counts.sum() == len(rows)


def test_times_are_not_counted_whoever_names_them(tmp_path):
    path = write(tmp_path / "p.csv", table("user,song,count", [("ann", "naima", EPOCH)]))
    for columns in (None, "user,song,count", "1,2,3"):
        with pytest.raises(InputError, match=r"'count' looks like times, .*--columns user,song,time=count"):
            PlayCounts.read(path, columns=columns)
    pq.write_table(pa.table({"user": ["ann"], "song": ["naima"], "count": [EPOCH]}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="'count' looks like times"):
        PlayCounts.read(tmp_path / "p.parquet")


def test_large_and_different_counts_are_read_when_they_are_called_so(tmp_path):
    rows = [("ann", f"s{n}", n) for n in range(1_000_000, 1_002_000)]
    assert PlayCounts.read(write(tmp_path / "p.csv", table("user,song,plays", rows))).counts.nnz == 2000


def test_a_header_after_blank_lines(tmp_path):
    path = write(tmp_path / "p.csv", "\n\n" + table("song,user,count", [("naima", "ann", 3)]))
    assert as_dict(PlayCounts.read(path)) == {("ann", "naima"): 3}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array(["a"]).dictionary_encode(), "texts"),
        (pa.array(["a"], pa.large_string()), "texts"),
        (pa.array([0], pa.timestamp("s")), "times"),
        (pa.array([0], pa.date32()), "times"),
        (pa.array([True]), "yes or no"),
        (pa.array([b"a"]), "bytes"),
        (pa.array([[1]]), "lists or records"),
        (pa.array([{"a": 1}]), "lists or records"),
    ],
)
def test_types_of_arrow_are_named_in_plain_words(tmp_path, values, words):
    pq.write_table(pa.table({"user": ["ann"], "song": ["naima"], "count": values}), tmp_path / "p.parquet")
    with pytest.raises(
        InputError, match=f"column 'count' holds {words}, no counts; give --columns user,song,COUNT"
    ):
        PlayCounts.read(tmp_path / "p.parquet")


def test_ids_and_counts_of_parquet_may_be_dictionaries_and_bytes(tmp_path):
    columns = {"user": pa.array([b"ann"]), "song": pa.array([7]).dictionary_encode()}
    columns["count"] = pa.array([3]).dictionary_encode()
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert as_dict(PlayCounts.read(tmp_path / "p.parquet")) == {("ann", "7"): 3}
    columns["song"] = pa.array([["naima"]])
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(
        InputError, match="'song' holds lists or records, no texts or numbers that could name a song"
    ):
        PlayCounts.read(tmp_path / "p.parquet")


HETREC = table(
    "userID,artistID,tagID,day,month,year", [(2, 52, 13, 1, 4, 2009), (3, 52, 13, 1, 4, 2009)], "\t"
)


@pytest.mark.parametrize("columns", [None, "artistID,tagID", [2, 3]])
def test_tag_assignments_weigh_one_a_line(tmp_path, columns):
    tags = SongTags.read(write(tmp_path / "t.dat", HETREC), columns=columns)
    assert (tags.song_ids, tags.tags, tags.weights.toarray().tolist()) == (["52"], ["13"], [[2]])
    assert repr(tags) == "SongTags(n_songs=1, n_tags=1, n_pairs=1)"


def test_tags_of_parquet_and_of_named_columns(tmp_path):
    columns = {"strength": [5, 1], "genre": pa.array(["jazz", "pop"]).dictionary_encode(), "clip": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="which is the song; give --columns clip,genre,strength"):
        SongTags.read(tmp_path / "t.parquet")
    tags = SongTags.read(tmp_path / "t.parquet", columns="clip,genre,strength")
    assert (tags.song_ids, tags.tags, tags.weights.toarray().tolist()) == (
        ["1", "2"],
        ["jazz", "pop"],
        [[5, 0], [0, 1]],
    )
    with pytest.raises(
        InputError, match="columns must name song, tag, weight, of which song and tag may not"
    ):
        SongTags.read(tmp_path / "t.parquet", columns="clip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            table("userId,movieId,tag,timestamp", [(1, 2, "x", EPOCH)]),
            "which is the song; give --columns movieId,tag ",
        ),
        (f"a,jazz,{EPOCH}\nb,jazz,{EPOCH}\n", r"column 3 looks like times, .*; give --columns 1,2 \("),
    ],
)
def test_times_are_no_weights(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        SongTags.read(write(tmp_path / "t.csv", text))


def test_times_in_parquet_are_no_weights(tmp_path):
    pq.write_table(pa.table({"song": ["a"], "tag": ["jazz"], "weight": [EPOCH]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"'weight' looks like times, .*; give --columns song,tag \("):
        SongTags.read(tmp_path / "t.parquet")
    assert SongTags.read(tmp_path / "t.parquet", columns="song,tag").weights.sum() == 1


@needs_data
def test_lastfm():
    tags = SongTags.read(LASTFM / "user_taggedartists.dat")
    assert tags.weights.shape == (12523, 9749)
    assert tags.weights.sum() == 186479
