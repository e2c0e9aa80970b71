"""The loads of a measurement, sent by this process or by several others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from serving.bench.answers import Seen
from serving.bench.drive import Done, Job, drive
from serving.bench.load import Record, merged, schedule
from serving.bench.plan import Plan
from serving.bench.processes import Processes

CONCURRENCY = 64
"""Requests under way, of all connections together, when a service is saturated."""
SEARCH = 3.0
"""Seconds of looking for what a service can do at most, unless the load is shorter."""
_CONNECTING = 1.0  # seconds, in which several processes are ready to start together


class Watcher(Protocol):
    """Is told of each load."""

    def watching(
        self, what: str, seconds: float, record: Record | None
    ) -> AbstractAsyncContextManager[None]:
        """Return what lasts as long as the load does; several processes have no record to look at."""
        ...


class Generators:
    """What sends the loads of a plan; `stopped` after `stop`, which ends the one under way early."""

    def __init__(self, plan: Plan, path: str, requests: tuple[bytes, ...], watcher: Watcher) -> None:
        self.stopped = False
        self._plan = plan
        self._path = path
        self._requests = requests
        self._watcher = watcher
        self._record = Record()
        self._warmup = plan.warmup
        self._processes: Processes | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            if self._plan.processes > 1:
                self._processes = stack.enter_context(Processes(self._plan.processes))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def stop(self) -> None:
        """Send no more; what was sent so far counts."""
        self.stopped = True
        self._record.stop()
        if self._processes is not None:
            self._processes.stop()

    async def saturate(self) -> Done:
        """Keep many requests under way, in a closed loop."""
        return await self._send("looking for saturation", min(SEARCH, self._plan.seconds), None)

    async def follow(self, rate: float) -> Done:
        """Send `rate` requests a second, in an open loop."""
        plan = self._plan
        intended = schedule(rate, plan.seconds, plan.arrivals, plan.seed)
        return await self._send(f"{rate:,.0f} requests/s", plan.seconds, intended)

    async def _send(self, what: str, seconds: float, intended: NDArray[np.float64] | None) -> Done:
        count = self._plan.processes
        warmup, self._warmup = self._warmup, min(self._warmup, 0.2)  # again for new connections only
        start = None if count == 1 else time.monotonic() + warmup + _CONNECTING
        jobs = [
            Job(
                address=self._plan.address,
                access=self._plan.access,
                path=self._path,
                stream=self._plan.stream,
                requests=self._requests,
                connections=max(1, self._plan.connections // count),
                deadline=self._plan.deadline,
                seconds=seconds,
                intended=None if intended is None else intended[number::count],
                concurrency=max(1, CONCURRENCY // count),
                warmup=warmup,
                start=start,
            )
            for number in range(count)
        ]
        if self._processes is not None:
            async with self._watcher.watching(what, seconds, None):
                return _together(await self._processes.do(jobs))
        self._record = Record()
        async with self._watcher.watching(what, seconds, self._record):
            return await drive(jobs[0], self._record)


def _together(done: Sequence[Done]) -> Done:
    seen = Seen(len(done[0].seen.replies))
    for one in done:
        seen.add(one.seen)
    return Done(
        load=merged([one.load for one in done]),
        seen=seen,
        texts={status: text for one in reversed(done) for status, text in one.texts.items()},
        cpu=sum(one.cpu for one in done),
        wall=max(one.wall for one in done),
    )
