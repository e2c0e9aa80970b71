"""Room for the cells of a table: in memory, or in a file where it is large."""

from __future__ import annotations

import tempfile

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 2**30
"""Bytes; a larger table lies in a file that the operating system pages in and out."""


def room(rows: int, columns: int) -> NDArray[np.float32]:
    """Return `(rows, columns)` numbers to be filled in, all zero; a file has no name and goes with them."""
    if rows * columns * 4 <= IN_MEMORY:
        return np.zeros((rows, columns), np.float32)
    with tempfile.TemporaryFile(prefix="ordinal-") as file:
        return np.memmap(file, np.float32, mode="w+", shape=(rows, columns))
