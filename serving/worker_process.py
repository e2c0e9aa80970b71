"""A worker as the supervisor sees it: a process that is told what to serve, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from typing import Self

from serving import orders
from serving.counts import Counts
from serving.registry_process import import_path
from serving.settings import NO_TELEMETRY

logger = logging.getLogger(__name__)


class WorkerEnded(Exception):
    """The process has ended before it could answer; the message says how."""


_TUNED = {
    # The older of gRPC's two ways to listen takes a tenth less CPU for a call (measured with grpcio 1.85).
    "GRPC_EXPERIMENTS": "-event_engine_listener",
    # Left to itself, glibc soon keeps whatever a model that was replaced had: a tenth more memory after
    # thirty reloads. What is larger than 4 MiB goes back at once, and of the rest what is above 8 MiB.
    "MALLOC_MMAP_THRESHOLD_": str(2**22),
    "MALLOC_TRIM_THRESHOLD_": str(2**23),
    # gRPC itself would write a line for each call whose headers are too large: whoever can connect could
    # fill the disk, and a pipe that is not read fast enough, which stops the worker.
    "GRPC_VERBOSITY": "NONE",
    **NO_TELEMETRY,
}


class WorkerProcess:
    """One process; made by `start`."""

    def __init__(self, process: Process, count: Callable[[Counts], None]) -> None:
        self.failed: orders.Failed | None = None  # why it ends, where it could tell
        self._process = process
        self._count = count
        self._asked: deque[asyncio.Future[orders.Applied]] = deque()  # in the order in which it answers
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, start: orders.Start, count: Callable[[Counts], None]) -> Self:
        """Start a worker, and give what it counts to `count`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "serving.worker"),
            stdin=PIPE,
            stdout=PIPE,
            env={**_TUNED, **os.environ, "PYTHONPATH": import_path()},
            limit=orders.LONGEST,
        )
        made = cls(process, count)
        made._write(start)
        return made

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def apply(self, wanted: orders.Wanted) -> orders.Applied:
        """Have it serve what is wanted; raises WorkerEnded."""
        if self._listening.done():
            raise WorkerEnded(self.ending)
        answer: asyncio.Future[orders.Applied] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._write(wanted)
        return await answer

    def drain(self) -> None:
        """Have it answer what is in flight, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            self._process.kill()

    async def ended(self) -> None:
        """Wait for its end; `ending` is known then."""
        await asyncio.shield(self._listening)

    @property
    def ending(self) -> str:
        """How it has ended, as the end of a sentence about it."""
        if self.failed is not None:
            return f"ended: {self.failed.reason}"
        status = self._process.returncode
        if status is None:
            return "runs"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def _write(self, message: orders.Message) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(orders.encode(message))

    async def _listen(self) -> None:
        """Take in what it tells, until it has ended; one that cannot be understood is killed."""
        assert self._process.stdout is not None
        try:
            await self._hear(self._process.stdout)
        except Exception:
            logger.exception("process %d tells what cannot be understood, and is killed", self.pid)
            self.failed = orders.Failed("it told what cannot be understood, and was killed", "ValueError")
            self.kill()
            with contextlib.suppress(OSError):  # which is told already
                while await self._process.stdout.read(orders.LONGEST):  # a full pipe would hide its end
                    pass
        await self._process.wait()
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(WorkerEnded(self.ending))

    async def _hear(self, output: asyncio.StreamReader) -> None:
        while (line := await output.readline()).endswith(b"\n"):  # the last may be cut off
            match orders.decode(line):
                case orders.Applied() as applied:
                    answer = self._asked.popleft()
                    if not answer.done():  # whoever asked may have been cancelled
                        answer.set_result(applied)
                case orders.Counted(counts):
                    self._count(counts)
                case orders.Failed() as failed:
                    self.failed = failed
                case other:
                    raise ValueError(f"a worker tells nothing like {other}")
