"""A pool of threads gives results in order, holds a bounded number, and stops at once."""

import threading
import time

import pytest

from dcbmr.base.pool import OrderedPool


class Result:
    def __init__(self, task):
        self.task, self.n_closed = task, 0

    def close(self):
        self.n_closed += 1


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(n_threads):
    def work(task, cancelled):
        time.sleep(0.002 * (task % 3))
        return -task

    with OrderedPool(work, n_threads=n_threads) as pool:
        assert list(pool.in_order(iter(range(50)))) == [(task, -task) for task in range(50)]
        assert list(pool.in_order([])) == []


def test_a_bounded_number_is_in_hand():
    begun = []
    gate = threading.Event()

    def work(task, cancelled):
        begun.append(task)
        gate.wait(10)

    taken = []

    def tasks():
        for task in range(1000):
            taken.append(task)
            yield task

    with OrderedPool(work, n_threads=2) as pool:
        results = pool.in_order(tasks())
        threading.Timer(0.1, gate.set).start()
        for n, _ in enumerate(results, 1):
            assert len(taken) <= n + 16
    assert sorted(begun) == list(range(1000))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionError])
def test_an_error_of_the_caller_stops_all_and_passes_through(error):
    made = []
    begun, stopped = threading.Event(), threading.Event()

    def work(task, cancelled):
        if task == 3:
            begun.set()
            assert cancelled.wait(10)  # a long one, that looks whether it is to go on
            stopped.set()
        made.append(Result(task))
        return made[-1]

    began = time.monotonic()
    with pytest.raises(error), OrderedPool(work, close=Result.close, n_threads=2) as pool:
        for task, _ in pool.in_order(range(10**9)):
            if task == 1:
                begun.wait(10)
                raise error
    assert time.monotonic() - began < 5
    assert stopped.is_set()
    assert len(made) <= 18
    # Also those that nobody took.
    assert {result.n_closed for result in made} == {1}
    assert threading.active_count() == 1


def test_an_error_of_the_work_comes_in_its_turn():
    made = []

    def work(task, cancelled):
        if task == 4:
            raise ValueError("task 4")
        made.append(Result(task))
        return made[-1]

    seen = []
    with (
        pytest.raises(ValueError, match="task 4"),
        OrderedPool(work, close=Result.close, n_threads=3) as pool,
    ):
        seen.extend(task for task, _ in pool.in_order(range(1000)))
    assert seen == [0, 1, 2, 3]
    assert len(made) < 100
    assert {result.n_closed for result in made} == {1}


def test_results_are_closed_once_the_next_is_asked_for():
    with OrderedPool(lambda task, _: Result(task), close=Result.close, n_threads=2) as pool:
        before = None
        for _, result in pool.in_order(range(20)):
            assert result.n_closed == 0
            assert before is None or before.n_closed == 1
            before = result
    assert before.n_closed == 1
