"""What a command writes to a terminal of some width."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

# Bold, italic and the like of rich, and nothing else.
STYLES = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(*words, columns=80, **env):
    """Run a command of dcbmr with a terminal for its standard output; return what it wrote there, and rc."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **env}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        if name not in env:
            environment.pop(name, None)
    command = [sys.executable, "-P", "-m", "dcbmr", *map(str, words)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # how Linux tells of the other end's close
            pass
        finally:
            os.close(ours)
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    return written.decode().replace("\r\n", "\n"), said


def lines_of(written):
    """Return the lines without styles and trailing spaces, blank ones left out."""
    return [line.rstrip() for line in STYLES.sub("", written).splitlines() if line.strip()]
