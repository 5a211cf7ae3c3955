"""How many threads there are: processors, control groups, the environment; children; torch beside us."""

import math
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dcbmr
from dcbmr import _core
from dcbmr.base import threads
from dcbmr.base.threads import resolve_n_threads


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "4:memory:/a/b\n1:cpu,cpuacct:/a/b\n0::/\n"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/\n"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        # The tightest of a group and those above it.
        (
            {
                "proc/self/cgroup": "0::/user.slice/job\n",
                "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n",
            },
            2,
        ),
        # A container that sees the host's path, and only the end of it.
        ({"proc/self/cgroup": "0::/docker/f00\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            math.inf,
        ),
    ],
)
def test_quota_of_the_control_group(tmp_path, files, quota):
    assert threads.cpu_quota(tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("quota", "wish", "wanted"),
    [
        (math.inf, "", 8),
        (math.inf, "3", 3),
        (math.inf, " 3,2", 3),
        (math.inf, "99", 8),
        (math.inf, "many", 8),
        (2.5, "", 3),
        (0.2, "", 1),
        (2.5, "2", 2),
        (99, "", 8),
    ],
)
def test_default_number_of_threads(monkeypatch, quota, wish, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert resolve_n_threads(None) == wanted
    assert resolve_n_threads(5) == 5, "what is asked for is given"


def test_a_number_of_threads_below_one():
    with pytest.raises(dcbmr.InputError, match="at least 1"):
        resolve_n_threads(0)


def test_quota_of_a_real_control_group():
    """A process in a group of half a core, where this one may make groups."""
    mount = Path("/sys/fs/cgroup/cpu")
    version_1 = mount.is_dir()
    group = (mount if version_1 else Path("/sys/fs/cgroup")) / f"dcbmr-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (group / ("cpu.cfs_quota_us" if version_1 else "cpu.max")).write_text("50000")
        except OSError as error:
            pytest.skip(f"no limit can be set here: {error}")
        code = (
            f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            "from dcbmr.base.threads import resolve_n_threads; print(resolve_n_threads(None))"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "1"
    finally:
        group.rmdir()


def labels(n_threads):
    rng = np.random.default_rng(0)
    words, frames = rng.standard_normal((200, 13), np.float32), rng.standard_normal((9000, 13), np.float32)
    found = np.empty(9000, np.int32)
    _core.NearestWord(words).assign(frames, found, None, n_threads)
    return found


def losses(n_threads):
    from dcbmr_mlr._oracle import most_violated

    rng = np.random.default_rng(0)
    scores = rng.standard_normal((600, 2000))
    relevance = (rng.random(scores.shape) < 0.1).astype(np.int8)
    return most_violated(scores, relevance, "auc", n_threads)[0]


@pytest.mark.parametrize("work", [labels, losses])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_find_the_same_bits(work, method):
    here = work(3)  # with threads: after that GNU OpenMP hangs in a child of fork()
    with multiprocessing.get_context(method).Pool(2) as pool:
        for there in pool.map_async(work, [1, 3, 3]).get(timeout=60):
            np.testing.assert_array_equal(there, here)


ORDERS = {
    "torch first": "import torch; from dcbmr import _core",
    "torch last": "from dcbmr import _core; import torch",
}


@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS)
def test_torch_in_the_same_process(imports):
    """Both work, in turn and at once, and neither changes how many threads the other has."""
    pytest.importorskip("torch")
    code = f"""
import os, sys, threading
sys.path.append({str(Path(__file__).parent)!r})
os.environ["OMP_NUM_THREADS"] = "2"
{imports}
import numpy as np
from test_threads import labels
before, here, x = torch.get_num_threads(), labels(2), torch.randn(600, 600)
wanted = x @ x
def together():
    for _ in range(5):
        np.testing.assert_array_equal(labels(2), here)
other = threading.Thread(target=together)
other.start()
for _ in range(5):
    assert torch.equal(x @ x, wanted)
other.join()
assert torch.get_num_threads() == before == 2, (torch.get_num_threads(), before)
# Two threads that called, a team of two for each, and the teams of NumPy's BLAS and of torch.
if os.path.isdir("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) <= 8
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


class Windows:
    """A data set whose items are made by kernels, as those of a store are."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        half = _core.to_half(np.full((4, 8), float(i), np.float32))
        out, zero = np.empty((1, 4, 8), np.float32), np.zeros(1, np.int64)
        _core.read_windows([half], zero, zero, zero + 4, zero, out)
        return out[0], labels(2)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_of_a_data_loader(method):
    data = pytest.importorskip("torch.utils.data")
    here = labels(2)
    loader = data.DataLoader(Windows(), batch_size=3, num_workers=2, multiprocessing_context=method)
    batches = list(loader)
    assert len(batches) == 2
    for b, (windows, found) in enumerate(batches):
        np.testing.assert_array_equal(windows[:, 0, 0], [3 * b, 3 * b + 1, 3 * b + 2])
        for row in found.numpy():
            np.testing.assert_array_equal(row, here)
