"""Processor time of other processes, to the nanosecond, and which core a process has."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_SCHEDULED = 2  # which clock of a process: what the scheduler has counted; linux/posix-timers.h


def spent(pid: int) -> float:
    """Return the seconds of processor time of a process, all its threads, those that have ended too.

    Raises OSError where there is no such process.
    """
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def tree(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])  # proc(5), field 4
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def resident(pid: int) -> float:
    """Return the megabytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cores() -> tuple[int, int]:
    """Return the core of servers, and that of who asks them."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit(
            f"needs two cores, one for the server and one for who asks it; usable here: {usable}"
        )
    return usable[0], usable[1]


@contextlib.contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Keep this thread, and the processes that it starts meanwhile for ever, to some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
