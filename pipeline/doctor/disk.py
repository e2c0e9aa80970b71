"""Room for what is written: space, files, and the right to write."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.doctor.finding import Finding, error, ok, warning

NAME = "disk"
MB, GB = 1_000_000, 1_000_000_000
FULL, SCARCE = 200 * MB, 2 * GB
"""Below the first nothing can be trained; below the second not for long."""
FEW = 1000  # files
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "ceph", "glusterfs", "fuse.s3fs")


@dataclass(frozen=True)
class Room:
    """A folder, what is kept there, and what is free; `files` is None where the file system counts none."""

    what: str
    path: Path
    free: int
    files: int | None
    trouble: str = ""
    kind: str = ""
    variable: str = ""


def look(what: str, path: Path, variable: str = "") -> Room:
    """Look at a folder, or at the nearest one above it where it is still to be made."""
    place = path.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        seen = os.statvfs(place)
    except OSError as problem:
        return Room(what, path, 0, None, problem.strerror or str(problem), variable=variable)
    trouble, free = "", seen.f_bavail * seen.f_frsize
    try:
        with tempfile.TemporaryFile(dir=place) as file:  # which has no name, where the system can do that
            file.write(b"\0" * 4096)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            free = 0  # for this user, whatever others may write
        else:
            trouble = problem.strerror or str(problem)
    files = seen.f_favail if seen.f_files else None
    return Room(what, path, free, files, trouble, _kind(place), variable)


def judge(rooms: list[Room], needed: int = 0) -> Iterator[Finding]:
    """Say where there is too little room.

    Args:
        rooms: The folders.
        needed: Bytes that a run writes of its data, where they are known.
    """
    scarce, problems = max(SCARCE, needed), False
    for room in rooms:
        found = list(_judge(room, scarce))
        problems = problems or bool(found)
        yield from found
    if not problems and rooms:
        least = min(rooms, key=lambda room: room.free)
        yield ok(NAME, f"{_size(least.free)} free in {least.path}, more elsewhere")


def _judge(room: Room, scarce: int) -> Iterator[Finding]:
    where = f"{room.path} ({room.what})"
    other = f"export {room.variable}=/a/folder/elsewhere" if room.variable else "work in another folder"
    if room.trouble:
        yield error(NAME, f"{where} cannot be written: {room.trouble.lower()}", other)
        return
    if room.free < FULL:
        yield error(NAME, f"{where} has {_size(room.free)} left", f"make room there, or {other}")
    elif room.free < scarce:
        yield warning(
            NAME,
            f"{where} has {_size(room.free)} left, and {_size(scarce)} may be needed",
            f"make room there, or {other}",
        )
    if room.files is not None and room.files < FEW:
        yield error(
            NAME, f"{where} has room for {room.files} more files", f"remove small files there, or {other}"
        )
    if room.kind in _NETWORK and room.what != "MLflow's artifacts":
        yield warning(
            NAME,
            f"{where} lies in the network ({room.kind}), where locks and SQLite are not safe",
            other,
        )


def temporary(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Say what is wrong with TMPDIR, which Python passes over where it cannot be used."""
    told = environment.get("TMPDIR")
    if told and not (Path(told).is_dir() and os.access(told, os.W_OK)):
        yield warning(
            "tmpdir",
            f"TMPDIR={told} is no folder that can be written, and {tempfile.gettempdir()} is used instead",
            f"mkdir -p {told}, or unset TMPDIR",
        )
    # A socket's path has 107 characters; multiprocessing adds /pymp-xxxxxxxx/listener-xxxxxxxx.
    longest = 107 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")
    if len(os.fsencode(tempfile.gettempdir())) > longest:
        yield error(
            "tmpdir",
            f"{tempfile.gettempdir()} is too long a path for sockets of workers: at most {longest} bytes",
            "export TMPDIR=/tmp",
        )


def _kind(place: Path) -> str:
    """Return the type of the file system that a folder lies on."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    best, kind, here = "", "", str(place.resolve())
    for line in lines:
        _, at, of, *_ = line.split(" ")
        at = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), at)
        inside = here == at or here.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best):
            best, kind = at, of
    return kind


def _size(count: int) -> str:
    return f"{count / GB:.1f} GB" if count >= GB else f"{count / MB:.0f} MB"
