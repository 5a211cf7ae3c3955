"""Logs as services keep them: a row is a play, of some time and length, in any number of files."""

import io
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import as_dict, write

from dcbmr import InputError, PlayCounts
from dcbmr.plays import delimited, sums
from dcbmr.plays.first_played import first_played
from dcbmr.plays.times import as_moment, moments_of

DAY = 86400
MIDNIGHT = 1_704_067_200  # 2024-01-01, UTC
PLAYED = [("ann", "naima", 0), ("bob", "naima", DAY), ("ann", "naima", 2 * DAY), ("ann", "so what", 2 * DAY)]
WANTED = {("ann", "naima"): 2, ("bob", "naima"): 1, ("ann", "so what"): 1}
LATE = {("ann", "naima"): 1, ("bob", "naima"): 1, ("ann", "so what"): 1}


def iso(seconds, form="%Y-%m-%d %H:%M:%S"):
    return (datetime(2024, 1, 1) + timedelta(seconds=seconds)).strftime(form)


SPELLINGS = {
    "seconds": lambda t: str(MIDNIGHT + t),
    "milliseconds": lambda t: str((MIDNIGHT + t) * 1000),
    "fractions": lambda t: f"{MIDNIGHT + t}.25",
    "date": lambda t: iso(t, "%Y-%m-%d"),
    "minutes": lambda t: iso(t, "%Y-%m-%d %H:%M"),
    "iso": lambda t: iso(t, "%Y-%m-%dT%H:%M:%S"),
    "zulu": lambda t: iso(t, "%Y-%m-%dT%H:%M:%SZ"),
    "zone": lambda t: iso(t + 2 * 3600, "%Y-%m-%dT%H:%M:%S.5+02:00"),
    "mixed": lambda t: iso(t, "%Y-%m-%d %H:%M") + ("Z" if t else ""),
}


def lines(spelling, header="user,song,played_at\n"):
    return header + "".join(f"{u},{s},{SPELLINGS[spelling](t)}\n" for u, s, t in PLAYED)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_row_is_a_play_of_its_time(tmp_path, spelling):
    path = write(tmp_path / "log.csv", lines(spelling))
    assert as_dict(PlayCounts.read(path)) == WANTED
    for since in ("2024-01-01T12:00", "2024-01-02T02:00+02:00", "2024-01-02", date(2024, 1, 2)):
        assert as_dict(PlayCounts.read(path, since=since)) == LATE
    assert as_dict(PlayCounts.read(path, since=(MIDNIGHT + DAY) * 1000)) == LATE
    assert as_dict(PlayCounts.read(path, since=MIDNIGHT + DAY, until=str(MIDNIGHT + 2 * DAY))) == {
        ("bob", "naima"): 1
    }


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ms"), pa.timestamp("ns", "Europe/Paris"), pa.date32(), pa.int64(), pa.string()]
)
def test_times_of_parquet(tmp_path, kind):
    users, songs, times = zip(*PLAYED, strict=True)
    moments = pa.array([datetime(2024, 1, 1) + timedelta(seconds=t) for t in times])
    if kind == pa.int64():
        moments = moments.cast(kind)
    elif kind == pa.timestamp("ns", "Europe/Paris"):
        moments = moments.cast(pa.timestamp("us", "UTC")).cast(kind)
    else:
        moments = moments.cast(kind)
    pq.write_table(
        pa.table({"is_organic": [1] * 4, "ts": moments, "uid": users, "item_id": songs}), tmp_path / "p"
    )
    assert as_dict(PlayCounts.read(tmp_path / "p")) == WANTED
    assert as_dict(PlayCounts.read(tmp_path / "p", since="2024-01-02")) == LATE


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("when,who,what\n", "who,what,time=when"),
        ("when,who,what\n", "time=when,song=what,user=who"),
        ("when,who,what\n", "2,3,time=1"),
        ("", "2,3,time=1"),
        ("", ["2", "3", "time=1"]),
    ],
)
def test_columns_are_named_by_what_they_hold(tmp_path, header, columns):
    path = write(tmp_path / "log.csv", header + "".join(f"{iso(t)},{u},{s}\n" for u, s, t in PLAYED))
    assert as_dict(PlayCounts.read(path, columns=columns)) == WANTED
    assert as_dict(PlayCounts.read(path, columns=columns, since="2024-01-02")) == LATE


def test_rows_of_nothing_but_user_and_song(tmp_path):
    rows = "".join(f"{u}\t{s}\n" for u, s, _ in PLAYED)
    assert as_dict(PlayCounts.read(write(tmp_path / "p.tsv", "song_id\tuser\n" + rows))) == {
        (s, u): n for (u, s), n in WANTED.items()
    }
    assert as_dict(PlayCounts.read(write(tmp_path / "p.tsv", rows), columns="1,2")) == WANTED


