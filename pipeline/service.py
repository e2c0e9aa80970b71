"""`ordinal-serving serve` as a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.child import Child
from pipeline.errors import PipelineError

SECONDS = 60.0
"""Most that a start may take."""

_DRAIN = 5.0  # seconds


class Service:
    """`ordinal-serving serve` of one file as a process, for as long as the context is open.

    It ends with this process, whatever that dies of, see `child`.
    """

    def __init__(self, path: Path, alias: str, device: str) -> None:
        """Requests may name the file by the alias."""
        # What an operator has set for services of their own is not for this one.
        given = {key: value for key, value in os.environ.items() if not key.startswith("ORDINAL_")}
        self._child = Child(
            "serving",
            [
                *("serve", f"{path}@{alias}", "--device", device),
                *("--host", "127.0.0.1", "--port", "0", "--pause", "0", "--grace", str(_DRAIN)),
                *("--max-message-bytes", str(2**31 - 1)),  # all rows at once may be large images
            ],
            given,
            grace=2 * _DRAIN,
        )

    def __enter__(self) -> Self:
        self._child.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)

    def address(self) -> str:
        """Wait until the service is SERVING; return its host and port.

        Raises PipelineError where it ends before that, or takes too long.
        """
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            ended = self._child.status  # before the log is read, which is then whole
            if found := re.search(r"SERVING on (\S+),", self._child.written):
                return found[1]
            if ended is not None:
                raise PipelineError(f"the service ended with status {ended} before it was ready")
            time.sleep(0.02)
        raise PipelineError(f"the service was not ready within {SECONDS:g} s")

    def last_words(self) -> str:
        """Return the last lines of the log, as the end of a sentence."""
        return self._child.last_words
