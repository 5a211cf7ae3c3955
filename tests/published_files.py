"""Small files in the forms in which data sets are published."""

import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile


def sha(number):
    return f"{number:040x}"


def song(number):
    return f"SO{number:016d}"


def track(number):
    return f"TR{number:016d}"


def lines(path, *rows, separator="\t", encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(separator.join(map(str, row)) + "\n" for row in rows)
    path.write_text(text, encoding, newline="\n")
    return path


def clip(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(800), 8000)


def msd(folder):
    """Song 1 has tracks 1 and 11, of which 1 is a mismatch; song 2 is one; song 3's track 3 was accepted."""
    lines(
        folder / "train_triplets.txt",
        *[(sha(u), song(s), u + s) for u in (1, 2, 3) for s in (1, 2, 3, 4)],
        (sha(1), song(5), 1),
    )
    lines(
        folder / "taste_profile_song_to_tracks.txt",
        *[(song(1), track(1), track(11)), (song(2), track(2)), (song(3), track(3)), (song(5), "")],
    )
    lines(
        folder / "AdditionalFiles" / "unique_tracks.txt",
        *[
            (track(t), song(s), f"Artist {t}", f"Sông {t}")
            for t, s in ((1, 1), (11, 1), (2, 2), (3, 3), (4, 4))
        ],
        separator="<SEP>",
    )
    for name, start, pairs in (
        ("sid_mismatches.txt", "ERROR:", [(1, 1), (2, 2), (3, 3)]),
        ("sid_matches_manually_accepted.txt", "< ERROR:", [(3, 3)]),
    ):
        rows = [(f"{start} <{song(s)} {track(t)}> A  -  B  !=  C  -  D",) for s, t in pairs]
        lines(folder / name, ("938c938",), *rows)
    tags(
        folder / "lastfm_tags.db",
        {track(1): {"wrong": 100}, track(11): {"rock": 100, "pop": 5}, track(3): {"jazz": 50}},
    )
    for name in (f"{track(3)}.wav", f"{track(4)}.clip.wav", f"{track(1)}.wav", "readme.wav"):
        clip(folder / "clips" / name[2] / name)


def tags(path, of_tracks):
    names = sorted({tag for weights in of_tracks.values() for tag in weights})
    database = sqlite3.connect(path)
    with database:
        database.executescript(
            "CREATE TABLE tags (tag TEXT); CREATE TABLE tids (tid TEXT);"
            "CREATE TABLE tid_tag (tid INT, tag INT, val FLOAT)"
        )
        database.executemany("INSERT INTO tags VALUES (?)", [(name,) for name in names])
        for place, (tid, weights) in enumerate(of_tracks.items(), start=1):
            database.execute("INSERT INTO tids VALUES (?)", (tid,))
            for tag, weight in weights.items():
                row = (place, names.index(tag) + 1, weight)
                database.execute("INSERT INTO tid_tag VALUES (?, ?, ?)", row)
    database.close()


TEST_FROM = 25_913_600


def yambda(folder, n_dims=4):
    """Item 1 is known, 2 is new on the last day, 3 is played in the gap alone, 4 never for long."""
    rows = [
        *[(10, 1, 100, 100), (10, 1, 200, 50), (20, 1, 300, 49), (20, 1, TEST_FROM - 1805, 99)],
        *[(10, 2, TEST_FROM, 130), (20, 2, TEST_FROM + 5, 60), (20, 1, TEST_FROM + 5, 60)],
        *[(10, 3, TEST_FROM - 1800, 90), (10, 3, TEST_FROM - 5, 90), (20, 4, 5, 10)],
    ]
    users, items, times, ratios = (np.array(column, np.uint32) for column in zip(*rows, strict=True))
    events = {"uid": users, "timestamp": times, "item_id": items, "is_organic": np.ones(len(rows), np.uint8)}
    events |= {"played_ratio_pct": ratios.astype(np.uint16), "track_length_seconds": users}
    folder.mkdir(parents=True)
    pq.write_table(pa.table(events), folder / "listens.parquet")
    vectors = np.arange(5 * n_dims, dtype=np.float64).reshape(5, -1)
    embeddings = {"item_id": np.arange(5, dtype=np.uint32), "embed": (vectors * 2).tolist()}
    pq.write_table(
        pa.table({**embeddings, "normalized_embed": vectors.tolist()}), folder / "embeddings.parquet"
    )
    artists = {"artist_id": np.array([7, 8, 7], np.uint32), "item_id": np.array([1, 1, 2], np.uint32)}
    pq.write_table(pa.table(artists), folder / "artist_item_mapping.parquet")
    return vectors


def music4all(folder):
    lines(
        folder / "listening_history.csv",
        *[("user", "song", "timestamp"), ("user_1", "aB1", "2019-02-20 12:28")],
        *[("user_1", "aB1", "2019-02-20 12:40"), ("user_2", "cD2", "2019-01-01 00:00")],
    )
    lines(
        folder / "id_information.csv",
        *[("id", "artist", "song", "album_name"), ("aB1", '"Weird Al"', "Fat, fatter", "Even Worse")],
        *[("cD2", "Nina", "Sinnerman", "Pastel Blues"), ("zZ9", "Nobody", "Unheard", "")],
    )
    lines(folder / "id_tags.csv", ("id", "tags"), ("aB1", "funny,80s, parody"), ("zZ9", "silent"))
    lines(
        folder / "id_metadata.csv",
        *[("id", "spotify_id", "popularity", "release", "danceability")],
        *[("aB1", "x", "31.0", "1988", "0.5"), ("cD2", "y", "60.0", "1965", "0.4")],
    )
    for name in ("aB1", "zZ9"):
        clip(folder / "audios" / f"{name}.wav")


MBID = "af8e4cc5-ef54-458d-a194-7b210acf638f"


def lastfm360k(folder):
    lines(
        folder / "usersha1-artmbid-artname-plays.tsv",
        *[(sha(1), MBID, "cannibal corpse", 48), (sha(2), MBID, "Cannibal Corpse", " 3")],
        *[(sha(1), "", 'sigur "ros"', 31), ("sep 20, 2008", MBID, "cannibal corpse", 1), (sha(1), "", "", 7)],
    )


def hetrec2011(folder):
    lines(folder / "user_artists.dat", ("userID", "artistID", "weight"), (2, 51, 13883), (3, 52, 7))
    lines(
        folder / "artists.dat",
        *[("id", "name", "url", "pictureURL"), (51, "Duran Duran", "http", ""), (52, "Björk", "", "")],
    )
    lines(
        folder / "user_taggedartists.dat",
        *[("userID", "artistID", "tagID", "day", "month", "year"), (2, 52, 13, 1, 4, 2009)],
        *[(3, 52, 13, 1, 4, 2009), (3, 52, 14, 1, 4, 2009), (2, 999, 14, 1, 4, 2009)],
    )
    lines(folder / "tags.dat", ("tagID", "tagValue"), (13, "chill"), (14, "rêveur"), encoding="iso-8859-1")
