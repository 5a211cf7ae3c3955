"""What two processes learn together: this one, and one that it starts."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from dcbmr.testing.regressors.subject import RUN, Subject, assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATIENCE_S = 120  # for the other process, which may still import its libraries
_CURE = "bring together by run.peers what each process has learned of its songs"


class PipePeers:
    """The peers of two processes that a pipe connects."""

    size, host = 2, "127.0.0.1"

    def __init__(self, rank: int, pipe: Connection) -> None:
        self.rank, self._pipe = rank, pipe
        self.n_calls = 0

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Return both arrays."""
        self.n_calls += 1
        try:
            if self.rank == 0:  # one sends while the other receives: a pipe holds little
                self._pipe.send(array)
            if not self._pipe.poll(_PATIENCE_S):
                raise ConnectionError(f"the other process has not called run.peers for {_PATIENCE_S} s")
            other = self._pipe.recv()
            if self.rank == 1:
                self._pipe.send(array)
        except (EOFError, BrokenPipeError) as error:
            raise ConnectionError("the other process is lost") from error
        return [array, other] if self.rank == 0 else [other, array]

    def sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of both arrays."""
        first, second = self.gather(array)
        return np.asarray(first + second)


def check_processes_learn_together(subject: Subject) -> None:
    """On a cluster each process does a part of the work, and all of them have the one model."""
    features, target = subject.world()
    with _second(subject) as (peers, answer):
        try:
            model = subject.make().fit(features, target, run=replace(RUN, peers=peers))
        except ConnectionError as error:
            said = answer.recv() if answer.poll() else "nothing"
            raise AssertionError(f"fit lost the second of two processes, which said: {said}") from error
        assert peers.n_calls, (
            f"fit never called run.peers, so that all processes do the same; {_CURE}, or take has_peers=True "
            "out of the spec"
        )
        predicted = model.predict(features)
        assert answer.poll(_PATIENCE_S), f"the second of two processes is not done after the first; {_CURE}"
        other = answer.recv()
    assert not isinstance(other, str), f"fit failed in the second of two processes: {other}"
    assert_close(other, predicted, "predictions of the second of two processes", _CURE)


@contextmanager
def _second(subject: Subject) -> Iterator[tuple[PipePeers, Connection]]:
    """Start the second process; give the peers of the first, and where the second's answer comes."""
    context = multiprocessing.get_context("spawn")
    (pipe, theirs), (answer, answered) = context.Pipe(), context.Pipe(duplex=False)
    process = context.Process(target=_fit, args=(subject.name, subject.params, theirs, answered), daemon=True)
    process.start()
    theirs.close()
    answered.close()
    try:
        yield PipePeers(0, pipe), answer
    finally:
        process.terminate()
        process.join()
        pipe.close()
        answer.close()


def _fit(name: str, params: Mapping[str, Any], pipe: Connection, answer: Connection) -> None:
    """Fit as the second process, and answer with the predictions or with what went wrong."""
    try:
        subject = Subject(name, params)
        features, target = subject.world()
        model = subject.make().fit(features, target, run=replace(RUN, peers=PipePeers(1, pipe)))
        answer.send(model.predict(features))
    except Exception:
        answer.send(traceback.format_exc())
