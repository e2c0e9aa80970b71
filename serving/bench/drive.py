"""One generator: connects, warms up, sends a load, and says what that took itself."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.access import Access
from serving.bench.answers import Seen
from serving.bench.connections import Connections
from serving.bench.load import OK, Load, Record, closed_loop, follow


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What a generator is to do.

    Attributes:
        access: How the address is reached.
        path: Of the gRPC method.
        stream: Whether it takes many requests on a stream.
        requests: Bytes of each, sent in turn.
        deadline: Seconds for each; streams have none.
        seconds: How long to send.
        intended: When, in seconds; left out, a closed loop of `concurrency` requests is sent.
        concurrency: Requests under way in a closed loop, and while warming up.
        warmup: Seconds of a closed loop before, which count for nothing.
        start: When to start sending, by `time.monotonic()`; a generator that is late for that says so.
    """

    address: str
    access: Access = field(default_factory=Access)
    path: str
    stream: bool
    requests: tuple[bytes, ...]
    connections: int
    deadline: float
    seconds: float
    intended: NDArray[np.float64] | None = None
    concurrency: int = 1
    warmup: float = 0.0
    start: float | None = None


@dataclass(frozen=True)
class Failure:
    """How often requests ended with a status other than OK, and what the first such reply said."""

    status: str
    count: int
    text: str

    def __str__(self) -> str:
        return f"{self.count:,} {self.status}{f' ({self.text})' if self.text else ''}"


@dataclass(frozen=True, eq=False)
class Done:
    """What a generator did.

    Attributes:
        load: What became of the requests.
        seen: The replies that were OK.
        texts: Of each other status the text that came first.
        cpu: Seconds of CPU that the generator's process took meanwhile.
        wall: Seconds that it took.
    """

    load: Load
    seen: Seen
    texts: dict[str, str]
    cpu: float
    wall: float

    def failures(self) -> list[Failure]:
        """What became of the requests that were not OK, the most frequent first."""
        return [
            Failure(status or "UNANSWERED", count, self.texts.get(status, ""))
            for status, count in self.load.counts().items()
            if status != OK
        ]


async def drive(job: Job, record: Record) -> Done:
    """Do a job; `record` can be watched, and can end it early.

    Raises Unavailable where no connection comes about.
    """
    seen = Seen(len(job.requests))

    def note(request: int, reply: bytes) -> None:
        seen.note(request, reply)

    async with Connections(job.address, job.connections, job.access) as connections:
        if job.stream:
            send = connections.streamed(job.path, job.requests, note)
        else:
            send = connections.unary(job.path, job.requests, job.deadline, note)
        await connections.ready()
        if job.warmup > 0:
            await closed_loop(send, job.concurrency, job.warmup)
            seen = Seen(len(job.requests))
            connections.texts.clear()
        gc.collect()
        gc.freeze()  # what is there by now need not be looked through during the load
        cpu, wall = time.process_time(), time.monotonic()
        try:
            if job.intended is None:
                load = await closed_loop(send, job.concurrency, job.seconds, record=record)
            else:
                load = await follow(send, job.intended, job.seconds, record=record, begin=job.start)
        finally:
            gc.unfreeze()
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        return Done(load, seen, dict(connections.texts), cpu, wall)
