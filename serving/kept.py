"""Files that are served, held open: one whose path has another file by now can still be loaded again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from serving.resolve import Resolved


class Kept:
    """An open file for each MODEL; other processes of this user find it at its path in `/proc`."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Resolved, BinaryIO]] = {}

    def keep(self, served: Mapping[str, Resolved]) -> dict[str, Path]:
        """Hold what is served and let go of the rest; return where each is found."""
        before, self._files = self._files, {}
        for model, entry in served.items():
            known = before.get(model)
            if known is not None and known[0] == entry:
                self._files[model] = before.pop(model)
                continue
            with contextlib.suppress(OSError):  # who loads it tells more
                self._files[model] = (entry, entry.path.open("rb"))
        for _, file in before.values():
            file.close()
        return {
            model: Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
            for model, (_, file) in self._files.items()
        }
