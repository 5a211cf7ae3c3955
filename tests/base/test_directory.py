"""Directories appear whole or not at all."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dcbmr.base.directory import new_directory, read_config, sole_writer, write_json
from dcbmr.errors import InputError


def write(path, *, text="x", **options):
    with new_directory(path, kind="thing", config={"colour": "red"}, **options) as new:
        (new / "part").write_text(text)


def test_what_is_written_is_read_back(tmp_path):
    write(tmp_path / "deep" / "thing")
    assert read_config(tmp_path / "deep" / "thing", kind="thing")["colour"] == "red"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["thing"]


def test_an_existing_output_is_refused_unless_overwritten(tmp_path):
    write(tmp_path / "thing")
    with pytest.raises(InputError, match="exists; give another output directory, or --overwrite"):
        write(tmp_path / "thing", text="new")
    assert (tmp_path / "thing" / "part").read_text() == "x"
    write(tmp_path / "thing", text="new", overwrite=True)
    assert (tmp_path / "thing" / "part").read_text() == "new"


def test_a_directory_of_another_kind_is_not_overwritten(tmp_path):
    write(tmp_path / "thing")
    message = "thing holds 'thing' and is not overwritten with 'other'"
    with (
        pytest.raises(InputError, match=message),
        new_directory(tmp_path / "thing", kind="other", config={}, overwrite=True),
    ):
        pytest.fail("the block was entered")
    assert (tmp_path / "thing" / "part").read_text() == "x"


def test_what_dcbmr_did_not_write_is_never_overwritten(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo").write_text("precious")
    with pytest.raises(InputError, match="not written by dcbmr"):
        write(tmp_path / "holiday", overwrite=True)
    assert (tmp_path / "holiday" / "photo").read_text() == "precious"


def test_an_error_on_the_way_leaves_the_old_one_and_nothing_else(tmp_path):
    write(tmp_path / "thing")
    with (
        pytest.raises(RuntimeError, match="stop"),
        new_directory(tmp_path / "thing", kind="thing", config={}, overwrite=True) as new,
    ):
        (new / "part").write_text("half")
        raise RuntimeError("stop")
    assert (tmp_path / "thing" / "part").read_text() == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


@pytest.mark.parametrize(
    "write",
    [
        "(new / 'part').write_bytes(bytes(1 << 20))",
        "save_file({'x': np.zeros(1 << 18, np.float32)}, new / 'part')",
    ],
)
def test_a_full_disk_leaves_nothing(tmp_path, write):
    """A limit on the size of files makes write(2) fail as a full disk does."""
    code = f"""
        import numpy as np
        from safetensors.numpy import save_file
        import resource, signal
        from pathlib import Path
        from dcbmr.base.directory import new_directory
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with new_directory(Path({str(tmp_path / "thing")!r}), kind="thing", config={{}}) as new:
            {write}
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "DcbmrError" in done.stderr
    assert "thing could not be written: " in done.stderr
    assert "ile too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_was_killed_while_its_config_was_written_is_as_good_as_empty(tmp_path):
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / ".config.json.partial").write_text("{")
    write(tmp_path / "thing", overwrite=True)
    assert [file.name for file in sorted((tmp_path / "thing").iterdir())] == ["config.json", "part"]


@pytest.mark.parametrize("is_between", [False, True])
def test_what_a_kill_left_is_tidied_up_by_the_next_writer(tmp_path, is_between):
    write(tmp_path / "thing")
    (tmp_path / "thing").rename(tmp_path / (".thing.7.old" if is_between else "thing"))
    for name in (".thing.7.partial", ".thing.7.partial.x", ".other.7.partial", "7.partial", ".thing.x.old"):
        (tmp_path / name).mkdir()
    with sole_writer(tmp_path / "thing"):
        assert (tmp_path / "thing" / "part").read_text() == "x"
    left = [".other.7.partial", ".thing.7.partial.x", ".thing.x.old", "7.partial", "thing"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_json(tmp_path / "b.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "has no config.json"),
        ("{", "is damaged"),
        (json.dumps({"kind": "thing"}), "is damaged: KeyError: 'format_version'"),
        (json.dumps({"kind": "other", "format_version": 1}), "holds 'other', not 'thing'"),
        (json.dumps({"kind": "thing", "format_version": 9}), "format_version is 9, this dcbmr reads 1"),
    ],
)
def test_what_is_no_such_directory_says_why(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path, kind="thing")


def test_another_version_of_a_known_kind_is_refused_with_what_makes_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "features", "format_version": 9}))
    cure = f"dcbmr featurize AUDIO -o {tmp_path} --overwrite makes it anew"
    with pytest.raises(InputError, match=cure):
        read_config(tmp_path, kind="features")


def test_a_missing_directory(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_config(tmp_path / "nowhere", kind="thing")


@pytest.mark.parametrize("n_renamed", [1, 2])
def test_stopped_while_the_old_makes_place_for_the_new(tmp_path, monkeypatch, n_renamed):
    def write(text):
        with new_directory(tmp_path / "d", kind="k", config={}, overwrite=True) as folder:
            (folder / "file").write_text(text)

    write("old")
    done = []

    def stop(path, target, rename=Path.rename):
        rename(path, target)
        done.append(path)
        if len(done) == n_renamed:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        write("new")
    monkeypatch.undo()
    assert (tmp_path / "d" / "file").read_text() == ("old" if n_renamed == 1 else "new")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
