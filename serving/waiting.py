"""Requests on their way through the queue, and the limits of what one run answers."""

from __future__ import annotations

import time
from collections.abc import Hashable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from serving.artifact import Answer
from serving.fairness import FairQueue
from serving.question import Question

if TYPE_CHECKING:
    from serving.traces import Trace

_MOST_TAKEN = 64  # requests that share a run, so that other threads have something to do
_MOST_BYTES = 2**23  # of requests that share a run: their rows are copied
_MOST_NUMBERS = 2**21  # costs and expected costs of requests that share a run, 8 MiB


class Work(Protocol):
    """A request on its way to a reply."""

    @property
    def size(self) -> int:
        """Bytes of the request."""
        ...

    def question(self) -> Question:
        """Return what it asks; called before all else, of a large request on a thread."""
        ...

    def reply(self, answer: Answer) -> bytes:
        """Return the reply."""
        ...

    def failure(self, error: Exception) -> Exception:
        """Return what the caller is told where one of the others, or the run, has raised `error`."""
        ...


class Caller(Protocol):
    """Who waits for a reply; the requests of one caller are answered in turn with those of the others."""

    def __hash__(self) -> int:
        """By identity."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until nobody waits any more; None where there is no deadline."""
        ...


class Waiting:
    """A request on its way through the queue."""

    def __init__(self, work: Work, caller: Caller) -> None:
        self.work = work
        self.flow: Hashable = caller  # held, so that no other one is taken for it
        self.future: Future[bytes] = Future()
        self.arrived = time.monotonic()
        left = caller.time_remaining()
        self.deadline = None if left is None else self.arrived + left
        self.question: Question | None = None
        self.trace: Trace | None = None
        # By `time.perf_counter`: when it came, when it began to be read, and when it was.
        self.came = self.reading = self.read = time.perf_counter()

    def expired(self) -> bool:
        """Whether nobody waits any more."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def ran(self, began: float, ended: float, together: int) -> None:
        """Count the stages that it went through, the last of which is over; the run was one of so many."""
        counts = self.asked.counts
        if counts is None:
            return
        replied = time.perf_counter()
        # What waits to be read waits as well; whoever shares a run waits for the others' replies too.
        waited = (self.reading - self.came) + (began - self.read)
        counts.staged((self.read - self.reading, waited, ended - began, replied - ended))
        if self.trace is not None:
            stages = (
                ("read", self.reading, self.read),
                ("queue", self.read, began),
                ("run", began, ended),
                ("reply", ended, replied),
            )
            self.trace.answered(self.asked, together, stages)

    @property
    def asked(self) -> Question:
        """Its question, known once it is queued."""
        assert self.question is not None
        return self.question


class Batch:
    """Requests that one run answers, within the limits of a run."""

    def __init__(self, first: Waiting, most_rows: int) -> None:
        """Take a request, whatever its size."""
        self.taken = [first]
        self._shape = first.asked.shape
        self._most_rows = most_rows
        self._rows = self._bytes = self._numbers = 0
        self._count(first)

    @property
    def full(self) -> bool:
        """Whether not even one row fits."""
        return len(self.taken) >= _MOST_TAKEN or self._rows >= self._most_rows

    def extend(self, queue: FairQueue[Waiting]) -> None:
        """Take those of the queue that may share the run of the first."""
        for one in queue.take(self._fits):
            self.taken.append(one)
            self._count(one)

    def _fits(self, one: Waiting) -> bool:
        return (
            one.asked.shape == self._shape
            and len(self.taken) < _MOST_TAKEN
            and self._rows + len(one.asked) <= self._most_rows
            and self._bytes + one.work.size <= _MOST_BYTES
            and self._numbers + one.asked.numbers <= _MOST_NUMBERS
        )

    def _count(self, one: Waiting) -> None:
        self._rows += len(one.asked)
        self._bytes += one.work.size
        self._numbers += one.asked.numbers
