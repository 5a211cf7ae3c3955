"""``dcbmr doctor``: what it finds, what it calls a trouble, and that its self-test can fail."""

import copy
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

import dcbmr
from dcbmr.cli import cli
from dcbmr.doctor import twins
from dcbmr.doctor.machine import examine
from dcbmr.doctor.selftest import KERNELS, selftest
from dcbmr.doctor.troubles import troubles


@pytest.fixture(scope="module")
def found():
    return examine()


@pytest.fixture
def healthy(found):
    """A machine without a trouble, whatever this one is like."""
    well = copy.deepcopy(found)
    well["versions"]["torch"] = "2.6.0"
    well["instruction_set"] = {"used": "avx2", "available": ["portable", "avx2"], "DCBMR_ISA": None}
    threads = {"cores_allowed": 4, "cores_granted": None, "OMP_NUM_THREADS": None, "OMP_WAIT_POLICY": None}
    well["threads"] |= threads
    well["cuda"] = {"driver": None, "torch_built_for": None, "devices": [], "error": None}
    well["runtimes"] = [{"api": "openmp", "library": "libgomp"}, {"api": "blas", "library": "libopenblas"}]
    well["codecs"] |= {"formats": ["FLAC", "MP3", "OGG", "WAV"], "opus": True, "libavcodec": "62"}
    well["memory"] |= {"available": 8.0, "limit": None, "temporary_free": 8.0}
    well["plugins"] |= {"skipped": [], "error": None}
    return well


def test_what_is_found_is_json_and_true(found):
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["numpy"] == np.__version__
    assert found["instruction_set"]["used"] in found["instruction_set"]["available"]
    assert {one["api"] for one in found["runtimes"]} == {"openmp", "blas"}
    assert 1 <= found["threads"]["used"] <= found["threads"]["cores"]
    assert {"WAV", "FLAC"} <= set(found["codecs"]["formats"])
    assert 0 < found["memory"]["available"] <= found["memory"]["total"]
    assert {"linear", "torch"} <= {one["name"] for one in found["plugins"]["used"]}


GPU = {"driver": "NVRM 570", "torch_built_for": "12.8", "devices": ["H100"]}


@pytest.mark.parametrize(
    ("part", "changed", "what", "cure"),
    [
        ("versions", {"torch": None}, "torch is not installed", r"pip install 'dcbmr\[torch\]'"),
        ("cuda", {"error": "OSError: libcudart.so"}, "2.6.0 cannot be imported: OSError: libcu", "reinstall"),
        ("cuda", {**GPU, "torch_built_for": None}, "built without CUDA", "pytorch.org"),
        ("cuda", {**GPU, "devices": []}, "built for CUDA 12.8, finds no GPU .*NVRM 570", "nvidia-smi"),
        ("threads", {"OMP_NUM_THREADS": "many"}, "OMP_NUM_THREADS=many is no number", "unset it"),
        ("threads", {"OMP_NUM_THREADS": "1,2"}, "uses 1 of the 4 cores", "unset it, or give --threads"),
        ("threads", {"cores_granted": 1.5}, "the time of 1.5 of 4 cores", "docker --cpus"),
        ("threads", {"OMP_WAIT_POLICY": "active"}, "threads that wait take the cores", "unset it"),
        ("instruction_set", {"used": "portable", "DCBMR_ISA": "portable"}, "has 'avx2'", "unset DCBMR_ISA"),
        ("codecs", {"formats": ["FLAC", "OGG"]}, "reads no MP3", "pip install --upgrade soundfile"),
        ("codecs", {"opus": False}, "reads no Opus", "pip install --upgrade soundfile"),
        ("codecs", {"libavcodec": None}, "no m4a, AAC or WMA", r"pip install 'dcbmr\[av\]'"),
        ("memory", {"available": 0.2}, "0.2 GiB of memory are free", "larger machine"),
        ("memory", {"limit": 0.5}, "grants 0.5 GiB of memory", "give the container"),
        ("memory", {"temporary_free": 0.0}, "for temporary files, has 0 GiB left", "TMPDIR"),
        ("plugins", {"error": "two owners of x; uninstall one"}, "two owners of x", "uninstall one"),
    ],
)
def test_a_trouble_and_its_cure(healthy, part, changed, what, cure):
    assert troubles(healthy) == []
    healthy[part] |= changed
    (trouble,) = troubles(healthy)
    assert re.search(what, trouble.what), trouble.what
    assert re.search(cure, trouble.cure), trouble.cure


def test_runtimes_of_several_makers(healthy):
    healthy["runtimes"] += [{"api": "openmp", "library": "libgomp-a34b3233"}]  # torch's own copy does no harm
    assert troubles(healthy) == []
    healthy["runtimes"] += [{"api": "openmp", "library": "libiomp5"}]
    assert "GNU's, Intel's" in troubles(healthy)[0].what


def test_a_gpu_that_is_used_is_no_trouble(healthy):
    healthy["cuda"] |= GPU
    assert troubles(healthy) == []


def test_every_kernel_is_right(isa):
    wrong = [f"{one.kernel}: {one.error} {one.why}" for one in selftest() if not one.is_right]
    assert not wrong


@pytest.mark.parametrize(
    ("twin", "kernel"),
    [
        ("als_solve", "ALS"),
        ("log_mel", "FFT and log-mel"),
        ("mfcc", "FFT and MFCC"),
        ("statistics", "statistics"),
        ("worst_violation", "MLR oracles"),
    ],
)
def test_what_is_not_its_twin_is_wrong(monkeypatch, twin, kernel):
    right = getattr(twins, twin)
    monkeypatch.setattr(twins, twin, lambda *given: right(*given) * 1.001)
    assert [one.kernel for one in selftest() if not one.is_right] == [kernel]


def test_the_command(monkeypatch):
    done = CliRunner().invoke(cli, ["doctor", "--json", "--selftest"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert [one["kernel"] for one in report["selftest"]] == list(KERNELS)
    assert all(one["is_right"] for one in report["selftest"])

    def broken(*_):
        raise OSError("no such kernel")

    monkeypatch.setattr(twins, "mfcc", broken)
    done = CliRunner().invoke(cli, ["doctor", "--selftest"])
    assert done.exit_code == 1
    assert "WRONG" in done.output
    assert "OSError: no such kernel" in done.output
    assert "instruction set" in done.output


def test_versions():
    def run(*words):
        return CliRunner().invoke(cli, words)

    assert run("--version").output == f"dcbmr, version {dcbmr.__version__}\n"
    said = run("--version", "--verbose").output
    assert said == run("--verbose", "--version").output
    for part in (f"{dcbmr.__version__}, contract 2", "model 2", "experiment 4", f"numpy {np.__version__}"):
        assert part in said
    assert "--verbose goes with --version" in run("--verbose", "doctor").output


def test_it_survives_plugins_that_do_not(install):
    install("broken-plugin", "raise OSError('libfoo.so is missing')")
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 0, done.output
    assert "plugin 'broken_plugin' of broken-plugin 1.0 cannot be imported: OSError: libfoo" in done.output
    assert "cure: install what it needs (pip install --upgrade broken-plugin)" in done.output
