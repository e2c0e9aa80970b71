"""Requests that wait together are answered together, by one run of the graph.

Nothing waits for company: whoever is free takes all that has queued up meanwhile. Requests with costs and
coverages of their own share a run where the shapes of their cost arrays agree.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Answer, Artifact
from serving.errors import OrdinalError
from serving.rows import Rows

_MOST_TAKEN = 64  # requests
_MOST_BYTES = 2**18  # of requests that are taken together; large ones are better spread over threads
_MOST_NUMBERS = 2**21  # costs and expected costs of requests that are taken together, 8 MiB

logger = logging.getLogger(__name__)


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

    @property
    def numbers(self) -> int:
        """Costs that it has, once repeated for each row, and expected costs that it asks for."""
        return len(self) * int(self.cost[0].size + self.cost[0, :, 0].size)


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
        self._taking = threading.Lock()
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
        self._executor.shutdown(wait=False, cancel_futures=True)
        return sum(not future.cancel() and not future.done() for future in tuple(self._accepted))

    def _accept(self, future: Future[bytes]) -> Future[bytes]:
        self._accepted.add(future)
        future.add_done_callback(self._accepted.discard)
        return future

    def _work(self) -> None:
        taken = self._take()
        try:
            self._answer_all(taken)
        except Exception:  # nobody shall wait for ever, whatever is wrong with this code
            logger.exception("requests were left without an answer")
            for one in taken:
                if not one.future.done():
                    one.future.set_exception(OrdinalError("internal error; the service's log tells more"))

    def _answer_all(self, taken: Sequence[_Waiting]) -> None:
        groups: dict[Hashable, list[_Asked]] = {}
        numbers = 0
        for one in taken:
            asked = one.asked()
            if asked is None:
                continue
            groups.setdefault(asked.question.shape, []).append(asked)
            numbers += asked.question.numbers
            if numbers > _MOST_NUMBERS:  # a small request may ask for much: it is answered before the next
                self._answer(groups)
                groups, numbers = {}, 0
        self._answer(groups)

    def _take(self) -> list[_Waiting]:
        """Return what waits, up to a limit; at least one request where any does."""
        taken: list[_Waiting] = []
        size = 0
        with self._taking:
            while self._waiting and len(taken) < (_MOST_TAKEN if self._most_rows > 1 else 1):
                size += self._waiting[0].work.size
                if taken and size > _MOST_BYTES:
                    break
                taken.append(self._waiting.popleft())
        return taken

    def _answer(self, groups: Mapping[Hashable, Sequence[_Asked]]) -> None:
        """Answer the requests of each group together, as far as the limit on rows allows."""
        for alike in groups.values():
            batch: list[_Asked] = []
            rows = 0
            for one in alike:
                rows += len(one.question)
                if batch and rows > self._most_rows:
                    _answer(batch)
                    batch, rows = [], len(one.question)
                batch.append(one)
            _answer(batch)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A request in the queue."""

    work: Work
    future: Future[bytes]

    def asked(self) -> _Asked | None:
        """Return it with its question; None where nobody waits any more, or where it has none."""
        if self.future.cancelled():
            return None
        try:
            return _Asked(self, self.work.question())
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            if self.future.set_running_or_notify_cancel():
                self.fail(error)
            return None

    def reply(self, answer: Answer) -> None:
        """Give the reply to whoever waits."""
        try:
            self.future.set_result(self.work.reply(answer))
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Tell whoever waits."""
        told = self.work.failure(error)
        # The frames of its traceback hold the request and this future, which would hold it in turn.
        told.__cause__ = told.__context__ = None
        self.future.set_exception(told.with_traceback(None))


@dataclass(frozen=True, eq=False)
class _Asked:
    """A request and its question."""

    request: _Waiting
    question: Question


def _answer(batch: Sequence[_Asked]) -> None:
    """Answer requests by one run, but those that nobody waits for any more."""
    wanted = [one for one in batch if one.request.future.set_running_or_notify_cancel()]
    if wanted:
        _run(wanted)


def _run(batch: Sequence[_Asked]) -> None:
    """Answer requests by one run; where that fails, each by its own, so that none harms another."""
    try:
        question = joined([one.question for one in batch])
        answer = question.artifact.run(question.rows, question.cost, question.coverage)
        parts = list(parted(answer, [len(one.question) for one in batch]))
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare classes of its own
        if len(batch) == 1:
            batch[0].request.fail(error)
            return
        logger.warning("a run of %d requests together failed; each gets its own: %s", len(batch), error)
        for one in batch:
            _run([one])
        return
    for one, part in zip(batch, parts, strict=True):
        one.request.reply(part)


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
