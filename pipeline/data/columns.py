"""The columns of a table: numbers, or categories whose texts are known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.storage import room

_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE)
_CHUNK = 2**16  # rows


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: As the source has it.
        texts: Of a category every text that occurs; a cell is the index of its text. None of a number.
    """

    name: str
    texts: tuple[str, ...] | None = None

    def shown(self, cell: float) -> str:
        """Return a cell for reading."""
        if np.isnan(cell):
            return "empty"
        return f"{cell:g}" if self.texts is None else repr(self.texts[int(cell)])


def number(text: str) -> float | None:
    """Return the number that a text is, if it is one as Arrow reads them too.

    >>> number(" 1e3 "), number("five"), number("1_000"), number("٣")
    (1000.0, None, None, None)
    """
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def content(cells: NDArray[np.float32], columns: Sequence[Column]) -> NDArray[np.generic]:
    """Return what rows hold, `(rows, columns)`, each cell as four bytes that depend on it alone.

    A number is its float32, and so is a text that a column of numbers may hold: a column that becomes one
    of texts when data grows leaves the rows that are there as they were. Another text is a digest of it.
    Equal numbers are equal bytes, 0.0 and -0.0 too, and so is all that is missing.

    Args:
        cells: `(rows, columns)`, numbers and indices of texts, NaN where a cell is empty.
        columns: Of the cells.
    """
    held = room(*cells.shape).view(np.uint32)
    for some, own in contents(cells, columns):
        held[some] = own
    return held


def contents(
    cells: NDArray[np.float32], columns: Sequence[Column]
) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
    """Yield which rows, and their `content`, some thousands at a time."""
    own = {
        place: np.array([_four_bytes(text) for text in (*column.texts, "nan")], np.uint32)
        for place, column in enumerate(columns)
        if column.texts is not None
    }
    for start in range(0, len(cells), _CHUNK):
        some = slice(start, start + _CHUNK)
        numbers = cells[some] + np.float32(0)
        numbers[np.isnan(numbers)] = np.nan
        held = numbers.view(np.uint32)
        for place, texts in own.items():
            held[:, place] = texts[text_indices(cells[some, place], len(texts) - 1)]
        yield some, held


def text_indices(cells: NDArray[np.generic], empty: int) -> NDArray[np.int64]:
    """Return cells of a category as whole numbers, `empty` where there is nothing."""
    numbers = np.asarray(cells, np.float64)
    return np.where(np.isnan(numbers), empty, numbers).astype(np.int64)


def _four_bytes(text: str) -> int:
    held = number(text.replace(",", "."))  # of columns with decimal commas
    if held is None:
        held = {"true": 1.0, "false": 0.0}.get(text.strip().lower())
    if held is None:
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
    if np.isnan(held):
        held = np.nan  # without a sign
    with np.errstate(over="ignore"):
        return int((np.float32(held) + np.float32(0)).view(np.uint32))
