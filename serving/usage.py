"""What a worker takes of its machine."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from serving.counts import Counts

_OFTEN = 5.0  # seconds between what is told, also of a worker that has nothing to do
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """The memory of this process, and the CPU that it has taken since that was told last."""

    def __init__(self, worker: int) -> None:
        self._labels = (str(worker),)
        self._cpu = 0.0
        self._told = -_OFTEN

    def take(self, into: Counts) -> None:
        """Add both, if it is time to."""
        now = time.monotonic()
        if now - self._told < _OFTEN:
            return
        self._told = now
        before, self._cpu = self._cpu, time.process_time()
        into.counters.append(("worker_cpu_seconds", self._labels, self._cpu - before))
        with contextlib.suppress(OSError):  # where no more files can be opened, it is told next time
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE  # proc(5)
            into.gauges.append(("worker_resident_bytes", self._labels, float(resident)))
