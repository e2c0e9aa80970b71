"""The process that asks the registry, `serving.registry`, as the service sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from serving.errors import RegistryError
from serving.settings import Settings

_MODULE = "serving.registry"
_LONGEST_LINE = 16 * 2**20  # bytes; an answer is a line
_FIRST_REST, _LONGEST_REST = 1.0, 60.0  # seconds before a process that ended is started again
_TIME_TO_END = 2.0  # seconds

_Answer = TypeVar("_Answer")

_QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}


async def ask(models: Sequence[str], settings: Settings) -> bytes:
    """Ask the registry once; return the answer, a line that `Findings.from_line` reads.

    Raises RegistryError where the process ends without one.
    """
    process = await _start(models, settings)
    try:
        answer, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RegistryError(_last_line(said))
    return answer


class RegistryProcess:
    """A process that looks at the registry again and again, and is started again when it ends."""

    def __init__(self, models: Sequence[str], settings: Settings) -> None:
        self._models = models
        self._settings = settings
        self._process: Process | None = None
        self._said = b""  # its last words on standard error
        self._listening: asyncio.Task[None] | None = None
        self._ends = 0  # without an answer in between
        self._hurry = asyncio.Event()

    async def answer(self, read: Callable[[bytes], _Answer]) -> _Answer:
        """Wait for what the next look finds, a line, and return what `read` makes of it.

        Raises RegistryError when the process cannot be started or ends, or when `read` does, or the line is
        too long, and the process is killed for that; called again, it is started again after a rest.
        """
        try:
            if self._process is None:
                await self._rest()
                self._process = await _start(
                    self._models, self._settings, "--watch", str(self._settings.poll), stdin=PIPE
                )
                self._listening = asyncio.create_task(self._listen(self._process))
            assert self._process.stdout is not None
            line = await _line(self._process.stdout)
            if line.endswith(b"\n"):
                answer = read(line)
                self._ends = 0
                return answer
        except RegistryError:
            self._ends += 1
            if self._process is not None:
                await self._end(self._process)
            raise
        self._ends += 1
        raise RegistryError(f"the process that asks the registry ended: {await self._last_words()}")

    def look(self) -> None:
        """Have it look at once."""
        self._hurry.set()
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.write(b"look\n")

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # which ends it, unless it hangs
        try:
            await asyncio.wait_for(process.wait(), _TIME_TO_END)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # What hangs in the kernel, on a share that is away, ends when that lets it go.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _TIME_TO_END)
        await self._hear_out()

    async def _end(self, process: Process) -> None:
        """End a process whose answers cannot be read."""
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.kill()
        assert process.stdout is not None
        while await process.stdout.read(_LONGEST_LINE):  # a full pipe would hide its end
            pass
        await self._last_words()

    async def _rest(self) -> None:
        self._hurry.clear()
        if self._ends:
            pause = min(_FIRST_REST * 2.0 ** min(self._ends - 1, 10), _LONGEST_REST)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause)

    async def _listen(self, process: Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue  # a line of 16 MB is no last word
            if not line:
                return
            self._said = line.strip() or self._said

    async def _hear_out(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _last_words(self) -> str:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        code = await process.wait()
        if self._listening is not None:
            await asyncio.wait({self._listening}, timeout=_TIME_TO_END)
        await self._hear_out()
        if code < 0:
            return f"killed by signal {-code}"
        return f"status {code}, {_last_line(self._said)}"


async def _start(
    models: Sequence[str], settings: Settings, *options: str, stdin: int | None = None
) -> Process:
    """Start the process; raises RegistryError where this machine has no room for it."""
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _MODULE, *options),
            *("--cache", str(settings.cache_folder())),
            *models,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=PIPE,
            stderr=PIPE,
            limit=_LONGEST_LINE,
            # Ctrl-C in a terminal is for the service, which then ends this process.
            start_new_session=True,
            # Not as an argument, which anybody on this machine may read: there may be a password in it.
            env={
                **os.environ,
                **_QUIET,
                "PYTHONPATH": import_path(),
                "MLFLOW_TRACKING_URI": settings.registry(),
            },
        )
    except OSError as error:
        text = f"the process that asks the registry cannot be started: {error.strerror}"
        raise RegistryError(text) from error


async def _line(output: asyncio.StreamReader) -> bytes:
    """Return the next line, or what is left at the end; raises RegistryError where it is too long."""
    try:
        return await output.readline()
    except ValueError as error:
        raise RegistryError(
            f"the process that asks the registry must answer with lines of at most {_LONGEST_LINE} bytes"
        ) from error


def import_path() -> str:
    """PYTHONPATH with which a process finds this package also where the service runs from a checkout."""
    here = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def _last_line(said: bytes) -> str:
    return (said.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
