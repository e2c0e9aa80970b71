"""Servers as processes on a core of their own: the service, the bare echo, and others."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cpu

_SERVING = re.compile(r"SERVING on (\S+?:\d+)")
_START, _END = 90.0, 10.0  # seconds that a server may take to start, and to end


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str
    pid: int

    def pids(self) -> tuple[int, ...]:
        """Return its process and all that it has started."""
        return tuple(cpu.tree(self.pid))


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    *,
    address: str | None = None,
    ready: Callable[[], bool] = lambda: True,
    env: Mapping[str, str] | None = None,
    on: Sequence[int] = (),
) -> Iterator[Server]:
    """Run a server for as long as the context is open.

    Args:
        command: That starts it.
        address: Where it listens; left out, it says so itself, on a line with "SERVING on".
        ready: Whether it answers by now; asked until it does.
        env: Of its environment what differs from this one.
        on: Cores that it may use; empty: that of servers.

    Raises RuntimeError, with the last lines that it wrote, where it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out, cpu.pinned(*(on or cpu.cores()[:1])):
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                cwd=folder,
                start_new_session=True,
            )
        try:
            yield Server(_when_ready(process, log, address, ready), process.pid)
        finally:
            _end(process)


def service(
    model: Path, *options: str, on: Sequence[int] = ()
) -> contextlib.AbstractContextManager[Server]:
    """Run the service of this repository on a model, its metrics to be had."""
    command = [sys.executable, "-m", "serving", "serve", str(model), "--port", "0", "--device", "cpu"]
    return started([*command, "--metrics", "127.0.0.1:0", *options], on=on)


def echo(replies: Sequence[bytes], folder: Path) -> contextlib.AbstractContextManager[Server]:
    """Run a server that answers with these bytes; `folder` is where it finds them."""
    files = [folder / f"reply{number}" for number in range(len(replies))]
    for file, reply in zip(files, replies, strict=True):
        file.write_bytes(reply)
    return started([sys.executable, Path(__file__).with_name("echo.py"), *files])


def _when_ready(
    process: subprocess.Popen[bytes], log: Path, address: str | None, ready: Callable[[], bool]
) -> str:
    until = time.monotonic() + _START
    while time.monotonic() < until and process.poll() is None:
        said = address or next(iter(_SERVING.findall(log.read_text(errors="replace"))), "")
        if said and ready():
            return said
        time.sleep(0.02)
    how = f"ended with status {process.returncode}" if process.poll() is not None else "does not answer"
    last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise RuntimeError(f"{process.args!r} {how} after the start; it wrote:\n{last}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it has started, which are a process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END)
    with contextlib.suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
