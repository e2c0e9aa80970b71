"""The commands, run as processes of their own in a folder of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

CONFIG = """
name = "grades"
[data]
source = "rows.csv"
label = "grade"
[model]
hidden = [16]
[search]
losses = ["rps"]
trials = 3
epochs = 10
learning_rate = 0.01
"""


def write_project(folder: Path, rows: int = 1500) -> None:
    """Write rows with four grades, and a config for them."""
    random = np.random.default_rng(0)
    size = random.normal(size=rows)
    grade = np.digitize(size + random.normal(0, 0.4, rows), [-1, 0, 1])
    colour = random.choice(["red", "green", "blue", ""], rows)
    lines = [f"{s:.6g},{c},{g}" for s, c, g in zip(size, colour, grade, strict=True)]
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text("\n".join(["size,colour,grade", *lines]), encoding="utf-8")
    (folder / "model.toml").write_text(CONFIG, encoding="utf-8")


class Command:
    """One `ordinal-pipeline` process, whose standard error is read as it comes."""

    def __init__(self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it without the stores and servers that this process may be set to."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=folder,
            env={**kept, "PREFECT_HOME": str(folder / "prefect"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that what it leaves can be ended
        )
        self.lines: list[str] = []
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """What it has written to its standard error."""
        return "".join(self.lines)

    def wait_for(self, text: str, seconds: float = 240) -> None:
        """Return once it has written a text; fails where it ends before, or takes too long."""
        with self._new:
            self._new.wait_for(lambda: text in self.log or not self._reader.is_alive(), seconds)
        assert text in self.log, self.log

    def kill(self) -> None:
        """End the process itself with SIGKILL, and nothing that it has started."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def finish(self, seconds: float = 400) -> tuple[int, str]:
        """Return its exit status and what it has written to its standard output."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        status = self.process.wait(seconds)
        self._reader.join(30)
        return status, out

    def close(self) -> None:
        """End whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self._reader.join(30)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._new:
                self.lines.append(line)
                self._new.notify_all()
        with self._new:
            self._new.notify_all()


@contextmanager
def started(folder: Path, *arguments: str, **environment: str) -> Iterator[Command]:
    """Start a command; nothing of it is left in the end."""
    command = Command(folder, arguments, environment)
    try:
        yield command
    finally:
        command.close()
