"""`ordinal-serving serve` as a process of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline import tied
from pipeline.errors import PipelineError
from serving import manifest

SECONDS = 60.0
"""Most that a start may take."""

_DRAIN = 5.0  # seconds
_TOLD = 4  # lines of the log, in a message


class Service:
    """`ordinal-serving serve` of one file as a process, for as long as the context is open.

    It ends with this process, whatever that dies of, see `tied`.
    """

    def __init__(self, path: Path, alias: str, device: str) -> None:
        """Requests may name the file by the alias."""
        self._arguments = ("serve", f"{path}@{alias}", "--device", device)

    def __enter__(self) -> Self:
        root = str(Path(manifest.__file__).resolve().parent.parent)
        # What an operator has set for services of their own is not for this one.
        given = {key: value for key, value in os.environ.items() if not key.startswith("ORDINAL_")}
        self._log = tempfile.NamedTemporaryFile(prefix="ordinal-service-", suffix=".log")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", tied.__name__, "serving", *self._arguments),
                *("--host", "127.0.0.1", "--port", "0", "--pause", "0", "--grace", str(_DRAIN)),
                *("--max-message-bytes", str(2**31 - 1)),  # all rows at once may be large images
            ],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={
                **given,
                "PYTHONPATH": os.pathsep.join(filter(None, [root, given.get("PYTHONPATH")])),
            },
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2 * _DRAIN)
        finally:
            self._process.kill()
            self._process.communicate()
            self._log.close()

    def address(self) -> str:
        """Wait until the service is SERVING; return its host and port.

        Raises PipelineError where it ends before that, or takes too long.
        """
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            ended = self._process.poll()  # before the log is read, which is then whole
            if found := re.search(r"SERVING on (\S+),", self._written()):
                return found[1]
            if ended is not None:
                raise PipelineError(f"the service ended with status {ended} before it was ready")
            time.sleep(0.02)
        raise PipelineError(f"the service was not ready within {SECONDS:g} s")

    def last_words(self) -> str:
        """Return the last lines of the log, as the end of a sentence."""
        lines = [line.strip() for line in self._written().splitlines() if line.strip()]
        return f"; its log ends with: {' / '.join(lines[-_TOLD:])}" if lines else "; its log is empty"

    def _written(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")
