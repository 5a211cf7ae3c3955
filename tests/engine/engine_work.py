"""What workers are given to do in the tests: functions of a module, as they import it by its path."""

import os
import signal
import time
from pathlib import Path

from dcbmr.base.arrays import blocks

SHORT = {"epochs": 3, "batch_size": 8, "patience": 0}
NETWORKS = {
    "cnn": {**SHORT, "window": 16, "channels": (8, 8), "pools": (2, 1), "filter_length": 4, "hidden": (16,)},
    "mlp": {**SHORT, "hidden": 16, "dropout": 0.0},
}


def double(task, *shared):
    return 2 * task + sum(shared)


def slow_first(task):
    time.sleep(0.3 if task == 0 else 0)
    return task


def add_to(kept, task, *shared):
    return kept + task + sum(shared)


def process(task):
    return os.getpid()


def process_of(kept, task):
    return os.getpid()


def fail_at_3(task):
    if task == 3:
        raise KeyError("three")
    return task


def die_once(task):
    """End the worker with SIGKILL when the task of a file is done for the first time."""
    number, folder = task
    file = Path(folder) / str(number)
    if number == 3 and not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(task):
    os.kill(os.getpid(), signal.SIGKILL)


def write_to(path):
    Path(path).write_bytes(b"text")


def small_blocks(users, songs, n_threads):
    """Cut users into blocks of 500, where `blocks_of_users` would make one of them all."""
    for rows in blocks(len(users), 500):
        yield rows, users[rows]
