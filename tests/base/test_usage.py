"""What work takes: its own time and memory, whatever was before it."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dcbmr.base.usage import Meter, Usage


def test_stretches_add_up():
    assert Usage(1, 2, 30) + Usage(10, 20, 3) == Usage(11, 22, 30)
    assert Usage(1.23456, 2, 30).as_dict() == {"seconds": 1.235, "processor_seconds": 2, "memory_mib": 30}


def work():
    """Take 0.05 s of a processor."""
    began = time.thread_time()
    while time.thread_time() - began < 0.05:
        np.sum(np.ones(10_000))


def test_the_time_of_every_thread_counts():
    meter = Meter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: work(), range(2)))
    assert meter.usage().processor_seconds >= 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of the whole process is all there is")
def test_the_peak_is_that_of_the_time_measured():
    meter = Meter()
    table = np.ones((256, 2**17))  # 256 MiB
    high = meter.usage().memory_mib
    assert high > 256
    del table
    assert meter.usage().memory_mib >= high - 8  # the system counts in portions
    assert Meter().usage().memory_mib < high - 200
