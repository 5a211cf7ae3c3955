"""What people get wrong on the command line is answered in a line: what came, what was wanted, what to do."""

import json
import os

import pytest
from click.testing import CliRunner

from dcbmr import Factors, InputError, PlayCounts, WeightedALS
from dcbmr.base.directory import checkpoint_of, new_directory, sole_writer
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
    (here / "empty").mkdir()
    assert "empty is a folder without files; wanted files of plays" in mistake("split", "empty", "-o", "o")
    (here / "log.csv").write_text("user,song,ts\na,s,2024-01-31\n")
    assert "none of 1 rows counts: 1 from 2024-01-31 on" in mistake(
        "factorize", "log.csv", "-o", "o", "--until", "2024-01-31"
    )


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
    assert "empty.tsv is empty; wanted lines of song, artist and" in mistake(*split, "empty.tsv")
    message = mistake(*split, "others.tsv")
    assert "none of these 40 songs has one" in message
    assert "'song" in message
    assert "'other'" in message
    where = ("--factors", small_world / "factors", "--features", small_world / "features", "-o", "o")
    message = mistake("train", "--regressor", "linear", "--words", 16, *where, "--songs", "others.tsv")
    assert "the table of artists has no song to train on; it has ['other'], these are ['song" in message


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


OUTPUTS_OF_NOTHING = [
    ("split", "split", "nowhere.tsv"),
    ("factorize", "factors", "nowhere.tsv"),
    ("featurize", "features", "nowhere"),
    ("codebook", "codebook", "."),
    ("predict", "songs", "nowhere", "new.wav"),
    ("demo", "experiment", "--size", "small"),
    ("train", "model", "--regressor", "linear", "--factors", "nowhere", "--features", "nowhere"),
]


@pytest.mark.parametrize(("command", "kind", "words"), [(c, k, w) for c, k, *w in OUTPUTS_OF_NOTHING])
def test_an_output_of_another_kind_is_refused_before_anything_is_read(here, command, kind, words):
    with new_directory(here / "o", kind="thing", config={}):
        pass
    said = mistake(command, *words, "-o", "o", "--overwrite")
    assert said == f"o holds 'thing' and is not overwritten with {kind!r}; give another output directory"
    (here / "o" / "config.json").write_text("no JSON")
    said = mistake(command, *words, "-o", "o", "--overwrite")
    assert said == "o was not written by dcbmr and is not overwritten; give another output directory"


@pytest.mark.parametrize(("command", "words"), [(c, w) for c, _, *w in OUTPUTS_OF_NOTHING])
def test_an_output_that_another_process_writes_is_refused(here, command, words):
    with sole_writer(here / "o"):
        assert f"o is being written by another dcbmr (process {os.getpid()})" in mistake(
            command, *words, "-o", "o"
        )
    assert not list(here.iterdir())


def test_resume_of_what_is_finished_says_so(small_world, here):
    for name in ("features", "plays.tsv", "audio"):
        (here / name).symlink_to(small_world / name)
    train = ("train", "--regressor", "linear", "--words", "8", "--factors", "f", "--features", "features")
    for kind, *words in (("f", "factorize", "plays.tsv", "--factors", "4"), ("m", *train)):
        words = [*words, "-o", kind, "--resume"]
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, f"wrote {kind}" in done.output) == (0, True), done.output
        before = {path: path.stat().st_mtime_ns for path in (here / kind).rglob("*")}
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, done.output) == (0, f"{kind} is finished; nothing to resume\n")
        assert {path: path.stat().st_mtime_ns for path in (here / kind).rglob("*")} == before
        assert "exists; give another output directory, or --overwrite" in mistake(*words[:-1])
        assert "--resume and --overwrite exclude each other" in mistake(*words, "--overwrite")
    said = mistake("factorize", "plays.tsv", "--factors", "5", "-o", "f", "--resume")
    assert said == (
        "f is finished, and was made with other settings: n_factors is 4 (wanted 5); give the same settings, "
        "or --overwrite to make it anew"
    )
    assert "params.loss is none (wanted wpe)" in mistake(*train, "--loss", "wpe", "-o", "m", "--resume")
    assert "f holds 'factors' and is not overwritten with 'model'" in mistake(*train, "-o", "f", "--resume")
    done = CliRunner().invoke(cli, ["featurize", "audio", "-o", "features", "--resume"])
    assert (done.exit_code, "finished before; all 40 songs are there" in done.output) == (0, True)


