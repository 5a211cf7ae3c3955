"""What is known to go wrong on a machine as it was found to be, each with its cure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Kinds of OpenMP runtimes, by the beginning of their libraries' names.
_OPENMP = {"libgomp": "GNU's", "libiomp": "Intel's", "libomp": "LLVM's"}
_LITTLE_GIB = 1.0


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and what to do."""

    what: str
    cure: str


def troubles(found: Mapping[str, Any]) -> list[Trouble]:
    """Return what is wrong with a machine that :func:`dcbmr.doctor.machine.examine` has examined."""
    return [
        trouble
        for look in (_of_torch, _of_threads, _of_kernels, _of_files, _of_plugins)
        for trouble in look(found)
    ]


def _of_torch(found: Mapping[str, Any]) -> Iterator[Trouble]:
    cuda, torch = found["cuda"], found["versions"]["torch"]
    if cuda["error"]:
        yield Trouble(
            f"torch {torch} cannot be imported: {cuda['error']}",
            "install it again: pip install --force-reinstall torch",
        )
    elif torch is None:
        yield Trouble(
            "torch is not installed: no mlp, no cnn, and no losses to choose",
            "pip install 'dcbmr[torch]'",
        )
    elif cuda["driver"] and not cuda["torch_built_for"]:
        yield Trouble(
            f"there is an NVIDIA driver, and torch {torch} was built without CUDA: networks train on the CPU",
            "install torch for CUDA, as https://pytorch.org/get-started says",
        )
    elif cuda["driver"] and not cuda["devices"]:
        yield Trouble(
            f"torch {torch}, built for CUDA {cuda['torch_built_for']}, finds no GPU beside the driver "
            f"({cuda['driver']})",
            "look at nvidia-smi and CUDA_VISIBLE_DEVICES; a driver too old for this CUDA must be upgraded",
        )


def _of_threads(found: Mapping[str, Any]) -> Iterator[Trouble]:
    threads = found["threads"]
    allowed, granted, wish = threads["cores_allowed"], threads["cores_granted"], threads["OMP_NUM_THREADS"]
    usable = min(allowed, math.inf if granted is None else math.ceil(granted))
    first = (wish or "").split(",")[0].strip()
    if wish and not (first.isdecimal() and int(first) > 0):
        yield Trouble(
            f"OMP_NUM_THREADS={wish} is no number of threads, and is ignored",
            "unset it, or set it to a number",
        )
    elif wish and int(first) < usable:
        yield Trouble(
            f"OMP_NUM_THREADS={wish}: dcbmr uses {first} of the {usable} cores that there are for it",
            "unset it, or give --threads",
        )
    if usable < allowed:
        yield Trouble(
            f"the control group of this process grants the time of {granted:g} of {allowed} cores",
            "give the container or the job more (docker --cpus, the CPU limit of the pod)",
        )
    if (threads["OMP_WAIT_POLICY"] or "").lower() == "active":
        yield Trouble(
            "OMP_WAIT_POLICY=ACTIVE: threads that wait take the cores of those that work",
            "unset it: dcbmr then sets it to PASSIVE",
        )
    kinds = {
        kind
        for one in found["runtimes"]
        for prefix, kind in _OPENMP.items()
        if one["api"] == "openmp" and one["library"].startswith(prefix)
    }
    if len(kinds) > 1:
        yield Trouble(
            f"runtimes of OpenMP of several makers in one process ({', '.join(sorted(kinds))}): such have "
            "hung and crashed",
            "install dcbmr, torch and scikit-learn from one source, all by pip or all by conda",
        )


def _of_kernels(found: Mapping[str, Any]) -> Iterator[Trouble]:
    sets = found["instruction_set"]
    if sets["used"] != sets["available"][-1]:
        yield Trouble(
            f"the kernels use {sets['used']!r}, and this processor has {sets['available'][-1]!r} "
            f"(DCBMR_ISA={sets['DCBMR_ISA']})",
            "unset DCBMR_ISA",
        )


def _of_files(found: Mapping[str, Any]) -> Iterator[Trouble]:
    codecs, memory = found["codecs"], found["memory"]
    missing = [name for name in ("MP3", "FLAC", "OGG") if name not in codecs["formats"]]
    missing += [] if codecs["opus"] else ["Opus"]
    if missing:
        yield Trouble(
            f"libsndfile {codecs['libsndfile']} reads no {', '.join(missing)}",
            "pip install --upgrade soundfile, whose wheels bring a libsndfile that does",
        )
    if codecs["libavcodec"] is None:
        yield Trouble("PyAV is not installed: no m4a, AAC or WMA is read", "pip install 'dcbmr[av]'")
    available, limit = memory["available"], memory["limit"]
    if available is not None and available < _LITTLE_GIB:
        yield Trouble(f"{available:g} GiB of memory are free", "end other work, or take a larger machine")
    if limit is not None and limit < _LITTLE_GIB:
        yield Trouble(
            f"the control group of this process grants {limit:g} GiB of memory",
            "give the container or the job more",
        )
    if memory["temporary_free"] < _LITTLE_GIB:
        yield Trouble(
            f"{memory['temporary_folder']}, for temporary files, has {memory['temporary_free']:g} GiB left",
            "make room there, or set TMPDIR to a larger folder",
        )


def _of_plugins(found: Mapping[str, Any]) -> Iterator[Trouble]:
    plugins = found["plugins"]
    for one in plugins["skipped"]:
        if one["remedy"]:  # else it was turned off
            yield Trouble(f"{one['plugin']} {one['why']}", one["remedy"])
    if plugins["error"]:
        what, _, cure = plugins["error"].rpartition("; ")
        yield Trouble(what, cure)
