"""Processes of a stack that outlived it, such as a run of its worker, which leads a session of its own."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from deploy.stack.place import MARK

_GRACE = 20.0  # seconds after SIGTERM


def found(folder: Path) -> dict[int, str]:
    """Return the processes that are marked as of a stack's folder, but for ours: number and command."""
    mark = f"{MARK}={folder}".encode()
    there = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if int(place.name) != os.getpid() and mark in (place / "environ").read_bytes().split(b"\0"):
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # a zombie has none
                    there[int(place.name)] = command.strip()[:120]
    return there


def end(folder: Path) -> list[tuple[int, str]]:
    """End them, in order first; return who they were."""
    ended = dict(found(folder))
    for number, seconds in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, _GRACE)):
        for pid in found(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + seconds
        while found(folder) and time.monotonic() < until:
            time.sleep(0.1)
    return list(ended.items())