def test_a_count_is_a_count_beside_a_time(tmp_path):
    text = "user,song,ts,plays\n" + "".join(f"{u},{s},{MIDNIGHT + t},3\n" for u, s, t in PLAYED)
    path = write(tmp_path / "p.csv", text)
    assert as_dict(PlayCounts.read(path)) == {pair: 3 * n for pair, n in WANTED.items()}
    assert as_dict(PlayCounts.read(path, since="2024-01-02")) == dict.fromkeys(LATE, 3)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("seconds", 1), ("ms_played", 1000), ("msPlayed", 1000), ("played_ms", 1000), ("items", 1)],
)
def test_short_plays_do_not_count(tmp_path, name, scale):
    rows = [("ann", "naima", 30), ("ann", "naima", 29.5), ("bob", "naima", 5), ("ann", "so what", "")]
    text = f"user,song,ts,{name}\n"
    text += "".join(f"{u},{s},1,{n * scale if n else n}\n" for u, s, n in rows)
    path = write(tmp_path / "p.csv", text)
    columns = f"user,song,seconds={name}" if name == "items" else None
    told = {}

    def progress(stage, step, n_steps, figures):
        told.update(figures, step=step)

    plays = PlayCounts.read(path, columns=columns, min_seconds=30, progress=progress)
    assert as_dict(plays) == {("ann", "naima"): 1}
    assert list(plays.song_ids) == ["naima"], "nobody is numbered who has only rows that do not count"
    assert told == {"without seconds played": 1, "shorter than 30 s": 2, "step": 4}
    pq.write_table(pa.table({"user": ["a", "b"], "song": ["s", "s"], name: [1 * scale, 2 * scale]}), path)
    assert as_dict(PlayCounts.read(path, columns=f"user,song,seconds={name}", min_seconds=2)) == {
        ("b", "s"): 1
    }


def test_files_folders_and_parts_are_one_log(tmp_path):
    folder = tmp_path / "log"
    (folder / "day=2").mkdir(parents=True)
    write(folder / "a.csv.gz", "user,song,played_at\nann,naima,2024-01-01\n")
    write(folder / "b.tsv", "played_at\tsong\tuser\n2024-01-02\tnaima\tbob\n")
    pq.write_table(
        pa.table({"user": ["ann", "ann"], "song": ["naima", "so what"], "ts": [MIDNIGHT + 2 * DAY] * 2}),
        folder / "day=2" / "part-0",
    )
    for name in ("_SUCCESS", ".b.tsv.crc"):
        write(folder / name, "no plays")
    write(folder / "day=2" / "part-1", "")
    assert as_dict(PlayCounts.read(folder)) == WANTED
    assert as_dict(PlayCounts.read(folder, since="2024-01-02")) == LATE
    files = [folder / "day=2", str(folder / "b.tsv"), folder / "a.csv.gz"]
    assert as_dict(PlayCounts.read(files)) == WANTED
    assert list(PlayCounts.read(files).user_ids) == ["ann", "bob"]
    write(folder / "README", "what this is")
    with pytest.raises(InputError, match="README has one column"):
        PlayCounts.read(folder)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".parquet"])
def test_standard_input(tmp_path, monkeypatch, ending):
    path = write(tmp_path / f"p{ending}", lines("iso"))
    if ending == ".parquet":
        PlayCounts.read(path).write_parquet(path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert as_dict(PlayCounts.read("-")) == WANTED


def test_errors_of_standard_input_call_it_so():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dcbmr", "factorize", "-", "-o", "f"],
        input="ann\tnaima\t1\nbob\tnaima\tmany\n",
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert done.stderr == "dcbmr: standard input, line 2: the count 'many' is not a number\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "user,song,ts\na,b,2024-01-01\na,b,31/12/2023\n",
            {"since": 0},
            r"line 3: the time '31/12/2023' is none; wanted a date \(2024-01-31\)",
        ),
        ("user,song,ts\na,b,2024-13-01\n", {"until": "2024-01-01"}, "line 2: the time '2024-13-01' is none"),
        ("user,song,ts\na,b,inf\n", {"until": "2024-01-01"}, "line 2: the time 'inf' is none"),
        ("user,song,seconds\na,b,-3\n", {"min_seconds": 1}, "line 2: the seconds '-3' is negative"),
        ("user,song,sec\na,b,2:03\n", {"min_seconds": 1}, "line 2: the seconds '2:03' is not a number"),
        (
            "user,song,ts\na,b,0\na,b,\na,b,2024-01-01\n",
            {"since": "2025-01-01"},
            "none of 3 rows counts: 1 without a time, 2 before 2025-01-01, times are from 1970-01-01 to 2024",
        ),
        (
            "user,song,count\na,b,1\n",
            {"since": "2025-01-01"},
            "known to hold the time of each play; give --columns user,song,count,time=TIME ",
        ),
        (
            "user,song,ts\na,b,1\n",
            {"min_seconds": 1, "until": "2025-01-01"},
            "hold the seconds of each play; give --columns user,song,time=ts,seconds=SECONDS ",
        ),
        ("user,song,ts\n", {"since": "20240101"}, "since 20240101 may be a date or seconds since 1970"),
        ("user,song,ts\n", {"until": "yesterday"}, "until 'yesterday' is no time; wanted a date"),
        ("user,song,ts\n", {"since": 2e9, "until": 1e9}, "is not before until"),
        ("user,song,ts\n", {"min_seconds": -1}, "min_seconds must be a number of seconds from 0 up; got -1"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, options, message):
    path = write(tmp_path / "log.csv", text)
    with pytest.raises(InputError, match=message):
        PlayCounts.read(path, **options)


