"""The process of one scheduled run, from the side of the schedule that started it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pipeline
from pipeline import tied
from pipeline.schedule import one_run

GRACE = 40.0
"""Seconds that a run which is told to end has for it."""


class Going:
    """A run that has a process. It ends with this one, whatever that dies of, see `tied`."""

    def __init__(self, run: UUID, name: str, url: str) -> None:
        """Start it; raises OSError where there can be no process.

        Args:
            run: Its id in Prefect.
            name: Of the run.
            url: Of Prefect's API.
        """
        self.id = run
        self.name = name
        self.ordered = ""
        """Why it was told to end."""
        self._until = math.inf
        root = str(Path(pipeline.__file__).resolve().parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", tied.__name__, one_run.__name__, str(run)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: what comes of it has to be told first
            env={
                **os.environ,
                "PREFECT_API_URL": url,
                "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
            },
        )

    @property
    def over(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    @property
    def how(self) -> str:
        """How that ended."""
        status = self._process.returncode
        if status is not None and status < 0:
            try:
                return f"by {signal.Signals(-status).name}"
            except ValueError:
                return f"by signal {-status}"
        return f"with status {status}"

    def wait(self, seconds: float) -> None:
        """Return when it has ended, or some seconds are over."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def order(self, why: str) -> None:
        """Tell it to end; it keeps the first reason."""
        if not self.ordered:
            self.ordered = why
            self._until = time.monotonic() + GRACE
            self._process.terminate()

    def hurry(self) -> None:
        """Kill it where it was told to end long ago."""
        if time.monotonic() > self._until:
            self._process.kill()

    def finish(self) -> None:
        """Return once it has ended, as it was told to."""
        while not self.over:
            self.wait(1)
            self.hurry()

    def close(self) -> None:
        """Leave nothing open of what has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
