"""Published data sets become plays, songs, tags, audio and vectors; what is missing or wrong is said."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from published_files import (
    MBID,
    TEST_FROM,
    hetrec2011,
    lastfm360k,
    lines,
    msd,
    music4all,
    sha,
    song,
    tags,
    track,
    yambda,
)
from real_data import LASTFM, TASTE_PROFILE, needs_data
from tables import as_dict

import dcbmr
from dcbmr import InputError, PlayCounts, SongTags, convert_dataset, read_songs
from dcbmr.audio.files import find_songs
from dcbmr.cli import cli
from dcbmr.datasets import DATASETS
from dcbmr.datasets import yambda as read_yambda
from dcbmr.experiment.reading import read_experiment
from dcbmr.plays.vectors import read_vectors


def tags_of(path):
    table = SongTags.read(path)
    pairs = table.weights.tocoo()
    return {
        (table.song_ids[s], table.tags[t]): w
        for s, t, w in zip(pairs.row, pairs.col, pairs.data, strict=True)
    }


@pytest.fixture
def files(tmp_path):
    return tmp_path / "published"


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made"


def test_million_song_dataset(files, made):
    msd(files)
    notes = convert_dataset("msd", files, made)
    wanted = {(sha(u), song(s)): u + s for u in (1, 2, 3) for s in (1, 3, 4)} | {(sha(1), song(5)): 1}
    assert as_dict(PlayCounts.read(made / "plays.parquet")) == wanted
    songs = read_songs(made / "songs.tsv")
    assert dict(zip(songs.song_ids, songs.titles, strict=True)) == {
        song(1): "Sông 11", song(3): "Sông 3", song(4): "Sông 4",
    }  # fmt: skip
    assert songs.artist_of()[song(1)] == "Artist 11"
    assert tags_of(made / "tags.parquet") == {
        (song(1), "rock"): 100, (song(1), "pop"): 5, (song(3), "jazz"): 50,
    }  # fmt: skip
    with find_songs(made / "audio.tsv") as found:
        assert dict(found) == {
            song(3): str(files / "clips" / "0" / f"{track(3)}.wav"),
            song(4): str(files / "clips" / "0" / f"{track(4)}.clip.wav"),
        }
    assert notes[:3] == [
        "plays.parquet: 3 users, 4 songs, 10 pairs, 43 plays",
        "left out: 1 songs, 3 pairs of user and song, whose tracks are known not to be them "
        "(sid_mismatches.txt)",
        f"songs.tsv: 3 of 4 songs with plays have names (not '{song(5)}')",
    ]


def test_a_song_of_several_tracks_has_the_first_that_is_good(files, made):
    msd(files)
    lines(
        files / "taste_profile_song_to_tracks.txt",
        *[(song(1), track(1), track(11), track(12)), (song(3), track(31), track(3))],
    )
    notes = convert_dataset("msd", [files, files / "clips"], made)
    assert "2 songs have several tracks: names, tags and audio are of the first that has them" in notes
    assert read_songs(made / "songs.tsv").artist_of()[song(3)] == "Artist 3"
    with find_songs(made / "audio.tsv") as found:
        assert list(dict(found)) == [song(3), song(4)]


def test_million_song_dataset_of_plays_alone(files, made):
    lines(files / "train_triplets.txt", (sha(1), song(1), 2))
    notes = convert_dataset("msd", files / "train_triplets.txt", made)
    assert sorted(path.name for path in made.iterdir()) == ["config.json", "plays.parquet"]
    for name in (
        "sid_mismatches.txt",
        "taste_profile_song_to_tracks.txt",
        "unique_tracks.txt",
        "lastfm_tags.db",
    ):
        assert sum(note.startswith(f"no {name}: ") for note in notes) == 1


def test_yambda(files, made, monkeypatch):
    vectors = yambda(files)
    monkeypatch.setattr(read_yambda, "_BLOCK_ROWS", 3)
    monkeypatch.setattr(read_yambda, "_BLOCK_VECTORS", 2)
    notes = convert_dataset("yambda", files, made)
    plays = as_dict(PlayCounts.read(made / "plays.parquet"))
    assert plays == {("10", "1"): 2, ("20", "1"): 1, ("10", "2"): 1, ("20", "2"): 1}
    assert (made / "heldout_songs.txt").read_text() == "2\n"
    assert read_songs(made / "songs.tsv").artist_of() == {"1": "7", "2": "7"}
    blocks = list(read_vectors(made / "embedding.parquet"))
    assert [song for ids, _ in blocks for song in ids] == ["1", "2"]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), vectors[[1, 2]])
    left_out = (
        "2 of less than half a track, 2 in the half hour before the last day, 1 of the last day, of songs"
    )
    assert f"left out of 10 listens: {left_out} that were played before" in notes


def test_music4all(files, made):
    music4all(files)
    convert_dataset("music4all", files, made)
    assert as_dict(PlayCounts.read(made / "plays.parquet")) == {("user_1", "aB1"): 2, ("user_2", "cD2"): 1}
    assert (made / "songs.tsv").read_text("utf-8").splitlines() == [
        "song\tartist\ttitle\tdate",
        'aB1\t"Weird Al"\tFat, fatter\t1988',
        "cD2\tNina\tSinnerman\t1965",
    ]
    assert tags_of(made / "tags.parquet") == {("aB1", tag): 1 for tag in ("funny", "80s", "parody")}
    with find_songs(made / "audio.tsv") as found:
        assert dict(found) == {"aB1": str(files / "audios" / "aB1.wav")}


def test_lastfm_360k(files, made):
    lastfm360k(files)
    notes = convert_dataset("lastfm360k", files, made)
    wanted = {(sha(1), MBID): 48, (sha(2), MBID): 3, (sha(1), 'sigur "ros"'): 31}
    assert as_dict(PlayCounts.read(made / "plays.parquet")) == wanted
    assert read_songs(made / "songs.tsv").artist_of() == {
        MBID: "cannibal corpse",
        'sigur "ros"': 'sigur "ros"',
    }
    assert notes[1:4] == [
        "1 of 5 rows left out, whose user is no SHA-1",
        "1 of 5 rows left out, without an artist",
        "1 of 5 rows without a MusicBrainz id: the name of the artist is the id",
    ]


def test_hetrec_2011(files, made):
    hetrec2011(files)
    convert_dataset("hetrec2011", files, made)
    assert as_dict(PlayCounts.read(made / "plays.parquet")) == {("2", "51"): 13883, ("3", "52"): 7}
    assert read_songs(made / "songs.tsv").artist_of() == {"51": "Duran Duran", "52": "Björk"}
    assert tags_of(made / "tags.parquet") == {("52", "chill"): 2, ("52", "rêveur"): 1}


MAKERS = {
    "msd": msd, "yambda": yambda, "music4all": music4all, "lastfm360k": lastfm360k, "hetrec2011": hetrec2011
}  # fmt: skip
NEEDED = {
    "msd": ["train_triplets.txt"],
    "yambda": ["listens.parquet"],
    "music4all": ["listening_history.csv", "id_information.csv"],
    "lastfm360k": ["usersha1-artmbid-artname-plays.tsv"],
    "hetrec2011": ["user_artists.dat", "artists.dat", "user_taggedartists.dat", "tags.dat"],
}


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_missing_is_named_with_its_page(files, made, name):
    files.mkdir()
    (files / f"{NEEDED[name][0]}.zip").touch()
    wanted = (
        f"no {' and no '.join(NEEDED[name])} in {files} .unpack {files}/{NEEDED[name][0]}.zip.; .* published"
    )
    with pytest.raises(InputError, match=rf"{wanted} at http"):
        convert_dataset(name, files, made)
    assert not made.exists()


@pytest.mark.parametrize("name", DATASETS)
def test_the_command_says_what_it_made_and_factorize_takes_it(files, made, name, tmp_path):
    MAKERS[name](files)
    done = CliRunner().invoke(cli, ["dataset", name, str(files), "-o", str(made)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("plays.parquet: ")
    if name == "lastfm360k":
        assert "no CONFIG.toml: models predict from audio or vectors" in done.output
    else:
        data = read_experiment(made / "CONFIG.toml").data
        assert (data.plays, data.songs) == ((made / "plays.parquet",), made / "songs.tsv")
        assert (data.tags is None, data.audio is None) == (name == "yambda", name in ("yambda", "hetrec2011"))
    words = ["factorize", str(made / "plays.parquet"), "-o", str(tmp_path / "f"), "--factors", "2"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    with pytest.raises(InputError, match="made exists; give another output directory, or --overwrite"):
        convert_dataset(name, files, made)
    convert_dataset(name, files, made, overwrite=True)


def rename_columns(path, names):
    pq.write_table(pq.read_table(path).rename_columns(names), path)


def per_user(path):
    table = (
        pq.read_table(path)
        .group_by("uid")
        .aggregate([(name, "list") for name in ("timestamp", "item_id", "is_organic", "played_ratio_pct")])
    )
    pq.write_table(table.rename_columns([name.removesuffix("_list") for name in table.column_names]), path)


def first_line(path, line):
    text = path.read_text("utf-8")
    path.write_text(f"{line}\n{text}", "utf-8")


def table_of_tags(path, change):
    import sqlite3

    with sqlite3.connect(path) as database:
        database.executescript(change)


OTHER_VERSIONS = {
    "triplets": ("msd", "train_triplets.txt", lambda p: first_line(p, "1 2"), "wanted lines of user, song"),
    "mismatches": ("msd", "sid_mismatches.txt", lambda p: p.write_text("x\n"), "wanted lines of ERROR"),
    "tracks": ("msd", "taste_profile_song_to_tracks.txt", lambda p: first_line(p, "TR"), "wanted lines of"),
    "names": ("msd", "AdditionalFiles/unique_tracks.txt", lambda p: first_line(p, "a"), "wanted lines of"),
    "sqlite": ("msd", "lastfm_tags.db", lambda p: p.write_text("tags"), "wanted a database of SQLite 3"),
    "tables": (
        "msd", "lastfm_tags.db", lambda p: table_of_tags(p, "DROP TABLE tids"),
        "wanted a table tids.tid.; got no table tids",
    ),
    "columns": (
        "msd", "lastfm_tags.db", lambda p: table_of_tags(p, "ALTER TABLE tags ADD x"),
        r"wanted a table tags\(tag\); got tags\(tag, x\)",
    ),
    "sequential": ("yambda", "listens.parquet", per_user, "wanted the flat form; got the sequential form"),
    "embed": (
        "yambda", "embeddings.parquet", lambda p: rename_columns(p, ["item_id", "embed", "e2"]),
        "wanted the columns item_id, normalized_embed; got no normalized_embed",
    ),
    "no parquet": ("yambda", "listens.parquet", lambda p: p.write_text("uid"), "wanted a file of Parquet"),
    "events": (
        "music4all", "listening_history.csv", lambda p: first_line(p, "user_id\ttrack_id"),
        r"wanted a first line of user, song, timestamp; got 'user_id\\ttrack_id'",
    ),
    "metadata": (
        "music4all", "id_metadata.csv", lambda p: first_line(p, "id\tyear"),
        "wanted a first line with id and release; got id, year",
    ),
    "360k": (
        "lastfm360k", "usersha1-artmbid-artname-plays.tsv",
        lambda p: first_line(p, "user_1\t2009-05-04T23:08:57Z\tx\ty\tz\tw"),
        "wanted lines of user .SHA-1., MusicBrainz id, artist and plays; got 'user_1",
    ),
    "hetrec": (
        "hetrec2011", "user_artists.dat", lambda p: first_line(p, "userID\tmovieID\trating"),
        "wanted a first line of userID, artistID, weight; got 'userID",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER_VERSIONS)
def test_another_version_is_refused_with_what_came_and_what_was_wanted(files, made, what):
    name, file, change, message = OTHER_VERSIONS[what]
    MAKERS[name](files)
    change(files / file)
    with pytest.raises(InputError, match=rf"{file}: {message}.* published at http"):
        convert_dataset(name, files, made)
    assert not made.exists()


@pytest.mark.parametrize(
    ("name", "file", "line", "message"),
    [
        (
            "msd",
            "train_triplets.txt",
            f"{sha(1)}\t{song(1)}\tmany",
            "line 14: the count 'many' is not a number",
        ),
        ("msd", "AdditionalFiles/unique_tracks.txt", "x<SEP>y", "line 6: wanted track<SEP>song<SEP>"),
        ("lastfm360k", NEEDED["lastfm360k"][0], f"{sha(1)}\t\tx\ty", "line 6: the count 'y' is not a number"),
        (
            "lastfm360k",
            NEEDED["lastfm360k"][0],
            f"{sha(1)}\tx",
            "line 6: 2 columns, where the first line has 4",
        ),
        ("hetrec2011", "user_artists.dat", "2\t51\t-3", "line 4: the count '-3' is negative"),
        ("hetrec2011", "artists.dat", "53\tx", "line 4: 2 columns, where the first line has 4"),
        (
            "hetrec2011",
            "user_taggedartists.dat",
            "2\t51\t99\t1\t4\t2009",
            "names the tag 99, which .*tags.dat lacks",
        ),
        ("music4all", "listening_history.csv", "user_1\tx", "line 5: 2 columns, where the first line has 3"),
    ],
)
def test_a_wrong_line_is_named(files, made, name, file, line, message):
    MAKERS[name](files)
    with (files / file).open("a", encoding="utf-8") as text:
        text.write(line + "\n")
    with pytest.raises(InputError, match=message):
        convert_dataset(name, files, made)
    assert not made.exists()


def test_ids_that_do_not_match_are_said_with_the_likely_cause(files, made):
    music4all(files)
    text = (files / "id_information.csv").read_text().replace("aB1", "track-aB1").replace("cD2", "track-cD2")
    (files / "id_information.csv").write_text(text.replace("zZ9", "track-zZ9"))
    with pytest.raises(InputError, match="songs.tsv: 0 of 2 songs with plays have names .not 'aB1', 'cD2'"):
        convert_dataset("music4all", files, made)


def test_a_damaged_database_is_said(files, made):
    msd(files)
    tags(files / "more.db", {track(11): {f"tag{i}" * 20: i for i in range(3000)}})
    whole = (files / "more.db").read_bytes()
    (files / "more.db").unlink()
    (files / "lastfm_tags.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"lastfm_tags.db cannot be read: "):
        convert_dataset("msd", files, made)


def test_two_files_of_one_name_and_sources_that_are_not_there(files, made):
    yambda(files / "50m")
    shutil.copytree(files / "50m", files / "500m")
    with pytest.raises(InputError, match="several files listens.parquet: .*500m.*50m.*; give the one"):
        convert_dataset("yambda", files, made)
    with pytest.raises(InputError, match="nowhere does not exist; Yambda is published at https"):
        convert_dataset("yambda", files / "nowhere", made)
    with pytest.raises(
        InputError, match="no data set is called 'yamda'; there are msd, .* did you mean yambda"
    ):
        convert_dataset("yamda", files, made)


def test_a_last_day_without_new_songs_is_said(files, made):
    yambda(files)
    table = pq.read_table(files / "listens.parquet")
    pq.write_table(table.filter(table["timestamp"].to_numpy() < TEST_FROM), files / "listens.parquet")
    assert any("nothing to test on" in note for note in convert_dataset("yambda", files, made))
    assert not (made / "heldout_songs.txt").exists()


@needs_data
def test_the_published_hetrec_files(made):
    notes = convert_dataset("hetrec2011", LASTFM, made)
    assert notes[0] == "plays.parquet: 1,892 users, 17,632 songs, 92,834 pairs, 69,183,975 plays"
    assert len(read_songs(made / "songs.tsv").song_ids) == 17632
    tagged = SongTags.read(made / "tags.parquet")
    assert dcbmr.PlayCounts.read(made / "plays.parquet").counts.shape == (1892, 17632)
    assert len(tagged.song_ids) == 12133


@needs_data
def test_the_published_taste_profile(files, made):
    files.mkdir()
    parts = [path.read_bytes() for path in sorted(TASTE_PROFILE.glob("*.txt"))]
    (files / "train_triplets.txt").write_bytes(b"\n".join(parts))
    notes = convert_dataset("msd", files, made)
    assert notes[-1] == "no audio of songs with plays was found"
    assert PlayCounts.read(made / "plays.parquet").counts.nnz == 7093 + 7345
