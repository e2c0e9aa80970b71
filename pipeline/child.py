"""A module as a process of its own, for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline import tied
from pipeline.errors import PipelineError

_TOLD = 4  # lines of the log, in a message
_ROOT = Path(__file__).resolve().parent.parent


class Child:
    """`python -m MODULE ARGUMENTS`, with all that it starts, for as long as the context is open.

    It ends with this process, whatever that dies of, see `tied`.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        grace: float = 10.0,
        log: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        """A process to be started.

        Args:
            module: To be run.
            arguments: Given to it.
            environment: Of it, all of it.
            grace: Seconds that it has after SIGTERM.
            log: Where to write what it writes, anew; by default a file that goes with the context.
            folder: That it works in; by default that of this process.
        """
        self._arguments = (module, *arguments)
        # It finds this package also where that runs from a checkout.
        path = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
        self._environment = {**environment, "PYTHONPATH": path}
        self._grace = grace
        self._kept = log
        self._folder = folder

    def __enter__(self) -> Self:
        """Start it; raises PipelineError where it cannot be started."""
        with contextlib.ExitStack() as opened:
            try:
                self._log = opened.enter_context(
                    self._kept.open("wb")
                    if self._kept
                    else tempfile.NamedTemporaryFile(prefix="ordinal-", suffix=".log")
                )
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", tied.__name__, *self._arguments],
                    stdin=subprocess.PIPE,
                    stdout=self._log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._folder,
                    # Ctrl-C in a terminal is for us, and what it starts ends with it.
                    start_new_session=True,
                )
            except OSError as error:
                raise PipelineError(f"{self._arguments[0]} cannot be started: {error}") from error
            opened.pop_all()  # of which __exit__ takes care
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace)
        finally:
            self._signal(signal.SIGKILL)
            self._process.communicate()
            self._log.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    @property
    def written(self) -> str:
        """What it has written to its standard output and error so far."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    @property
    def last_words(self) -> str:
        """The last lines of that, as the end of a sentence."""
        lines = [line.strip() for line in self.written.splitlines() if line.strip()]
        return f"; its log ends with: {' / '.join(lines[-_TOLD:])}" if lines else "; its log is empty"

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # of its group nobody is left
            os.killpg(self._process.pid, number)
