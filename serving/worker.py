"""One worker: a process that loads what the supervisor wants, and answers; see `serving.orders`.

`python -m serving.worker`, which only the supervisor starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from serving import logs, orders
from serving.usage import Usage

if TYPE_CHECKING:
    from serving.server import Server

_COUNTING = 0.5  # seconds between what is told of calls and runs

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until the input ends, or SIGTERM; end with status 0 once all requests are answered."""
    # Ctrl-C reaches all processes of a terminal: the supervisor decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever some library prints shall not get between the messages.
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(output))
        # Without stopping the server, see `finish`, and without waiting for threads inside onnxruntime.
        logging.shutdown()
        os._exit(0)


async def _run(output: int) -> None:
    from serving.errors import AddressError, SettingError
    from serving.server import create_server

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    received = asyncio.StreamReader(limit=orders.LONGEST)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(received), sys.stdin
    )
    line = await received.readline()
    if not line:
        return  # the supervisor has ended
    start = orders.decode(line)
    assert isinstance(start, orders.Start)
    settings = start.settings
    logs.begin(settings.log_format, start.number, alone=settings.workers == 1)
    try:
        server = await create_server(settings, reserved=True)
    except (AddressError, SettingError) as error:
        _tell(output, orders.Failed(str(error), type(error).__name__))
        return
    tracer = None
    if settings.traces:
        from serving.traces import Tracer

        tracer = Tracer(settings.traces, f"{server.address}/{start.number}", server.telemetry)
    server.telemetry.set_up(counting=start.counted, tracer=tracer)
    await _Worker(server, output, start.number).run(received, stop, start)
    if tracer is not None:
        await tracer.close()


class _Worker:
    """A server that serves what it is told to, and tells what became of it."""

    def __init__(self, server: Server, output: int, number: int) -> None:
        self._server = server
        self._output = output
        self._usage = Usage(number)
        self._wanted: asyncio.Queue[orders.Wanted] = asyncio.Queue()

    async def run(self, received: asyncio.StreamReader, stop: asyncio.Event, start: orders.Start) -> None:
        """Serve until `stop`, or nothing more is received."""
        works = [asyncio.create_task(self._hear(received)), asyncio.create_task(self._obey())]
        if start.counted or start.settings.traces:  # which count as well
            works.append(asyncio.create_task(self._count(told=start.counted)))
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *works}, return_when=asyncio.FIRST_COMPLETED)
        grace = start.settings.grace
        logger.info("draining: at most %g s for the requests in flight", grace)
        await self._server.finish()
        for work in (stopping, *works):
            work.cancel()
        abandoned = self._server.abandon()
        if abandoned:
            logger.warning("%d requests are not done after %g s and are abandoned", abandoned, grace)
        if start.counted:
            self._take_counts(told=True)
        for work in works:
            if work in done:
                work.result()  # a fault of ours

    async def _hear(self, received: asyncio.StreamReader) -> None:
        while line := await received.readline():
            message = orders.decode(line)
            assert isinstance(message, orders.Wanted)
            self._wanted.put_nowait(message)

    async def _obey(self) -> None:
        while True:
            wanted = await self._wanted.get()
            applied = await self._server.apply(wanted)
            _keep_for_good()
            _tell(self._output, applied)

    async def _count(self, *, told: bool) -> None:
        while True:
            await asyncio.sleep(_COUNTING)
            self._take_counts(told=told)

    def _take_counts(self, *, told: bool) -> None:
        """Take what was counted; where nobody wants to know it, it shall not pile up either."""
        counts = self._server.telemetry.take()
        self._usage.take(counts)
        if counts and told:
            _tell(self._output, orders.Counted(counts))


def _keep_for_good() -> None:
    """Let the collector of cycles pass over what is there now, which would hold up requests for 30 ms."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def _tell(output: int, message: orders.Message) -> None:
    left = orders.encode(message)
    with contextlib.suppress(BrokenPipeError):  # the supervisor has ended, and soon the input will
        while left:
            left = left[os.write(output, left) :]


if __name__ == "__main__":
    main()
