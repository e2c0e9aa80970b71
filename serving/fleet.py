"""The workers: as many as wanted, all serving the same, each started anew when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from serving.errors import AddressError, OrdinalError
from serving.metrics import Metrics
from serving.orders import Applied, Start, Wanted
from serving.settings import Settings
from serving.worker_process import WorkerEnded, WorkerProcess

_RESTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds before a worker is started anew, by how many in its place have ended in a row."""
_STEADY = 60.0  # seconds that a worker has to last to be no longer one of these

_AGAIN = 10.0  # seconds before a worker tries again what it could not load and others serve

_MARGIN = 10.0  # seconds that a worker may take to end beyond what its drain takes at most

logger = logging.getLogger(__name__)


class Fleet:
    """Workers: first `start`, then `begin`, then `keep`; in the end `stop` or `kill`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._workers: dict[int, WorkerProcess] = {}
        self._wanted = Wanted({})
        self._ready: set[int] = set()
        self._lacking: set[int] = set()  # those that could not load what all should serve
        self._one_ready = asyncio.Event()

    async def start(self) -> None:
        """Start the processes, which then load what they need to load models."""
        for number in range(1, self._settings.workers + 1):
            await self._start(number)

    async def begin(self, wanted: Wanted) -> Applied:
        """Have all workers serve what is wanted; return what one has answered, which may have refused some.

        Raises:
            AddressError: Where they cannot listen.
            OrdinalError: Where one has ended.
        """
        self._wanted = wanted
        answers = await asyncio.gather(
            *(self._apply(number, wanted) for number in self._workers), return_exceptions=True
        )
        for number, answer in zip(self._workers, answers, strict=True):
            if isinstance(answer, WorkerEnded):
                failed = self._workers[number].failed
                if failed is not None and failed.kind == AddressError.__name__:
                    raise AddressError(failed.reason)
                raise OrdinalError(f"a worker {answer} before it was ready; what it has said is above")
            if isinstance(answer, BaseException):
                raise answer
        refusing = [one for one in answers if isinstance(one, Applied) and one.refused]
        return (refusing or [one for one in answers if isinstance(one, Applied)])[0]

    async def keep(self) -> None:
        """Start workers anew whenever they end, until this is cancelled."""
        await asyncio.gather(*(self._keep(number) for number in tuple(self._workers)))

    async def attempt(self, wanted: Wanted) -> Applied:
        """Have one worker serve what is wanted, and return its answer; the others go on as they are.

        Raises WorkerEnded where it ends by that, and another one too.
        """
        for last in (False, True):
            await self._one_ready.wait()
            number = min(self._ready - self._lacking or self._ready)
            try:
                return await self._apply(number, wanted)
            except WorkerEnded as error:
                self._lost(number)
                logger.error("worker %d %s while it loaded another version", number, error)
                if last:
                    raise
        raise AssertionError

    async def change(self, wanted: Wanted) -> None:
        """Have all workers serve what is wanted, one after the other: loading takes from what answers."""
        self._wanted = wanted
        for number in tuple(self._workers):
            await self._bring_up(number)

    async def stop(self) -> None:
        """Let all workers answer what is in flight, and end."""
        for worker in self._workers.values():
            worker.drain()
        longest = self._settings.pause + self._settings.grace + _MARGIN
        try:
            async with asyncio.timeout(longest):
                await self._ended()
        except TimeoutError:
            logger.error("workers have not ended within %g s and are killed", longest)
            await self.kill()

    async def kill(self) -> None:
        """End all workers at once."""
        for worker in self._workers.values():
            worker.kill()
        await self._ended()

    async def _ended(self) -> None:
        await asyncio.gather(*(worker.ended() for worker in self._workers.values()))

    async def _start(self, number: int) -> None:
        start = Start(self._settings, number, counted=bool(self._settings.metrics))
        self._workers[number] = await WorkerProcess.start(
            start, lambda counts: self._metrics.count(number, counts)
        )

    async def _apply(self, number: int, wanted: Wanted) -> Applied:
        applied = await self._workers[number].apply(wanted)
        self._metrics.serving(number, applied.served.values())
        self._ready.add(number)
        self._one_ready.set()
        return applied

    def _lost(self, number: int) -> None:
        self._ready.discard(number)
        self._lacking.discard(number)
        if not self._ready:
            self._one_ready.clear()
        self._metrics.left(number)

    async def _bring_up(self, number: int) -> None:
        """Have a worker serve what all do."""
        with contextlib.suppress(WorkerEnded):  # another one takes its place, and serves that
            applied = await self._apply(number, self._wanted)
            for model, refusal in applied.refused.items():
                logger.error("worker %d cannot serve %s: %s", number, model, refusal.reason)
            self._lacking.discard(number)
            if applied.refused:
                self._lacking.add(number)
            if applied.served.keys() != self._wanted.models.keys() and self._ready - self._lacking:
                # It would tell callers that there is no such model, while others have it.
                self._workers[number].drain()

    async def _keep(self, number: int) -> None:
        ends = 0
        while True:
            worker, began = self._workers[number], time.monotonic()
            await self._until_ended(number, worker)
            self._lost(number)
            ends = ends + 1 if time.monotonic() - began < _STEADY else 1
            rest = _RESTS[min(ends, len(_RESTS)) - 1]
            logger.error(
                "worker %d, process %d, %s; another one takes its place%s",
                *(number, worker.pid, worker.ending, f" in {rest:g} s" if rest else ""),
            )
            await asyncio.sleep(rest)
            while True:
                try:
                    await self._start(number)
                    break
                except OSError as error:  # no memory, processes or files are left, say
                    ends += 1
                    rest = _RESTS[min(ends, len(_RESTS)) - 1]
                    logger.error("worker %d cannot be started: %s; again in %g s", number, error, rest)
                    await asyncio.sleep(rest)
            self._metrics.restarted()
            await self._bring_up(number)

    async def _until_ended(self, number: int, worker: WorkerProcess) -> None:
        """Wait for a worker's end; one that lacks something tries that again now and then."""
        while True:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(worker.ended(), _AGAIN)
            if number in self._lacking:
                await self._bring_up(number)
