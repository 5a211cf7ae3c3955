"""Names of songs and bars, as similar, recommend, explain, evaluate and compare show them on a terminal."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from scipy.sparse import csr_array
from terminal import lines_of, on_terminal

import dcbmr
from dcbmr.cli import cli

BLOCKS = "█▏▎▍▌▋▊▉▐▕"
TITLES = {
    "plain": "So What",
    "wide": "東京は夜の七時 東京は夜の七時",
    "emoji": "🎵 five stars ⭐",
    "right": "شارع الحمرا في بيروت القديمة",
    "long": "so long " * 40,
    "colours": "\x1b[31mred\x1b[0m",
    "window": "\x1b]0;owned\x07",
    "back": "\x9b2J\b\b\x7f",
    "turned": "\u202egnp.exe",
    "markup": "[bold]not bold[/bold] <b>",
}


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Factors, and a split, of songs with titles of many kinds, which they remember; no table beside them."""
    root = tmp_path_factory.mktemp("named")
    songs = list(TITLES)
    rng = np.random.default_rng(2)
    counts = csr_array(rng.integers(0, 4, (30, len(songs))))
    plays = dcbmr.PlayCounts([f"u{i}" for i in range(30)], songs, counts)
    plays.write_parquet(root / "plays.parquet")
    pairs = ([song, f"Artist {i % 3}", title] for i, (song, title) in enumerate(TITLES.items()))
    lines = ["\t".join(row) for row in [["song", "artist", "title"], *pairs]]
    (root / "songs.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    words = ("--songs", root / "songs.tsv", "--by", "play", "--fraction", "0.1")
    run("split", root / "plays.parquet", *words, "-o", root / "split")
    run("factorize", root / "split", "-o", root / "factors", "--factors", "3", "--iterations", "3")
    (root / "songs.tsv").rename(root / "elsewhere.tsv")
    return root


@pytest.fixture
def _inside(named, monkeypatch):
    monkeypatch.chdir(named)


def run(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result


SIMILAR = ("similar", "factors", "--song", "plain")


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize("columns", [80, 50, 120])
def test_a_table_fits_the_terminal_with_any_title(columns):
    written, _ = on_terminal(*SIMILAR, columns=columns)
    title, header, rule, *rows = lines_of(written)
    assert title == "songs like plain (Artist 0 - So What)"
    assert header.split()[:5] == ["rank", "song", "artist", "title", "score"]
    assert {row.split()[1] for row in rows} == TITLES.keys() - {"plain"}
    assert all(cell_len(line) <= columns for line in [title, header, rule, *rows])
    # Figures stand in their column after titles of any script: their ends are a dot and five digits.
    ends = {cell_len(row[: row.index("0.")]) if "0." in row else None for row in rows if "-0." not in row}
    assert len(ends) == 1
    assert "not bold" in written or columns == 50
    assert "[bold]" in written
    long = next(row for row in rows if "long" in row)
    assert "…" in long
    assert (any(block in written for block in BLOCKS)) == (columns >= 80)


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize("more", [(), ("--tsv", "--songs", "elsewhere.tsv"), ("--json",)])
def test_titles_do_not_command_the_terminal(more):
    written, _ = on_terminal(*SIMILAR, *more, columns=100)
    text = "\n".join(lines_of(written))
    assert not set(text) & set("\x1b\x07\x08\x7f\x9b\u202e")
    assert ("␛[31mred␛[0m" in text) == ("--json" not in more)
    right = next(line for line in text.splitlines() if TITLES["right"][:5] in line)
    assert ("\N{LEFT-TO-RIGHT MARK}" in right) == (not more), "else it takes the figures along"


@pytest.mark.usefixtures("_inside")
def test_errors_do_not_command_the_terminal_either():
    wrong = CliRunner().invoke(cli, ["similar", "factors", "--song", "\x1b[31mred"])
    assert isinstance(wrong.exception, dcbmr.InputError)
    assert "did you mean colours (Artist 2 - ␛[31mred␛[0m)?" in str(wrong.exception)


@pytest.mark.usefixtures("_inside")
def test_what_is_piped_has_whole_titles_and_no_bars():
    shown = run(*SIMILAR, "--song", "wide").stdout
    assert not set(shown) & set(BLOCKS)
    assert "so long so long" in shown
    rows = json.loads(run(*SIMILAR, "--json").stdout)
    assert [*rows[0]] == ["to", "called", "rank", "song", "artist", "title", "score"]
    assert {row["song"]: row["title"] for row in rows} == {s: t for s, t in TITLES.items() if s != "plain"}
    header, *_ = run(*SIMILAR, "--tsv").stdout.splitlines()
    assert header.split("\t") == ["to", "rank", "song", "score"], "TSV has the columns that were asked for"


@pytest.mark.usefixtures("_inside")
def test_a_table_that_is_given_wins(tmp_path):
    (tmp_path / "songs.tsv").write_text("song\ttitle\nwide\tTokyo at seven\n")
    words = (*SIMILAR, "--songs", tmp_path / "songs.tsv", "--json")
    named = {row["song"]: (row["artist"], row["title"]) for row in json.loads(run(*words).stdout)}
    assert named["wide"] == ("Artist 1", "Tokyo at seven")
    assert named["markup"] == ("Artist 0", TITLES["markup"])


@pytest.mark.usefixtures("_inside")
def test_reasons_stand_below_their_song():
    written, _ = on_terminal("recommend", "factors", "--user", "u1", "--why", "-k", 2, columns=100)
    title, header, _, *rows = lines_of(written)
    assert title == "songs for u1"
    assert header.split()[-1] == "alike"
    assert [row.split()[0] for row in rows if not row.startswith("   ")] == ["1", "because", "2", "because"]
    assert len(rows) == 8
    assert rows[0].count("█") > rows[1].count("█"), "a part of a score is shown as one"
    whole = json.loads(run("recommend", "factors", "--user", "u1", "--why", "-k", 2, "--json").stdout)
    assert [*whole[0]] == [
        *("user", "rank", "song", "artist", "title", "score"),
        *("because", "called", "part", "alike"),
    ]
    assert f"{whole[0]['part']:.5f}" in rows[1]


@pytest.mark.usefixtures("_inside")
def test_a_list_for_each_user_on_a_terminal():
    words = ("recommend", "factors", "--user", "u1", "--user", "u2", "-k", 2)
    written, _ = on_terminal(*words)
    titles = [line for line in lines_of(written) if line.startswith("songs")]
    assert titles == ["songs for u1", "songs for u2"]
    assert "songs for" not in run(*words).stdout
    one_each, _ = on_terminal(*words[:-1], 1)
    assert lines_of(one_each)[0].split()[:2] == ["user", "rank"]


@pytest.mark.usefixtures("_inside")
def test_bars_of_terminals_that_have_no_blocks():
    for env in ({"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}):
        written, _ = on_terminal(*SIMILAR, **env)
        assert "####" in written
        assert written.isascii() or env == {"TERM": "dumb"}
        assert "..." in next(line for line in lines_of(written) if "so long" in line)
    uncoloured, _ = on_terminal(*SIMILAR, NO_COLOR="1")
    assert any(block in uncoloured for block in BLOCKS), "bars need no colour"


@pytest.mark.usefixtures("_inside")
def test_evaluations_have_bars_with_their_intervals(tmp_path):
    words = ("evaluate", "factors", "--split", "split", "--resamples", "100", "-o", tmp_path / "kept")
    written, _ = on_terminal(*words)
    rows = {line.split()[0]: line for line in lines_of(written)}
    assert "●" in rows["factors"]
    assert "├" in rows["factors"] or "┤" in rows["factors"]
    narrow, _ = on_terminal("compare", tmp_path / "kept", columns=40)
    assert all(cell_len(line) <= 40 for line in lines_of(narrow)[:4])
    compared, _ = on_terminal("compare", tmp_path / "kept")
    assert "●" in compared
    assert "●" not in run("compare", tmp_path / "kept").stdout


@pytest.mark.usefixtures("_inside")
def test_columns_that_have_no_room_are_named():
    written, said = on_terminal(*SIMILAR, columns=30)
    assert "artist" not in lines_of(written)[1]
    assert "not shown, the terminal being narrow: artist" in written + said


@pytest.mark.usefixtures("_inside")
def test_artists_that_are_remembered_count(tmp_path):
    words = ("recommend", "factors", "--user", "u1", "--candidates", "all", "--max-per-artist", 1)
    rows = json.loads(run(*words, "--json").stdout)
    assert sorted(row["artist"] for row in rows) == ["Artist 0", "Artist 1", "Artist 2"]
    run("factorize", "plays.parquet", "-o", tmp_path / "nameless", "--factors", "2", "--iterations", "1")
    wrong = CliRunner().invoke(
        cli, ["recommend", str(tmp_path / "nameless"), "--all-users", "--max-per-artist", "1"]
    )
    assert wrong.exit_code == 2
    assert "knows no artists" in wrong.stderr
    words = ("factorize", "plays.parquet", "--songs", "elsewhere.tsv", "--factors", "2", "--iterations", "1")
    run(*words, "-o", tmp_path / "named")
    assert dcbmr.Factors.load(tmp_path / "named").titles == TITLES


def test_models_remember_the_table_they_were_trained_with(small_world, tmp_path):
    words = ("--factors", small_world / "factors", "--features", small_world / "features", "--words", "16")
    named = ("--songs", small_world / "songs.tsv")
    run("train", "--regressor", "linear", *words, *named, "-o", tmp_path / "model")
    song = dcbmr.Factors.load(small_world / "factors").song_ids[0]
    found = json.loads(run("similar", tmp_path / "model", "--song", song, "-k", 1, "--json").stdout)
    assert found[0]["title"] == f"Title of {found[0]['song']}"
    # The factors of that world have artists alone: their split was told no titles.
    assert dcbmr.Factors.load(small_world / "factors").titles is None
    assert dcbmr.Model.load(tmp_path / "model").factors.songs.called("song03").endswith("Title of song03")
