"""Programs that run until they end or are told to: in containers, or here."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from engine import ROOT, Engine

SECONDS = 600.0  # of a first start on a busy machine
# What is promised: nothing of the image is written to, and no capability is needed.
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")


class Broken(Exception):
    """An image does not do what it should."""


@dataclass(frozen=True)
class Program:
    """A process, what it says, and how it has to end."""

    name: str
    process: subprocess.Popen[str]
    log: IO[str]  # no pipe, which would stop it where nobody reads

    @property
    def said(self) -> str:
        """What it has written so far."""
        self.log.seek(0)
        return self.log.read()

    def wait_for(self, text: str = "", url: str = "") -> None:
        """Return once it has said a text, or answers at a URL; raises Broken where that takes too long."""
        end = time.monotonic() + SECONDS
        while not (text in self.said if text else _answers(url)):
            if self.process.poll() is not None:
                raise Broken(f"{self.name}: has ended before {text or url}:\n{self.said}")
            if time.monotonic() > end:
                raise Broken(f"{self.name}: no {text or url} within {SECONDS:.0f} s:\n{self.said}")
            time.sleep(0.2)

    def finish(self, status: int = 0) -> str:
        """Wait for its end, and return what it has said; raises Broken at another exit status."""
        got = self.process.wait(timeout=600)
        if got != status:
            raise Broken(f"{self.name}: must end with status {status}, got {got}:\n{self.said}")
        return self.said

    def end(self, status: int) -> str:
        """Tell it to end; as `finish`."""
        self.process.terminate()
        return self.finish(status)


@contextmanager
def _running(
    name: str, command: list[str], environment: dict[str, str], folder: Path, left: Callable[[], object]
) -> Iterator[Program]:
    """Run a command; `left` removes what may be left of one that has not ended by itself."""
    with (
        tempfile.TemporaryFile("a+") as log,
        subprocess.Popen(
            command, env=environment, cwd=folder, text=True, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield Program(name, process, log)
        finally:
            if process.poll() is None:
                process.kill()
                left()


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()
    except (URLError, OSError):
        return False
    return True


@dataclass(frozen=True)
class Image:
    """Where programs of an image run: in a container each, on the network of this machine."""

    engine: Engine
    name: str
    options: tuple[str, ...] = ()

    @contextmanager
    def start(self, program: str, *arguments: str, **environment: str) -> Iterator[Program]:
        """Run a program, "" for the image's own; signals and exit status pass through the engine."""
        container = f"ordinal-image-test-{os.getpid()}-{time.monotonic_ns()}"
        command = [
            *self.engine.words, "run", "--rm", f"--name={container}", "--network=host",
            *HARDENED, *self.options,
            *(f"--env={name}={value}" for name, value in environment.items()),
            *((f"--entrypoint={program}",) if program else ()),
            self.name, *arguments,
        ]  # fmt: skip

        def left() -> None:
            self.engine.do("rm", "--force", container, check=False)

        with _running(container, command, self.engine.full_environment, ROOT, left) as program:
            yield program


@dataclass(frozen=True)
class Here:
    """Where programs of the virtual environment run, in a folder."""

    folder: Path

    @contextmanager
    def start(self, program: str, *arguments: str, **environment: str) -> Iterator[Program]:
        """Run a program."""
        kept = {name: v for name, v in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
        quiet = {"PREFECT_HOME": str(self.folder / "prefect"), "DO_NOT_TRACK": "true"}
        command = [str(ROOT / ".venv" / "bin" / program), *arguments]
        with _running(
            program, command, {**kept, **quiet, **environment}, self.folder, lambda: None
        ) as started:
            yield started
