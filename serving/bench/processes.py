"""Several generators at once, each a process of its own, for services that one cannot saturate."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from serving.bench.drive import Done, Job, drive
from serving.bench.load import Record
from serving.errors import OrdinalError


class Processes:
    """Processes that wait for jobs; spawned, since gRPC does not survive a fork."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self._ends = [ours for ours, _ in pipes]
        self._children = [
            context.Process(target=_work, args=(theirs,), daemon=True, name=f"generator {number}")
            for number, (_, theirs) in enumerate(pipes)
        ]
        for child, (_, theirs) in zip(self._children, pipes, strict=True):
            child.start()
            theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends:
            end.close()  # which ends a process that waits for a job
        for child in self._children:
            if error is not None:
                child.terminate()
            child.join()

    async def do(self, jobs: Sequence[Job]) -> list[Done]:
        """Give each process a job, all at once; return what they did, or raise what one raised."""
        for end, job in zip(self._ends, jobs, strict=True):
            end.send(job)
        return list(await asyncio.gather(*(asyncio.to_thread(_result, end) for end in self._ends)))

    def stop(self) -> None:
        """End the jobs early; each process says what it has done so far."""
        for end in self._ends:
            end.send(None)


def _result(end: Connection) -> Done:
    try:
        came = end.recv()
    except (EOFError, ConnectionResetError) as error:
        raise OrdinalError("a process of the generator has ended before its job") from error
    if isinstance(came, OrdinalError):
        raise came
    assert isinstance(came, Done)
    return came


def _work(end: Connection) -> None:
    """Do jobs until there are no more; None between them is a stop that came too late."""
    import uvloop

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which tells the others
    while True:
        try:
            job = end.recv()
        except (EOFError, ConnectionResetError):
            return
        if job is not None:
            done = uvloop.run(_drive(end, job))
            os.set_blocking(end.fileno(), True)  # which uvloop has changed
            end.send(done)


async def _drive(end: Connection, job: Job) -> Done | OrdinalError:
    loop, record = asyncio.get_running_loop(), Record()

    def stop() -> None:
        loop.remove_reader(end.fileno())  # what came is left for `_work`, be it a stop or an end
        record.stop()

    loop.add_reader(end.fileno(), stop)
    try:
        return await drive(job, record)
    except OrdinalError as error:
        return error
    finally:
        loop.remove_reader(end.fileno())
