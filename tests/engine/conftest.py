import gc
import os
import warnings
from pathlib import Path

import pytest

import dcbmr


@pytest.fixture(scope="session")
def engine():
    """Two workers of one thread on this machine: Ray starts once for all tests."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcbmr[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(300 << 20))
        # Where workers find engine_work.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        with dcbmr.RayEngine(n_workers=2, n_threads=1) as engine:
            yield engine
        with warnings.catch_warnings():  # Ray leaves what it started to be collected, unwaited for
            warnings.simplefilter("ignore", ResourceWarning)
            del engine
            gc.collect()
