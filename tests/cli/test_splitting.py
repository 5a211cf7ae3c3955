"""``dcbmr split`` by date and by list, and what belongs to which."""

import pytest
from click.testing import CliRunner

from dcbmr.cli import cli
from dcbmr.plays.split import Split

SONGS = "song\tartist\ttitle\tdate\na\tx\t\t2010\nb\tx\t\t2012-06-02\nc\ty\t\t2011-01-01\nd\ty\t\t2013\n"
LOG = "user\tsong\ttime\n" + "".join(
    f"u{n}\t{song}\t{day}T12:00:00\n"
    for n in range(3)
    for song, day in (("a", "2013-01-01"), ("b", "2010-05-05"), ("c", "2013-02-01"), ("d", "2010-01-01"))
)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "songs.tsv").write_text(SONGS)
    (tmp_path / "log.tsv").write_text(LOG)
    (tmp_path / "test.txt").write_text("b\r\nc\r\n")  # as an editor on Windows leaves it


def split(*words):
    return CliRunner().invoke(cli, ["split", "log.tsv", "-o", "s", *words])


@pytest.mark.parametrize(
    ("words", "heldout"),
    [
        ("--by time --after 2012-06-01 --songs songs.tsv", ["b", "d"]),
        ("--by time --after 2012-06-01", ["a", "c"]),  # by their first plays
        ("--by time --after 2012-06-01 --songs songs.tsv --dates plays", ["a", "c"]),
        ("--by list --heldout test.txt", ["b", "c"]),
    ],
)
def test_songs_are_held_out_by_date_and_by_list(words, heldout):
    done = split(*words.split())
    assert done.exit_code == 0, done.output + str(done.exception)
    found = Split.load("s")
    assert sorted(found.heldout_songs) == heldout
    assert found.by == words.split()[1]
    assert (found.artists is not None) == ("--songs" in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--by time", "--by time needs --after DATE"),
        ("--by list", "--by list needs --heldout FILE"),
        ("--by time --after June", "'June' does not match the format"),
        ("--by time --after 2012-06-01 --fraction 0.1", "--fraction is for --by song or artist or play"),
        ("--after 2012-06-01", "--after is for --by time, and this is --by song"),
        ("--by time --after 2012-06-01 --dates songs", "--dates songs needs --songs"),
        ("--by time --after 2020-01-01", "no songs with plays are later than 2020-01-01; they are from 2010"),
        ("--by list --heldout none.txt", "none.txt cannot be read: No such file or directory"),
        ("--by list --heldout songs.tsv", "0 of 5 songs of the list have plays"),
    ],
)
def test_what_does_not_go_together_is_named(words, said):
    done = split(*words.split())
    assert done.exit_code
    assert said in " ".join(f"{done.output} {done.exception}".split())
