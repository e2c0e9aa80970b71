"""The processes of this machine, their locks and their ports, as /proc tells."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_LISTENS = "0A"
_ANY_OR_HERE = ("0" * 8, "0" * 32, "0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF0000" + "0100007F")
INITS = ("init", "systemd", "tini", "dumb-init", "docker-init", "catatonit", "s6-svscan")
"""What takes the children of processes that have ended, beside process 1."""


@dataclass(frozen=True)
class Process:
    """One process."""

    pid: int
    parent: int
    user: int
    command: tuple[str, ...]

    def __str__(self) -> str:
        words = re.sub(r"//\S*@", "//…@", " ".join(self.command))  # passwords are nobody's business
        return f"process {self.pid} ({words[:77] + '…' if len(words) > 78 else words or 'unknown'})"


def running() -> Iterator[Process]:
    """Yield the processes that can be seen."""
    for folder in PROC.glob("[0-9]*"):
        found = process(int(folder.name))
        if found is not None:
            yield found


def process(pid: int) -> Process | None:
    """Return a process; None where it has ended."""
    folder = PROC / str(pid)
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        status = (folder / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    numbers = dict(re.findall(r"^(PPid|Uid):\s+(\d+)", status, re.MULTILINE))
    name = re.search(r"^Name:\s+(.*)", status, re.MULTILINE)
    command = tuple(words) if words[0] else (f"[{name[1] if name else ''}]",)
    return Process(pid, int(numbers.get("PPid", 0)), int(numbers.get("Uid", -1)), command)


def environment(pid: int) -> list[str]:
    """Return the variables that a process was started with, as `NAME=VALUE`."""
    try:
        return (PROC / str(pid) / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # of another user, or ended
        return []


def is_orphan(one: Process) -> bool:
    """Return whether the process that started it is gone."""
    if one.parent == 1:
        return True
    parent = process(one.parent)
    return parent is not None and Path(parent.command[0]).name in INITS


def with_file(path: Path) -> list[Process]:
    """Return which other processes hold a lock on a file."""
    try:
        status = path.stat()
        lines = (PROC / "locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: dict[int, Process] = {}
    for line in lines:
        match = re.search(r"\b(?P<pid>\d+) (?P<major>\w+):(?P<minor>\w+):(?P<inode>\d+) ", line)
        if match is None or "->" in line:  # which only waits for it
            continue
        if int(match["inode"]) != status.st_ino or int(match["pid"]) == os.getpid():
            continue
        device = os.makedev(int(match["major"], 16), int(match["minor"], 16))
        one = process(int(match["pid"]))
        # Some file systems show another device here than there.
        if one is not None and (device == status.st_dev or _has_open(one.pid, status)):
            found[one.pid] = one
    return list(found.values())


def _has_open(pid: int, status: os.stat_result) -> bool:
    for link in _files(pid):
        with suppress(OSError):
            there = link.stat()
            if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                return True
    return False


def _files(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "fd").iterdir())
    except OSError:  # of another user, or ended
        return []


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock that is a file, one that /proc does not show here included."""
    if with_file(path):
        return True
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # of another user, who may well hold it
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def listening(port: int) -> tuple[bool, Process | None]:
    """Return whether a port of this machine is taken, and by which process where that can be seen."""
    sockets = [inode for table in ("tcp", "tcp6") for inode in _listeners(PROC / "net" / table, port)]
    for one in running() if sockets else ():
        for link in _files(one.pid):
            with suppress(OSError):
                if str(link.readlink()) in sockets:
                    return True, one
    return bool(sockets), None


def _listeners(table: Path, port: int) -> Iterator[str]:
    try:
        lines = table.read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state, *rest = line.split()
        address, _, number = local.partition(":")
        if state == _LISTENS and int(number, 16) == port and address in _ANY_OR_HERE:
            yield f"socket:[{rest[5]}]"
