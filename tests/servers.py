"""Real servers on free ports: on a thread of this process, and as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from serving.client import Client
from serving.server import Server, create_server
from serving.settings import Settings


class Running:
    """A server in this process, its event loop on a thread."""

    def __init__(self, models: Sequence[Path], settings: Settings) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server: Server = self.do(create_server(settings))
        self.address = self.server.address
        if models:
            self.do(self.server.load([str(model) for model in models]))

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the server's loop, and return what it returns."""
        return self.start(coroutine).result(timeout=30)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        """End server, loop and thread."""
        self.do(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def run_server(*models: Path, **settings: Any) -> Iterator[Running]:
    """Run a server on a free port for as long as the context is open."""
    running = Running(models, Settings(port=0, device="cpu", **{"pause": 0.0, **settings}))
    try:
        yield running
    finally:
        running.stop()


PATIENCE = 240.0  # seconds for a line of a log


class Process:
    """`ordinal-serving serve` as a process of its own, its log read line by line."""

    def __init__(self, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "serving", "serve", "--port", "0", "--device", "cpu"]
        self.popen = subprocess.Popen(
            [*command, *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.log: list[str] = []

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read the log up to the first line that matches."""
        for line in self._lines():
            self.log.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"the log ended without {pattern!r}:\n{''.join(self.log)}")

    def address(self) -> str:
        """Wait until it is serving; return its address."""
        return self.wait_for(r"SERVING on (\S+),")[1]

    def workers(self) -> list[int]:
        """The processes that answer, in the order in which they were started."""
        return children(self.popen.pid, "serving.worker")

    def end(self) -> int:
        """Wait for its end; return the exit status."""
        self.log.extend(self._lines())
        return self.popen.wait(timeout=30)

    def _lines(self) -> Iterator[str]:
        """Read the log; the process is ended where that takes minutes, and with it the log."""
        assert self.popen.stderr is not None
        patience = threading.Timer(PATIENCE, self.popen.kill)
        patience.start()
        try:
            # Not from the file itself, which would be closed with this generator.
            yield from iter(self.popen.stderr.readline, "")
        finally:
            patience.cancel()


def children(pid: int, module: str) -> list[int]:
    """The processes that one has started to run a module, and that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            command = status.with_name("cmdline").read_bytes().split(b"\0")
            if int(parent) == pid and state != "Z" and module.encode() in command:
                found.append(int(status.parent.name))
    return sorted(found)


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Return what the condition returns as soon as that counts as true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.02)
    return found


class Load:
    """Threads that ask all the time, each with connections of its own, and keep what goes wrong."""

    def __init__(self, address: str, rows: np.ndarray, threads: int = 2) -> None:
        self.answered = 0
        self.failures: list[Exception] = []
        self._address = address
        self._rows = rows
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.answered > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with Client(self._address) as client:
            while not self._stop.is_set():
                try:
                    assert len(client.predict(self._rows).probabilities) == len(self._rows)
                    self.answered += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
                    self.failures.append(error)
