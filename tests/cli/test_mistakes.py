"""What people get wrong on the command line is answered in a line: what came, what was wanted, what to do."""

import json
import os

import pytest
from click.testing import CliRunner

from dcbmr import InputError
from dcbmr.cli import cli, main


def mistake(*words):
    """Return the message of the InputError that a command ends with."""
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_plays_of_zero_are_none(here):
    (here / "zeros.tsv").write_text("a\ts\t0\nb\tt\t0\n")
    assert mistake("factorize", "zeros.tsv", "-o", "o") == "zeros.tsv holds no plays: every count is 0"
    assert "is no file, but a directory; wanted plays" in mistake("split", ".", "-o", "o")


@pytest.mark.parametrize(
    "words", [("codebook", "features", "--without"), ("tags", "tags.tsv", "--factors", "factors", "--only")]
)
def test_lists_of_songs(small_world, here, words):
    (here / "tags.tsv").write_text("".join(f"song{i:02d}\tloud\n" for i in range(0, 40, 2)))
    for name in ("features", "factors"):
        (here / name).symlink_to(small_world / name)
    (here / "latin.txt").write_bytes("sóng".encode("latin-1"))
    output = ("-o", "o", "--words", "4") if words[0] == "codebook" else ()
    assert "latin.txt is no text in UTF-8" in mistake(*words, "latin.txt", *output)
    # As Windows would write it.
    (here / "list.txt").write_bytes(b"\xef\xbb\xbfsong00\r\nsong01\r\n")
    done = CliRunner().invoke(cli, [*words, "list.txt", *output])
    assert done.exit_code == 0, done.output
    said = "of 38 songs" if words[0] == "codebook" else "1 songs with tags"
    assert said in done.output


def test_tables_of_songs_that_do_not_fit(small_world, here):
    (here / "empty.tsv").touch()
    (here / "others.tsv").write_text("other\tsomebody\n")
    split = ("split", small_world / "plays.tsv", "-o", "o", "--by", "artist", "--songs")
    assert "empty.tsv is empty; wanted lines of song, artist and title" in mistake(*split, "empty.tsv")
    message = mistake(*split, "others.tsv")
    assert "none of these 40 songs has one" in message
    assert "'song" in message
    assert "'other'" in message
    where = ("--factors", small_world / "factors", "--features", small_world / "features", "-o", "o")
    message = mistake("train", "--regressor", "linear", "--words", 16, *where, "--songs", "others.tsv")
    assert "others.tsv names no artist of a song to train on; these are ['song" in message


OUTPUTS = [
    ("codebook", "features", "--words", "4"),
    ("factorize", "plays.tsv"),
    ("split", "plays.tsv"),
    ("demo", "--size", "small"),
    ("train", "--regressor", "linear", "--factors", "factors", "--features", "features"),
]


@pytest.mark.parametrize("words", OUTPUTS, ids=lambda words: words[0])
def test_where_nothing_can_be_written_is_said_before_the_work(small_world, here, monkeypatch, words):
    for name in ("features", "factors", "plays.tsv"):
        (here / name).symlink_to(small_world / name)
    (here / "file").touch()
    message = mistake(*words, "-o", "file/within/o")
    assert message == f"file/within/o cannot be written: {here / 'file'} is no directory"
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert mistake(*words, "-o", "o") == f"o cannot be written: {here} is read-only"
    assert not list(here.glob("*o*.partial"))


def test_a_directory_of_another_kind(small_world):
    said = mistake("similar", small_world / "split", "--song", "song00")
    assert (
        said == f"{small_world / 'split'} holds 'split'; wanted what `dcbmr train` or `dcbmr factorize` wrote"
    )
    assert "is a file" in mistake("similar", small_world / "plays.tsv", "--song", "song00")


def test_an_unknown_id_shows_a_known_one(small_world):
    said = mistake("similar", small_world / "factors", "--song", "Für Elise")
    assert said.startswith("unknown song 'Für Elise' (there are 32); an id looks like 'song")


def test_a_demo_of_other_settings_names_what_differs(here):
    (here / "demo").mkdir()
    header = {"kind": "experiment", "format_version": 1, "dcbmr_version": "0"}
    from dataclasses import asdict

    from dcbmr.experiment.experiment import demo_settings

    world, settings = demo_settings("small")
    config = {**header, "world": asdict(world), **asdict(settings)}
    (here / "demo" / "config.json").write_text(json.dumps(config))
    said = mistake("demo", "-o", "demo", "--size", "small", "--resume", "--share", "0.25")
    assert said.startswith("demo was begun with other settings: world.share is 0.5 (wanted 0.25); give")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "some/where"), "dcbmr: some/where: Permission denied"),
        (MemoryError("Unable to allocate 74.5 GiB"), "dcbmr: the memory does not suffice: Unable to"),
        (OSError("out of order"), "dcbmr: out of order"),
    ],
)
def test_what_the_system_refuses_is_said_in_a_line(monkeypatch, capsys, error, said):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(cli, "main", refuse)
    with pytest.raises(SystemExit) as ended:
        main(["split"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["train"], "interrupted; --resume continues\n"), (["--debug", "evaluate"], "interrupted\n")],
)
def test_ctrl_c_says_what_continues(monkeypatch, capsys, words, said):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert (ended.value.code, capsys.readouterr().err) == (130, said)


def test_the_list_of_commands_is_not_cut_off():
    assert "..." not in CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")[2]


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_has_an_example(command):
    said = CliRunner().invoke(cli, [command, "--help"]).output
    assert f"Example:  dcbmr {command}" in said
    # Every option says what it is for.
    assert all(option.help for option in cli.commands[command].params if option.param_type_name == "option")
