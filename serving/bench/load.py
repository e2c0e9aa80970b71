"""The engine of load: when requests are sent, and what became of each.

In an open loop requests are sent when they are due, whatever became of those before. A latency counts from
the time a request was due: a server that stalls then shows in the latency of all requests that were due
meanwhile, and so does a generator that falls behind, which `Load.lateness` tells apart.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from serving.bench.alarm import Alarm
from serving.bench.plan import Arrivals

Send = Callable[[int], Awaitable[str]]
"""Sends the request of a number, counted from 0, and returns the name of its status."""

OK = "OK"
_LOOK = 0.25  # seconds between looks whether the load is to end early
_LAST_REPLIES = 1.0  # seconds that replies have to come after an early end


@dataclass(frozen=True, eq=False)
class Load:
    """What became of each request; times are seconds since the start.

    Attributes:
        intended: `(n,)`, when a request was due; of a closed loop when it was sent.
        sent: `(n,)`, when it was sent.
        done: `(n,)`, when its reply or its failure came; NaN where neither did before an early end.
        status: `(n,)`, `"OK"` or another name of a gRPC status; `""` where `done` is NaN.
        seconds: How long requests were sent.
    """

    intended: NDArray[np.float64]
    sent: NDArray[np.float64]
    done: NDArray[np.float64]
    status: NDArray[np.str_]
    seconds: float

    @property
    def latency(self) -> NDArray[np.float64]:
        """`(n,)`, from the time it was due to its end, in seconds."""
        return self.done - self.intended

    @property
    def lateness(self) -> NDArray[np.float64]:
        """`(n,)`, from the time it was due to the time it was sent: what the generator itself added."""
        return self.sent - self.intended

    @property
    def rate(self) -> float:
        """Good answers a second, of those that came while requests were sent."""
        in_time = int(np.sum((self.status == OK) & (self.done <= self.seconds)))
        return in_time / self.seconds if self.seconds > 0 else 0.0

    def counts(self) -> dict[str, int]:
        """How many requests ended with each status, the most frequent first; `""`: not at all."""
        return dict(Counter(self.status.tolist()).most_common())

    def percentiles(self, points: Sequence[float], status: str = OK) -> list[float]:
        """Latencies that so many percent of the requests of a status do not exceed; NaN without any."""
        return percentiles(self.latency[self.status == status], points)


def percentiles(samples: NDArray[np.float64], points: Sequence[float]) -> list[float]:
    """Return samples that so many percent do not exceed: each is one of them, none is interpolated."""
    if not len(samples):
        return [math.nan] * len(points)
    found: list[float] = np.percentile(samples, points, method="higher").tolist()
    return found


def merged(loads: Sequence[Load]) -> Load:
    """Return what several generators did at the same time as one load."""
    intended = np.concatenate([load.intended for load in loads])
    order = np.argsort(intended, kind="stable")
    return Load(
        intended[order],
        np.concatenate([load.sent for load in loads])[order],
        np.concatenate([load.done for load in loads])[order],
        np.concatenate([load.status for load in loads])[order],
        max(load.seconds for load in loads),
    )


class Record:
    """A load under way: what became of its requests so far, and a way to end it early."""

    def __init__(self) -> None:
        self.intended: list[float] = []
        self.sent: list[float] = []
        self.done: list[float] = []
        self.status: list[str] = []
        self.ended = 0
        self.failed = 0
        self.stopping = False
        self._stopped = math.inf
        self._begin = time.monotonic()

    def begin(self, moment: float) -> None:
        """Take a moment of `time.monotonic()` for the start."""
        self._begin = moment

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def stop(self) -> None:
        """Send no more, and wait a second at most for the replies that are due."""
        if not self.stopping:
            self.stopping = True
            self._stopped = self.now()

    def due(self, intended: float) -> int:
        """Note that a request is due; return its number."""
        self.intended.append(intended)
        self.sent.append(math.nan)
        self.done.append(math.nan)
        self.status.append("")
        return len(self.intended) - 1

    async def send(self, send: Send, number: int) -> None:
        """Send a request, and note what becomes of it."""
        self.sent[number] = self.now()
        status = await send(number)
        self.done[number] = self.now()
        self.status[number] = status
        self.ended += 1
        self.failed += status != OK

    def load(self, seconds: float) -> Load:
        """Return what became of the requests, sent within so many seconds, or until it was stopped."""
        return Load(
            np.array(self.intended, np.float64),
            np.array(self.sent, np.float64),
            np.array(self.done, np.float64),
            np.array(self.status, np.str_),
            max(0.0, min(seconds, self._stopped)),
        )


def schedule(rate: float, seconds: float, arrivals: Arrivals, seed: int = 0) -> NDArray[np.float64]:
    """Return when requests are due: at equal distances, or as independent callers would come.

    Raises ValueError where rate or seconds are not positive, or arrivals are of no kind.
    """
    if not (rate > 0 and seconds > 0):
        raise ValueError(f"rate and seconds must be positive, got {rate:g} a second for {seconds:g} s")
    match arrivals:
        case "constant":
            return np.arange(max(1, round(rate * seconds))) / rate
        case "poisson":
            random = np.random.default_rng(seed)
            return np.sort(random.uniform(0, seconds, max(1, random.poisson(rate * seconds))))
        case _:
            raise ValueError(f"arrivals must be one of {', '.join(get_args(Arrivals))}, got {arrivals!r}")


async def open_loop(
    send: Send,
    rate: float,
    seconds: float,
    *,
    arrivals: Arrivals = "constant",
    seed: int = 0,
    record: Record | None = None,
) -> Load:
    """Send `rate` requests a second when they are due, and return when all have ended.

    `record` can be watched meanwhile, and can end the load early. What `send` raises ends it too.
    """
    return await follow(send, schedule(rate, seconds, arrivals, seed), seconds, record=record)


async def follow(
    send: Send,
    intended: NDArray[np.float64],
    seconds: float,
    *,
    record: Record | None = None,
    begin: float | None = None,
) -> Load:
    """As `open_loop`, at times of one's own, counted from `begin` of `time.monotonic()`, or from now."""
    record = record or Record()
    begin = time.monotonic() if begin is None else begin
    record.begin(begin)
    tasks = _Tasks()
    try:
        with Alarm() as alarm:

            async def reached(moment: float) -> bool:
                """Wait for it; False where the load ends before."""
                while (now := record.now()) < moment and not (record.stopping or tasks.failure):
                    await alarm.until(begin + min(moment, now + _LOOK))
                return not (record.stopping or tasks.failure)

            for due in intended.tolist():
                if not await reached(due):
                    break
                tasks.start(record.send(send, record.due(due)))
            await reached(seconds)
        await tasks.end(record)
    finally:
        tasks.cancel()
    return record.load(seconds)


async def closed_loop(
    send: Send, concurrency: int, seconds: float, *, record: Record | None = None
) -> Load:
    """Keep so many requests under way, each sent when another has ended: what a service can do at most."""
    record = record or Record()
    record.begin(time.monotonic())

    async def caller() -> None:
        while not record.stopping and (now := record.now()) < seconds:
            await record.send(send, record.due(now))

    tasks = _Tasks()
    try:
        for _ in range(concurrency):
            tasks.start(caller())
        await tasks.end(record)
    finally:
        tasks.cancel()
    return record.load(seconds)


class _Tasks:
    """Tasks under way, and the first that failed."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    async def end(self, record: Record) -> None:
        """Wait until all have ended, or a moment after an early end; raise what one has raised."""
        left = math.inf
        while self._under_way and self.failure is None and time.monotonic() < left:
            await asyncio.wait(self._under_way, timeout=_LOOK)
            if record.stopping and left == math.inf:
                left = time.monotonic() + _LAST_REPLIES
        if self.failure is not None:
            raise self.failure

    def cancel(self) -> None:
        """End those that are left; nobody waits for them."""
        for task in self._under_way:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()