def test_what_dcbmr_wrote_is_no_folder_of_plays(tmp_path):
    (tmp_path / "config.json").write_text('{"kind": "factors"}')
    with pytest.raises(InputError, match="holds 'factors'; wanted files of plays"):
        PlayCounts.read(tmp_path)
    with pytest.raises(InputError, match="no files of plays were given"):
        PlayCounts.read([])


def test_blocks_of_any_size_sum_to_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 60, (30_000, 2))
    text = "user,song,ts\n" + "".join(f"u{u},s{s},{i}\n" for i, (u, s) in enumerate(drawn))
    path = write(tmp_path / "log.csv", text)
    whole = PlayCounts.read(path, since=1000)
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 2000)
    monkeypatch.setattr(sums, "_ROWS_ADDED", 500)
    parts = PlayCounts.read(path, since=1000)
    assert list(parts.user_ids) == list(whole.user_ids)
    assert list(parts.song_ids) == list(whole.song_ids)
    np.testing.assert_array_equal(parts.counts.toarray(), whole.counts.toarray())
    pairs, n_plays = np.unique(drawn[1000:], axis=0, return_counts=True)
    wanted = {(f"u{u}", f"s{s}"): n for (u, s), n in zip(pairs, n_plays, strict=True)}
    assert as_dict(whole) == wanted


@settings(deadline=None)
@given(st.datetimes(datetime(1985, 1, 1), datetime(2100, 1, 1)))
def test_one_moment_is_the_same_however_it_is_written(moment):
    exact = moment.replace(tzinfo=UTC)
    wanted = round((exact - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    west = exact.astimezone(timezone(timedelta(hours=-5))).isoformat()
    for text in (moment.isoformat(), moment.isoformat(" ") + "Z", west):
        assert abs(as_moment(text) - wanted) <= 1
        for others in ([], ["2024-01-01"], ["2024-01-01T00:00Z"]):
            assert abs(moments_of(pa.array([text, *others]))[0].as_py() - wanted) <= 1


def test_when_songs_were_first_played(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 30)
    rows = [*PLAYED[::-1], ("bob", "naima", "")]
    text = "user,song,ts\n" + "".join(f"{u},{s},{iso(t) if t != '' else t}\n" for u, s, t in rows)
    path = write(tmp_path / "log.csv", text)
    assert first_played(path) == {
        "naima": np.datetime64("2024-01-01"),
        "so what": np.datetime64("2024-01-03"),
    }
    assert first_played(path, since="2024-01-02")["naima"] == np.datetime64("2024-01-02")
    with pytest.raises(InputError, match="hold the time of each play; give --columns user,song,time=TIME"):
        first_played(write(tmp_path / "p.csv", "user,song\na,b\n"))


def test_columns_that_may_be_counts_are_not_passed_over(tmp_path):
    for name in ("total_plays", "weight_sum_total", "nStreams"):
        path = write(tmp_path / "p.csv", f"user,song,ts,{name}\na,b,{MIDNIGHT},3\n")
        with pytest.raises(InputError, match=rf"which is the count .*; give --columns user,song,{name} "):
            PlayCounts.read(path)
        assert as_dict(PlayCounts.read(path, columns="user,song")) == {("a", "b"): 1}


def test_an_unreadable_temporary_folder_is_said(monkeypatch, tmp_path):
    if os.name != "posix":
        pytest.skip("needs /dev/full")
    from dcbmr import DcbmrError
    from dcbmr.plays import sources

    full = tmp_path / "plays"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\tb\t1\n")))
    with pytest.raises(DcbmrError, match=r"standard input could not be kept in .*: No space left"):
        sources._kept(tmp_path)
