"""Requests that wait together are answered together, by one run of the graph.

Nothing waits for company: whoever is free takes all that has queued up meanwhile. Requests with costs and
coverages of their own share a run where the shapes of their cost arrays agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Answer, Artifact
from serving.rows import Rows

_MOST_COSTS = 2**20  # elements of a cost array that is repeated for each row of a shared run
_MOST_TAKEN = 64  # requests
_MOST_BYTES = 2**18  # of requests that are taken together; large ones are better spread over threads


@dataclass(frozen=True, eq=False)
class Question:
    """What a request asks of the graph; `cost` and `coverage` as for `Artifact.run`, always given."""

    artifact: Artifact
    rows: Rows
    cost: NDArray[np.float32]
    coverage: NDArray[np.float32]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def shape(self) -> Hashable:
        """What questions must have in common to share a run."""
        return id(self.artifact), self.cost.shape[1:]


class Work(Protocol):
    """A request on its way to a reply."""

    @property
    def size(self) -> int:
        """Bytes of the request."""
        ...

    def question(self) -> Question:
        """Return what it asks; called on a thread, and before all else."""
        ...

    def reply(self, answer: Answer) -> bytes:
        """Return the reply."""
        ...

    def failure(self, error: Exception) -> Exception:
        """Return what the caller is told where one of the others, or the run, has raised `error`."""
        ...


def joined(questions: Sequence[Question]) -> Question:
    """Return one question about the rows of all, which agree in `shape`.

    Costs and coverages are repeated for each row, unless all questions have the same object.
    """
    if len(questions) == 1:
        return questions[0]
    first = questions[0]
    return Question(
        first.artifact,
        {name: np.concatenate([one.rows[name] for one in questions]) for name in first.rows},
        _by_row([one.cost for one in questions], [len(one) for one in questions]),
        _by_row([one.coverage for one in questions], [len(one) for one in questions]),
    )


def parted(answer: Answer, sizes: Iterable[int]) -> Iterator[Answer]:
    """Yield the parts of an answer, of so many rows each."""
    start = 0
    for size in sizes:
        yield answer.of(slice(start, start + size))
        start += size


class Batching:
    """Threads that answer requests, and the queue before them."""

    def __init__(self, threads: int, most_rows: int) -> None:
        """Run up to `threads` graphs at once, each on at most `most_rows` rows of several requests."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._most_rows = most_rows
        self._waiting: deque[_Waiting] = deque()
        self._accepted: set[Future[bytes]] = set()

    def submit(self, work: Work) -> Future[bytes]:
        """Queue a request; the future has its reply, or its `failure`."""
        future = self._accept(Future())
        self._waiting.append(_Waiting(work, future))
        # As many tokens as requests; a thread whose request was taken along by another finds none.
        self._executor.submit(self._work)
        return future

    def call(self, function: Callable[[], bytes]) -> Future[bytes]:
        """Call a function on a thread, without the queue."""
        return self._accept(self._executor.submit(function))

    def abandon(self) -> int:
        """Forget what waits; return how many requests go on, since onnxruntime cannot be interrupted."""
        for one in tuple(self._waiting):
            one.future.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        return sum(future.running() for future in tuple(self._accepted))

    def _accept(self, future: Future[bytes]) -> Future[bytes]:
        self._accepted.add(future)
        future.add_done_callback(self._accepted.discard)
        return future

    def _work(self) -> None:
        groups: dict[Hashable, list[_Asked]] = {}
        for one in self._take():
            if one.future.set_running_or_notify_cancel() and (asked := one.asked()) is not None:
                groups.setdefault(asked.question.shape, []).append(asked)
        for alike in groups.values():
            for batch in self._batches(alike):
                _answer(batch)

    def _take(self) -> Iterator[_Waiting]:
        """Yield what waits, up to a limit; at least one request where any does."""
        size = 0
        for _ in range(_MOST_TAKEN if self._most_rows > 1 else 1):
            try:
                one = self._waiting.popleft()
            except IndexError:
                return
            size += one.work.size
            yield one
            if size > _MOST_BYTES:
                return

    def _batches(self, alike: Iterable[_Asked]) -> Iterator[list[_Asked]]:
        """Yield lists of requests that may share a run, none longer than the limits allow."""
        batch: list[_Asked] = []
        rows = 0
        for one in alike:
            more = rows + len(one.question)
            costs = more * one.question.cost[0].size
            if batch and (more > self._most_rows or costs > _MOST_COSTS):
                yield batch
                batch, more = [], len(one.question)
            batch.append(one)
            rows = more
        yield batch


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A request in the queue."""

    work: Work
    future: Future[bytes]

    def asked(self) -> _Asked | None:
        """Return it with its question; None where there is none, which the future tells."""
        try:
            return _Asked(self.work, self.future, self.work.question())
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            self.fail(error)
            return None

    def fail(self, error: Exception) -> None:
        """Tell whoever waits."""
        self.future.set_exception(self.work.failure(error))


@dataclass(frozen=True, eq=False)
class _Asked(_Waiting):
    """A request whose question is known."""

    question: Question


def _answer(batch: Sequence[_Asked]) -> None:
    """Answer requests by one run; where that fails, each by its own, so that none harms another."""
    try:
        question = joined([one.question for one in batch])
        answer = question.artifact.run(question.rows, question.cost, question.coverage)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare classes of its own
        if len(batch) == 1:
            batch[0].fail(error)
        else:
            for one in batch:
                _answer([one])
        return
    for one, part in zip(batch, parted(answer, [len(one.question) for one in batch]), strict=True):
        try:
            one.future.set_result(one.work.reply(part))
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            one.fail(error)


def _by_row(arrays: Sequence[NDArray[np.float32]], sizes: Sequence[int]) -> NDArray[np.float32]:
    first = arrays[0]
    if len(first) == 1 and all(array is first for array in arrays):
        return first
    return np.concatenate(
        [
            np.broadcast_to(array, (size, *array.shape[1:]))
            for array, size in zip(arrays, sizes, strict=True)
        ]
    )