def test_unfinished_work_is_neither_lost_nor_resumed_unasked(small_world, here):
    (here / "plays.tsv").symlink_to(small_world / "plays.tsv")
    words = ("factorize", "plays.tsv", "--factors", "4", "-o", "f")
    assert CliRunner().invoke(cli, words).exit_code == 0
    # As an interrupted command with --overwrite leaves it: the old factors, and what is to take their place.
    counts = PlayCounts.read("plays.tsv")
    WeightedALS(n_factors=4, n_iterations=2).fit(counts, checkpoint=checkpoint_of(here / "f"))
    assert mistake(*words) == "f was not finished; --resume continues it, --overwrite starts anew"
    done = CliRunner().invoke(cli, [*words, "--resume", "--iterations", "3"])
    assert "sweep 3" in done.output
    assert "sweep 2" not in done.output
    assert len(Factors.load("f").config["objective"]) == 3
    assert {path.name for path in here.iterdir()} == {"f", "plays.tsv"}


def test_what_does_not_exist_is_called_by_its_name(small_world, here):
    for name in ("features", "factors"):
        (here / name).symlink_to(small_world / name)
    train = (
        "train",
        "--regressor",
        "linear",
        "--words",
        "8",
        "--factors",
        "factors",
        "--features",
        "features",
    )
    assert CliRunner().invoke(cli, [*train, "-o", "m"]).exit_code == 0
    assert mistake("predict", "m", "nowhere.wav").startswith(
        "nowhere.wav does not exist; wanted an audio file"
    )
    said = mistake("predict", "m", "nowhere")
    assert said == "nowhere does not exist; wanted an audio file, or a folder or a manifest of them"


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
    from dcbmr.experiment.demo import demo_config
    from dcbmr.experiment.experiment import VERSION

    header = {"kind": "experiment", "format_version": VERSION, "dcbmr_version": "0"}
    config = {**header, **demo_config("small").as_dict()}
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


def test_the_list_of_commands_is_not_cut_off():
    assert "..." not in CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")[2]


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_has_an_example(command):
    said = CliRunner().invoke(cli, [command, "--help"]).output
    assert f"Example:  dcbmr {command}" in said
    # Every option says what it is for.
    assert all(option.help for option in cli.commands[command].params if option.param_type_name == "option")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("split plays.tsv -o /", "/ cannot be written: it is the root of the file system"),
        ("split plays.tsv -o {long}", "{long} cannot be written: File name too long"),
        ("split plays.tsv -o /proc/new", "/proc/new cannot be written: No such file or directory"),
        (
            "split plays.tsv -o plays.tsv --overwrite",
            "plays.tsv was not written by dcbmr and is not overwritten; give another output directory",
        ),
        ("factorize plays.tsv -o o --alpha nan", "alpha must be a positive number; got nan"),
        (
            "codebook nowhere -o o",
            "nowhere does not exist; wanted a folder of audio, an audio file or a manifest",
        ),
        ("codebook empty -o o", "empty holds no audio: it holds no files"),
        (
            "codebook empty -o o --without nowhere",
            "nowhere cannot be read: No such file or directory; wanted a list of songs, one a line",
        ),
        ("codebook empty -o o --without empty", "empty cannot be read: Is a directory; wanted a list"),
        (
            "tags plays.tsv --factors f --plot tags.xyz",
            "the plot cannot be written to tags.xyz: it must end in .png, .svg or .pdf",
        ),
        (
            "tags plays.tsv --factors f --plot plays.tsv/x.png",
            "the plot cannot be written to plays.tsv/x.png: plays.tsv is no directory",
        ),
    ],
)
def test_wrong_words_are_answered_in_a_line_before_the_work(here, capsys, words, said):
    (here / "plays.tsv").write_text("a\ts\t1\n")
    (here / "empty").mkdir()
    long = "x" * 250  # with what is put beside it, too long for the disk
    with pytest.raises(SystemExit) as ended:
        main(words.format(long=long).split())
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"dcbmr: {said.format(long=long)}")
    assert {path.name for path in here.iterdir()} == {"plays.tsv", "empty"}
