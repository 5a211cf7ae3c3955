"""What a machine and an installation are like: all that a report of a fault should hold."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from dcbmr import _core
from dcbmr.base.directory import FORMATS
from dcbmr.base.threads import cpu_quota, n_cores, resolve_n_threads
from dcbmr.base.version import __version__
from dcbmr.contract import registry
from dcbmr.contract.contract import CONTRACT_VERSION
from dcbmr.contract.loading import OFF
from dcbmr.errors import DcbmrError

INSTRUCTION_SETS = ("portable", "avx2", "avx512")  # each better than those before it
_GIB = 1 << 30
_OF_THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Beside what every installation needs.
_OPTIONAL = ("torch", "av", "matplotlib", "bokeh", "openTSNE")


def installation() -> dict[str, Any]:
    """Return what is installed: the first parts of :func:`examine`, at once, without importing torch."""
    return {"versions": _versions(), "formats": dict(FORMATS), "instruction_set": _instruction_set()}


def examine() -> dict[str, Any]:
    """Return what there is to say of this machine and installation, for JSON.

    Torch is imported where it is installed: what it can, and which runtimes it brings, is seen only then.

    Returns
    -------
    dict
        ``versions`` (None: not installed), ``formats`` (of directories, by kind), ``instruction_set``,
        ``threads``, ``cuda``, ``runtimes`` (of OpenMP and BLAS, in this process), ``codecs``, ``memory``
        (GiB; that of the folder for temporary files, too) and ``plugins``.
    """
    return {
        **installation(),
        "threads": _threads(),
        "cuda": _cuda(),
        "runtimes": _runtimes(),
        "codecs": _codecs(),
        "memory": _memory(),
        "plugins": _plugins(),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "dcbmr": __version__,
        "contract": str(CONTRACT_VERSION),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    needed = (re.match(r"[\w.-]+", text) for text in requires("dcbmr") or () if "extra ==" not in text)
    for name in (*(match[0] for match in needed if match), *_OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _instruction_set() -> dict[str, Any]:
    used, available = _core.isa(), []
    for name in INSTRUCTION_SETS:
        try:
            _core.set_isa(name)
        except ValueError:
            continue
        available.append(name)
    _core.set_isa(used)
    return {
        "processor": _line_of(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "used": used,
        "available": available,
        "DCBMR_ISA": os.environ.get("DCBMR_ISA"),
    }


def _threads() -> dict[str, Any]:
    quota = cpu_quota()
    return {
        "used": resolve_n_threads(None),
        "cores": os.cpu_count(),
        "cores_allowed": n_cores(),
        "cores_granted": None if math.isinf(quota) else quota,
        **{name: os.environ.get(name) for name in _OF_THREADS},
    }


def _cuda() -> dict[str, Any]:
    driver = _line_of(Path("/proc/driver/nvidia/version"), "NVRM version")
    found: dict[str, Any] = {"driver": driver, "torch_built_for": None, "devices": [], "error": None}
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":  # else it is not installed, which the versions say
            found["error"] = f"{type(error).__name__}: {error}"
        return found
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
        return found
    found["torch_built_for"] = torch.version.cuda
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            of_device = torch.cuda.get_device_properties(number)
            found["devices"].append(f"{of_device.name}, {of_device.total_memory / _GIB:.0f} GiB")
    return found


def _runtimes() -> list[dict[str, Any]]:
    """Return the runtimes of OpenMP and BLAS; NumPy's and SciPy's are loaded before."""
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return [
        {
            "api": one["user_api"],
            "library": one["prefix"],
            "version": one["version"],
            "threads": one["num_threads"],
            "file": one["filepath"],
        }
        for one in threadpool_info()
    ]


def _codecs() -> dict[str, Any]:
    import soundfile

    try:
        import av

        ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    except ImportError:
        ffmpeg = None
    return {
        "libsndfile": soundfile.__libsndfile_version__,
        "formats": sorted(soundfile.available_formats()),
        "opus": "OPUS" in soundfile.available_subtypes("OGG"),
        "libavcodec": ffmpeg,
    }


def _memory() -> dict[str, Any]:
    limits = [
        _number_in(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory/memory.limit_in_bytes")
    ]
    limit = min((each for each in limits if each is not None and each < 1 << 60), default=None)
    folder = tempfile.gettempdir()
    return {
        "total": _gib(_kib_in_meminfo("MemTotal")),
        "available": _gib(_kib_in_meminfo("MemAvailable")),
        "limit": _gib(limit),
        "temporary_folder": folder,
        "temporary_free": _gib(shutil.disk_usage(folder).free),
    }


def _plugins() -> dict[str, Any]:
    found: dict[str, Any] = {
        "used": [{"name": plugin.name, "package": plugin.package} for plugin in registry.plugins()],
        "skipped": [
            {"plugin": str(one.plugin), "why": one.why, "remedy": one.remedy} for one in registry.skipped()
        ],
        OFF: os.environ.get(OFF),
        "error": None,
    }
    try:
        registry.regressors(), registry.losses(), registry.kinds()
    except DcbmrError as error:  # two owners of one name
        found["error"] = str(error)
    return found


def _line_of(file: Path, name: str) -> str | None:
    """Return what follows "name:" in a file of the system; None where there is no such file or line."""
    try:
        match = re.search(rf"^{name}\s*:\s*(.*)$", file.read_text(), re.M)
    except OSError:
        return None
    return " ".join(match[1].split()) if match else None


def _kib_in_meminfo(name: str) -> int | None:
    line = _line_of(Path("/proc/meminfo"), name)
    return int(line.split()[0]) * 1024 if line else None


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such limit, or "max"
        return None


def _gib(n_bytes: int | None) -> float | None:
    return None if n_bytes is None else round(n_bytes / _GIB, 1)
