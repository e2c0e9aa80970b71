"""A training in a file, so that one that was cut off goes on where it was."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from pipeline.train.progress import Progress

EVERY = 30.0
"""Seconds between two backups: a short training makes none."""
_FILE = "training.npz"


UNREADABLE = (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile)
"""What NumPy and zipfile raise on a file that was cut short."""

logger = logging.getLogger(__name__)


class Backup:
    """One file in a folder of its own.

    Keras' `BackupAndRestore` writes weights and epoch into two files, one after the other, and leaves
    out what early stopping knows: cut off between the two, or after its best epoch, a training would end
    elsewhere. Here all of it is one file, which another replaces at once.
    """

    def __init__(self, folder: Path, variables: Sequence[keras.Variable], key: Callable[[], str]) -> None:
        """A backup of these variables; `key` tells of which training, and is asked only when needed."""
        self._path = folder / _FILE
        self._unfinished = folder / f"{os.getpid()}.part"  # another process may do the same
        self._variables = list(variables)
        self._key = key
        self._saved = time.monotonic()

    def restore(self) -> Progress:
        """Set the variables to where the same training was cut off; else leave all at its beginning."""
        if not self._path.is_file():
            return Progress()
        try:
            with self._path.open("rb") as plain, np.load(plain) as file:
                held = {name: file[name] for name in file.files}
        except UNREADABLE as error:
            logger.warning("%s is damaged, training begins anew: %s", self._path, error)
            return Progress()
        found = json.loads(held["numbers"].item())
        if found.pop("key") != self._key():
            return Progress()
        for place, variable in enumerate(self._variables):
            variable.assign(held[f"variable_{place}"])
        kept = [held[f"kept_{place}"] for place in range(found.pop("kept"))]
        return Progress(**found, kept=kept)

    def save(self, progress: Progress) -> None:
        """Write all of it where the last time is long enough ago."""
        if time.monotonic() - self._saved < EVERY:
            return
        numbers = {**progress.numbers, "kept": len(progress.kept), "key": self._key()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._unfinished
        with unfinished.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                numbers=np.array(json.dumps(numbers)),
                **{f"variable_{place}": one.numpy() for place, one in enumerate(self._variables)},
                **{f"kept_{place}": one for place, one in enumerate(progress.kept)},
            )
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Leave nothing: the training has ended."""
        for path in (self._path, self._unfinished):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or something of somebody else's in it
            self._path.parent.rmdir()
