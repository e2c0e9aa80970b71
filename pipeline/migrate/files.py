"""Files from one place to another: several folders at a time, and only what is not there yet."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.migrate.addresses import Folder
from pipeline.tracking.files import Place

AT_A_TIME = 8
"""Folders; most of the time is waiting for an object store."""
_REST = 5.0  # seconds between two lines that tell how far it is


@dataclass
class Copied:
    """How many files a store has, and how many of them were copied by this process."""

    files: int = 0
    size: int = 0
    copied: int = 0

    def add(self, other: Copied) -> None:
        """Count others too."""
        self.files += other.files
        self.size += other.size
        self.copied += other.copied


def copy(folders: Sequence[Folder], say: Callable[[str], None]) -> Copied:
    """Copy what is missing, or has another size, and find it there; tell how far it is now and then.

    Raises:
        StoreError: Where a file did not arrive as it was.
    """
    done, told = Copied(), time.monotonic()
    with ThreadPoolExecutor(AT_A_TIME, "copy") as threads:
        left = [threads.submit(_copy, folder) for folder in folders]
        try:
            for number, one in enumerate(as_completed(left), 1):
                done.add(one.result())
                if time.monotonic() > told + _REST:
                    told = time.monotonic()
                    say(f"{number:,} of {len(left):,} folders, {done.files:,} files, {sized(done.size)}")
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)  # what has begun is finished
            raise
    return done


def _copy(folder: Folder) -> Copied:
    origin, place = Place(folder.origin), Place(folder.place)
    wanted = origin.files()
    if not wanted:
        return Copied()
    there = place.files()
    missing = [path for path, size in wanted.items() if there.get(path) != size]
    for path in missing:
        with tempfile.TemporaryDirectory(prefix="ordinal-migrate-") as name:
            place.put(origin.fetch(path, Path(name)), path)
    if missing:
        there = place.files()
    for path, size in wanted.items():
        if there.get(path) != size:
            raise StoreError(
                f"{folder.origin}/{path} has {size} bytes, and its copy in {folder.place} "
                f"{there.get(path, 'none')}: the same command tries again"
            )
    return Copied(len(wanted), sum(wanted.values()), len(missing))


def sized(count: int) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
