"""SQLite files: whole, writable, free, and of the schema that the installed package knows."""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.doctor import processes
from pipeline.doctor.finding import Finding, error, warning
from pipeline.doctor.processes import Process

_LARGEST = 200_000_000  # bytes of a file that is read from end to end
_PATIENCE = 1.0  # seconds that another process may hold it


@dataclass(frozen=True)
class Revisions:
    """The schemas that an installed package knows; `head` is the one that it works with."""

    known: frozenset[str]
    head: str


@dataclass(frozen=True)
class Database:
    """A file as it was found."""

    path: Path
    exists: bool
    folder: bool = True
    writable: bool = True
    trouble: str = ""
    locked: bool = False
    holders: tuple[Process, ...] = ()
    tables: int = 0
    revision: str = ""


def revisions(package: str, folder: str) -> Revisions | None:
    """Read a package's migrations, without importing it; None where it has none here."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    known, before = set(), set()
    for path in (one for place in places for one in Path(place, folder).glob("*.py")):
        with suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8")
            known |= set(re.findall(r"^revision(?:: str)? = ['\"](\w+)['\"]", text, re.MULTILINE))
            for line in re.findall(r"^down_revision.* = (.+)$", text, re.MULTILINE):
                before |= set(re.findall(r"\w{8,}", line))
    heads = known - before
    return Revisions(frozenset(known), min(heads)) if len(heads) == 1 else None


def look(path: Path) -> Database:
    """Open a file as its users do, and leave it as it was."""
    if not path.is_file():
        return Database(path, path.exists(), path.parent.is_dir(), os.access(path.parent, os.W_OK))
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    mode = "rw" if writable else "ro"
    locked, trouble, tables, revision = False, "", 0, ""
    try:
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)) as database:
            if writable:
                database.execute("begin immediate")  # which writes nothing, and says whether one could
                database.execute("rollback")
            (tables,) = database.execute("select count(*) from sqlite_master").fetchone()
            with suppress(sqlite3.OperationalError):  # there is no such table
                row = database.execute("select version_num from alembic_version").fetchone()
                revision = str(row[0]) if row else ""
            if path.stat().st_size <= _LARGEST:
                (said,) = database.execute("pragma quick_check(1)").fetchone()
                trouble = "" if said == "ok" else str(said)
    except sqlite3.OperationalError as problem:
        locked = "locked" in str(problem) or "busy" in str(problem)
        trouble = "" if locked else str(problem)
    except (sqlite3.Error, OSError) as problem:
        trouble = str(problem)
    holders = tuple(processes.with_file(path)) if locked else ()
    return Database(path, True, True, writable, trouble, locked, holders, tables, revision)


def judge(name: str, what: str, seen: Database) -> Iterator[Finding]:
    """Say what is wrong with the file itself."""
    path = seen.path
    if seen.exists and not path.is_file():
        yield error(name, f"{what} {path} is no file", f"mv {path} {path}.old")
    elif not seen.folder:
        yield error(
            name,
            f"{what} {path} cannot be made: there is no folder {path.parent}",
            f"mkdir -p {path.parent}",
        )
    elif seen.trouble:
        yield error(
            name,
            f"{what} {path} is damaged or no SQLite database: {seen.trouble}",
            f"put back a copy of it, or begin anew: mv {path} {path}.broken",
        )
    elif seen.locked:
        who = ", ".join(map(str, seen.holders)) or "another process"
        pids = " ".join(str(one.pid) for one in seen.holders) or "PID"
        yield warning(
            name,
            f"{what} {path} has been locked for {_PATIENCE:g} s by {who}",
            f"wait for that process, or end it: kill {pids}",
        )
    elif not seen.writable:
        yield error(
            name,
            f"{what} {path} or its folder cannot be written",
            f"chown $(id -u) {path} {path.parent}; chmod u+rwX {path} {path.parent}",
        )
