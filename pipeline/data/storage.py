"""Room for the cells of a table: in memory, or in a file where it is large."""

from __future__ import annotations

import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

IN_MEMORY = 2**30
"""Bytes; a larger table lies in a file that the operating system pages in and out."""


def room(rows: int, columns: int) -> NDArray[np.float32]:
    """Return `(rows, columns)` numbers to be filled in, all zero; a file has no name and goes with them.

    Raises InputError where the disk has no room for the file.
    """
    size = rows * columns * 4
    if size <= IN_MEMORY:
        return np.zeros((rows, columns), np.float32)
    with tempfile.TemporaryFile(prefix="ordinal-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # now, and not when a page is written
        except OSError as error:
            raise InputError(
                f"the table takes {size / 2**30:.1f} GiB of {tempfile.gettempdir()}: {error.strerror}; "
                "name columns in data.drop, or set TMPDIR to a folder on a larger disk"
            ) from error
        return np.memmap(file, np.float32, mode="w+", shape=(rows, columns))
