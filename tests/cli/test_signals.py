"""Ctrl-C and SIGTERM end a command in one line, whenever they come; the processes are real."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time

import pytest

from dcbmr.cli import main

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# What comes before, Python's own start, is not ours.
BEGUN = """
import sys
import dcbmr.__main__ as command
command.watch.begin()
print("begun", flush=True)
command.main()
"""


def start(*words, cwd):
    words = [sys.executable, "-c", BEGUN, *map(str, words)]
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def wait_for(path):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size):  # what holds a lock has written its process into it
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def wait_for_reader(fifo):
    """A line is taken out of it: what the command imports before it reads is imported."""
    os.write(fifo, b"\n")
    deadline = time.monotonic() + 60
    while any(fcntl.ioctl(fifo, termios.FIONREAD, bytes(4))):  # bytes that nobody has read
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def fifo(tmp_path):
    """A file that a command waits for: it has claimed its output, and has not begun its work."""
    os.mkfifo(tmp_path / "list.tsv")
    # Open at both ends, so that nobody waits for the other to open it.
    handle = os.open(tmp_path / "list.tsv", os.O_RDWR)
    yield handle
    os.close(handle)


RESUMABLE = ("featurize", "list.tsv", "-o")
PLAIN = ("codebook", ".", "--without", "list.tsv", "-o")


def silent_at(moments, number, tmp_path):
    plays = "".join(f"u{i % 997}\ts{i % 101}\t1\n" for i in range(100_000))
    (tmp_path / "plays.tsv").write_text(plays)
    for moment in moments:
        process = start("factorize", "plays.tsv", "-o", "f", "--iterations", 10**6, cwd=tmp_path)
        time.sleep(moment)
        process.send_signal(number)
        lines = process.communicate(timeout=60)[1].splitlines()
        assert process.returncode == STATUS[number], lines
        assert [line for line in lines if SAID[number] in line] == lines[-1:], lines
        assert not any("Traceback" in line or "ignored" in line for line in lines), lines
        # A command that had no time to hear of it, as on a busy machine, leaves a lock that nobody holds.
        left = {path.name for path in tmp_path.iterdir()} - {"plays.tsv", ".f.lock"}
        assert left == ({".f.checkpoint"} if lines[-1].endswith("--resume continues") else set())
        # The next one begins anew.
        for file in (tmp_path / ".f.checkpoint").glob("*"):
            file.unlink()
        if left:
            (tmp_path / ".f.checkpoint").rmdir()


@pytest.mark.parametrize("number", STATUS)
def test_one_line_while_everything_is_imported(tmp_path, number):
    silent_at([0.0, 0.05, 0.15, 0.3, 0.6], number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
def test_one_line_whenever_it_comes(tmp_path, number):
    silent_at([i * 0.02 for i in range(60)], number, tmp_path)


def test_one_that_comes_in_a_finalizer_is_not_lost():
    code = """
import os, signal, time
from dcbmr.base.signals import Stopped, watch
watch.begin()
watch.unwind()
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass
try:
    Last()
    time.sleep(60)
except Stopped:
    print("stopped")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("stopped\n", "")


@pytest.mark.parametrize("number", STATUS)
def test_a_long_import_is_not_waited_for(tmp_path, number):
    (tmp_path / "endless.py").write_text("print('begun', flush=True)\nwhile True: pass\n")
    code = """
import sys
from pathlib import Path
from dcbmr.base.directory import sole_writer
from dcbmr.base.signals import watch
watch.begin()
watch.unwind()
sys.path.insert(0, ".")
with sole_writer(Path("f")):
    import endless
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", f"{SAID[number]}\n")
    assert process.returncode == STATUS[number]
    assert not (tmp_path / ".f.lock").exists()


@pytest.mark.parametrize("number", STATUS)
def test_before_anything_is_kept_nothing_is_promised(tmp_path, fifo, number):
    process = start(*RESUMABLE, "new/f", cwd=tmp_path)
    wait_for(tmp_path / "new" / ".f.lock")
    wait_for_reader(fifo)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == f"{SAID[number]} before anything was kept\n"
    assert process.returncode == STATUS[number]
    assert [path.name for path in tmp_path.iterdir()] == ["list.tsv"]


def test_a_command_that_cannot_resume_promises_nothing(tmp_path, fifo):
    process = start(*PLAIN, "f", cwd=tmp_path)
    wait_for(tmp_path / ".f.lock")
    wait_for_reader(fifo)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "interrupted\n"


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, fifo):
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{BEGUN}"
    words = [sys.executable, "-c", code, *RESUMABLE, "f"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / ".f.lock")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.kill()
    process.communicate()


@pytest.mark.usefixtures("fifo")
def test_the_second_command_on_an_output_names_the_first(tmp_path):
    first = start(*PLAIN, "f", cwd=tmp_path)
    wait_for(tmp_path / ".f.lock")
    words = [sys.executable, "-m", "dcbmr", "split", "plays.tsv", "-o", "f"]
    (tmp_path / "plays.tsv").write_text("".join(f"u\ts{i}\t1\n" for i in range(10)))

    def second():
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    try:
        refused = second()
    finally:
        first.kill()
        first.communicate()
    assert refused.returncode == 2
    assert refused.stderr == (
        f"dcbmr: f is being written by another dcbmr (process {first.pid}); wait for its end, or give "
        "another output directory\n"
    )
    # The lock has died with its process.
    assert second().returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "list.tsv", "plays.tsv"]
    assert json.loads((tmp_path / "f" / "config.json").read_text())["kind"] == "split"


def test_python_m_dcbmr_is_dcbmr(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dcbmr", "split", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.startswith("Usage: dcbmr split [OPTIONS] PLAYS")


def test_a_program_that_calls_a_command_keeps_its_signals(tmp_path):
    (tmp_path / "plays.tsv").write_text("u\ts\t1\nu\tt\t2\n")
    before = [signal.getsignal(number) for number in STATUS]
    with pytest.raises(SystemExit, match="0"):
        main(["split", str(tmp_path / "plays.tsv"), "-o", str(tmp_path / "split")])
    assert [signal.getsignal(number) for number in STATUS] == before


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.skipif(sys.platform != "linux", reason="commands have a parent on Linux only")
def test_a_library_that_does_not_listen_is_not_waited_for(tmp_path, number):
    """As the loader of PyTorch's libraries does not, nor a long computation in C."""
    code = """
import signal
import time
from dcbmr.base.crashes import outlive
from dcbmr.base.signals import watch
def work():
    watch.unwind()
    signal.pthread_sigmask(signal.SIG_BLOCK, watch.watched)
    print("begun", flush=True)
    time.sleep(100)
watch.begin()
outlive(work, str)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    assert process.communicate(timeout=120) == ("", f"{SAID[number]}\n")
    assert process.returncode == STATUS[number]
