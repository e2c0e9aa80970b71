"""How a request is answered: at once, or by a thread, maybe together with others that wait.

A run that takes no longer than handing it to a thread would is done at once, on the caller's thread, the
event loop. Others wait in a bounded queue, of each model its own and fair between callers. A thread that is
free takes the next request, and those that wait with it where one run of all is cheaper than a run of each.
What `serving.timing` measured when the model was loaded decides both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from serving.artifact import CPU, Artifact
from serving.errors import DeadlineExceeded, Exhausted, OrdinalError
from serving.fairness import FairQueue
from serving.question import Question, joined, parted
from serving.settings import Batch as Mode
from serving.telemetry import Telemetry
from serving.timing import AT_ONCE
from serving.waiting import Batch, Caller, Waiting, Work

_SMALL = 2**16  # bytes of a request that is read on the event loop; larger ones are read on a thread
_FEW = 2**14  # costs and expected costs of a request that is answered at once
_SLOW = 10 * AT_ONCE  # seconds: a run at once that takes so long shows that the measurement says little
_STRIKES = 3  # such runs, of some hundred

logger = logging.getLogger(__name__)


class Batching:
    """Threads that run graphs, and the queues before them."""

    def __init__(
        self,
        threads: int,
        telemetry: Telemetry,
        *,
        batch: Mode = "auto",
        most_rows: int = 512,
        delay: float = 0.0,
        most_waiting: int = 256,
        most_bytes: int = 2**28,
    ) -> None:
        """Make the queues.

        Args:
            threads: That run graphs.
            telemetry: Where runs and refusals are counted.
            batch: Whether requests share runs: `auto`, where that pays; `on` also queues the cheapest.
            most_rows: Of a run of several requests.
            delay: Seconds from a request's arrival that a run which is not full waits for others.
            most_waiting: Requests that may wait for each model.
            most_bytes: Of all requests that are not answered yet.
        """
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        # Of its own, since the others are busy for as long as anything is queued.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._unread = 0
        self._idle = threads
        self._telemetry = telemetry
        self._batch = batch
        self._most_rows = most_rows
        self._delay = delay
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._bytes = 0
        self._changed = threading.Condition()  # of what follows
        self._queues: OrderedDict[Artifact, FairQueue[Waiting]] = OrderedDict()  # the first is the next
        self._gathering: set[Artifact] = set()  # for which a thread waits for more requests
        self._accepted: set[Waiting] = set()

    def submit(self, work: Work, caller: Caller) -> bytes | Future[bytes]:
        """Answer a request: with its reply, or a future that will have it or its `failure`.

        Raises its `failure` where it is refused at once: Exhausted where too much waits already.
        """
        try:
            if work.size > _SMALL:
                return self._read_on_thread(work, caller)
            reading = time.perf_counter()
            question = work.question()
            if self._at_once(question):
                return self._answer_at_once(work, question, caller, reading)
            waiting = self._accept(work, caller)
            waiting.came = waiting.reading = reading
            try:
                self._enqueue(waiting, question)
            except Exhausted:
                self._leave(waiting)
                raise
            return waiting.future
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            told = _told(work, error)
        try:
            raise told
        finally:
            del told  # else this frame and the error hold each other, and the request

    def abandon(self) -> int:
        """Forget what waits; return how many requests go on, since onnxruntime cannot be interrupted."""
        for executor in (self._reader, self._executor):
            executor.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._queues.clear()
            accepted = tuple(self._accepted)
        return sum(not one.future.cancel() and not one.future.done() for one in accepted)

    def _at_once(self, question: Question) -> bool:
        artifact = question.artifact
        timing = artifact.timing
        return (
            timing is not None
            and len(question) <= timing.at_once
            and self._batch != "on"
            and artifact.provider == CPU  # a GPU is waited for
            and (question.cost is artifact.cost or question.numbers + question.cost.size <= _FEW)
        )

    def _answer_at_once(self, work: Work, question: Question, caller: Caller, reading: float) -> bytes:
        read = time.perf_counter()
        left = caller.time_remaining()
        if left is not None and left <= 0:  # it has waited in gRPC's own queue
            self._telemetry.refused(question.model, "expired")
            raise DeadlineExceeded("the deadline passed while the request waited")
        began = time.thread_time()  # of this thread's own work, however busy the machine is
        answer = question.answer()
        seconds = time.thread_time() - began
        ran = time.perf_counter()
        artifact = question.artifact
        if seconds > _SLOW:
            artifact.strikes += 1
        elif artifact.strikes:
            artifact.strikes = max(artifact.strikes - 0.01, 0.0)
        if artifact.strikes >= _STRIKES:  # it depends on more than the number of rows
            logger.info("%s: a run took %.1f ms: it has threads from now on", artifact.path, seconds * 1e3)
            artifact.timing = None
        reply = work.reply(answer)
        counts, trace = question.counts, self._telemetry.trace
        if counts is not None:
            replied = time.perf_counter()
            counts.at_once(len(question), read - reading, ran - read, replied - ran)
            if trace is not None:
                stages = (("read", reading, read), ("run", read, ran), ("reply", ran, replied))
                trace.answered(question, 1, stages)
        return reply

    def _accept(self, work: Work, caller: Caller) -> Waiting:
        if self._bytes and self._bytes + work.size > self._most_bytes:
            self._telemetry.refused("", "queue_full")
            raise Exhausted(
                f"requests of {self._bytes} bytes wait already, this one has {work.size}; "
                f"there is room for {self._most_bytes}",
                retry_after=1.0,
            )
        waiting = Waiting(work, caller)
        waiting.trace = self._telemetry.trace
        with self._changed:
            self._bytes += work.size
            self._accepted.add(waiting)
        return waiting

    def _leave(self, waiting: Waiting) -> None:
        """Forget a request that has its answer; calling this twice does no harm."""
        with self._changed:
            if waiting in self._accepted:
                self._accepted.remove(waiting)
                self._bytes -= waiting.work.size

    def _read_on_thread(self, work: Work, caller: Caller) -> Future[bytes]:
        if self._unread >= self._most_waiting:
            self._telemetry.refused("", "queue_full")
            raise Exhausted(
                f"{self._unread} large requests wait to be read already, as many as may", retry_after=0.1
            )
        waiting = self._accept(work, caller)
        with self._changed:
            self._unread += 1
        self._reader.submit(self._read, waiting)
        return waiting.future

    def _read(self, waiting: Waiting) -> None:
        """Read a large request and queue it."""
        with self._changed:
            self._unread -= 1
        if waiting.future.cancelled():
            self._telemetry.refused("", "cancelled")
            self._leave(waiting)
            return
        try:
            if waiting.expired():
                self._telemetry.refused("", "expired")
                raise DeadlineExceeded("the deadline passed while the request waited")
            waiting.reading = time.perf_counter()
            self._enqueue(waiting, waiting.work.question())
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            self._fail(waiting, error)

    def _enqueue(self, waiting: Waiting, question: Question) -> None:
        waiting.question = question
        waiting.read = time.perf_counter()
        artifact, model = question.artifact, question.model
        with self._changed:
            queue = self._queues.setdefault(artifact, FairQueue())
            length = len(queue)
            # What streams send ahead takes half of the room at most, so that there is some for others.
            full = length >= self._most_waiting // (2 if queue.has(waiting.flow) else 1)
            if not full:
                queue.put(waiting.flow, waiting)
                if question.counts is not None:
                    question.counts.queued += 1
                if artifact in self._gathering:
                    self._changed.notify_all()
                else:
                    self._start_thread()
        if full:
            self._telemetry.refused(model, "queue_full")
            each = artifact.timing.first if artifact.timing is not None else 0.01
            raise Exhausted(
                f"{length} requests wait for model {model!r} already, as many as may",
                retry_after=min(max(length * each / 2, 0.01), 5.0),
            )

    def _work(self) -> None:
        """Answer what waits until nothing does."""
        while taken := self._take():
            try:
                self._run(taken)
            except Exception:  # nobody shall wait for ever, whatever is wrong with this code
                logger.exception("requests were left without an answer")
                for one in taken:
                    if not one.future.done():
                        one.future.set_exception(
                            OrdinalError("internal error; the service's log tells more")
                        )
            finally:
                for one in taken:
                    self._leave(one)
            del taken

    def _take(self) -> list[Waiting]:
        """Return requests that one run answers; none where none wait, and this thread is idle then."""
        with self._changed:
            while (artifact := self._next()) is not None:
                queue = self._queues.pop(artifact)
                batch = Batch(queue.get(), self._most_rows)
                if self._together(artifact):
                    batch.extend(queue)
                    if self._delay and not queue:
                        queue = self._gather(batch, artifact)
                if queue:
                    self._queues[artifact] = queue  # at the end: other models are next
                for one in batch.taken:
                    if (counts := one.asked.counts) is not None:
                        counts.queued -= 1
                wanted = [one for one in batch.taken if self._wanted(one)]
                if wanted:
                    self._start_thread()
                    return wanted
            self._idle += 1
            return []

    def _next(self) -> Artifact | None:
        """Return whose requests are next; those that a thread waits for are left to that one."""
        return next((one for one in self._queues if one not in self._gathering), None)

    def _start_thread(self) -> None:
        """Let an idle thread look at what waits, if there are both."""
        if self._idle and self._next() is not None:
            self._idle -= 1
            self._executor.submit(self._work)

    def _together(self, artifact: Artifact) -> bool:
        match self._batch:
            case "on":
                return True
            case "off":
                return False
            case _:
                return artifact.timing is not None and artifact.timing.pays_together

    def _gather(self, batch: Batch, artifact: Artifact) -> FairQueue[Waiting]:
        """Wait for more that fits, as long as it may; return the queue of what does not fit."""
        end = batch.taken[0].arrived + self._delay
        queue = FairQueue[Waiting]()
        self._gathering.add(artifact)
        while not queue and not batch.full and (left := end - time.monotonic()) > 0:
            self._changed.wait(left)
            queue = self._queues.pop(artifact, queue)
            batch.extend(queue)
        self._gathering.remove(artifact)
        return queue

    def _wanted(self, waiting: Waiting) -> bool:
        """Tell whether anybody waits for a request; its future is running then."""
        reason = ""
        if not waiting.future.set_running_or_notify_cancel():
            reason = "cancelled"
        elif waiting.expired():
            reason = "expired"
            self._fail(waiting, DeadlineExceeded("the deadline passed while the request waited"))
        if reason:
            self._telemetry.refused(waiting.asked.model, reason)
            self._leave(waiting)
        return not reason

    def _run(self, batch: Sequence[Waiting]) -> None:
        """Answer requests by one run; where that fails, each by its own, so that none harms another."""
        began = time.perf_counter()
        try:
            question = joined([one.asked for one in batch])
            answer = question.answer()
            parts = list(parted(answer, [len(one.asked) for one in batch]))
        except Exception as error:  # noqa: BLE001 - onnxruntime raises bare classes of its own
            if len(batch) == 1:
                self._fail(batch[0], error)
                return
            logger.warning("a run of %d requests failed; each gets its own: %s", len(batch), error)
            for one in batch:
                self._run([one])
            return
        ran = time.perf_counter()
        if question.counts is not None:
            question.counts.ran(len(batch), len(question))
        for one, part in zip(batch, parts, strict=True):
            try:
                reply = one.work.reply(part)
                one.ran(began, ran, len(batch))
                one.future.set_result(reply)
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
                self._fail(one, error)

    def _fail(self, waiting: Waiting, error: Exception) -> None:
        """Tell whoever waits."""
        if waiting.future.running() or waiting.future.set_running_or_notify_cancel():
            waiting.future.set_exception(_told(waiting.work, error))
        self._leave(waiting)


def _told(work: Work, error: Exception) -> Exception:
    told = work.failure(error)
    # The frames of its traceback hold the request and its future, which would hold it in turn.
    told.__cause__ = told.__context__ = None
    return told.with_traceback(None)
