"""A training in a file, so that one that was cut off goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from pipeline.train.progress import Progress

EVERY = 30.0
"""Seconds between two backups: a short training makes none."""
_FILE = "training.npz"


class Backup:
    """One file in a folder of its own.

    Keras' `BackupAndRestore` writes weights and epoch into two files, one after the other, and leaves
    out what early stopping knows: cut off between the two, or after its best epoch, a training would end
    elsewhere. Here all of it is one file, which another replaces at once.
    """

    def __init__(self, folder: Path, variables: Sequence[keras.Variable], key: Callable[[], str]) -> None:
        """A backup of these variables; `key` tells of which training, and is asked only when needed."""
        self._path = folder / _FILE
        self._variables = list(variables)
        self._key = key
        self._saved = time.monotonic()

    def restore(self) -> Progress:
        """Set the variables to where the same training was cut off; else leave all at its beginning."""
        if not self._path.is_file():
            return Progress()
        with np.load(self._path) as file:
            found = json.loads(file["numbers"].item())
            if found.pop("key") != self._key():
                return Progress()
            for place, variable in enumerate(self._variables):
                variable.assign(file[f"variable_{place}"])
            kept = [file[f"kept_{place}"] for place in range(found.pop("kept"))]
        return Progress(**found, kept=kept)

    def save(self, progress: Progress) -> None:
        """Write all of it where the last time is long enough ago."""
        if time.monotonic() - self._saved < EVERY:
            return
        numbers = {**progress.numbers, "kept": len(progress.kept), "key": self._key()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(f".{os.getpid()}.part")  # another process may do the same
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
        for path in (self._path, *self._path.parent.glob("*.part")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or something of somebody else's in it
            self._path.parent.rmdir()
