"""The journal of a long run: what was seen, with the time, on the terminal and in a file."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path


class Journal:
    """Lines with their time; each is in the file as soon as it is written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._began = time.monotonic()

    def write(self, line: str) -> None:
        """Add a line."""
        since = time.monotonic() - self._began
        text = f"{datetime.now():%H:%M:%S} {since:7.0f} s  {line}"
        print(text, flush=True)
        self._file.write(f"{text}\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
