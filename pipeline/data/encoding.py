"""Rows of a table as a network takes them: numbers, then codes of categories, fitted on training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns import Column, text_indices
from pipeline.errors import InputError

_CHUNK = 2**16  # rows

UNKNOWN = -1
"""The code of a category that no training row has, and of a gap where none of them has one."""

MOST_CATEGORIES = 1000
"""Of a column; rarer ones are as unknown as those never seen."""


@dataclass(frozen=True)
class Category:
    """A column of categories as training rows have it.

    Attributes:
        name: Of the column.
        categories: Those seen, sorted; the code of each is its place.
        empty: In how many rows it was empty; where in some, the code of that is the number of categories.
    """

    name: str
    categories: tuple[str, ...]
    empty: int

    @property
    def codes(self) -> int:
        """How many codes there are, `UNKNOWN` not counted."""
        return len(self.categories) + bool(self.empty)


@dataclass(frozen=True)
class Encoding:
    """Where numbers stand among the columns, and what categories there are."""

    numbers: tuple[int, ...]  # F places
    categories: dict[int, Category]  # of each of C places

    @classmethod
    def fit(
        cls, cells: NDArray[np.generic], rows: NDArray[np.int64], columns: Sequence[Column]
    ) -> Encoding:
        """Return the encoding of cells `(rows, columns)`, of which some rows are for training.

        Raises InputError where a column of categories is empty in all of these.
        """
        counts = {
            place: np.zeros(len(column.texts) + 1, np.int64)
            for place, column in enumerate(columns)
            if column.texts is not None
        }
        for start in range(0, len(rows), _CHUNK):
            some = cells[rows[start : start + _CHUNK]]
            for place, count in counts.items():
                count += np.bincount(text_indices(some[:, place], len(count) - 1), minlength=len(count))
        numbers = [place for place in range(len(columns)) if place not in counts]
        return cls(tuple(numbers), {place: _category(columns[place], counts[place]) for place in counts})

    def encode(self, cells: NDArray[np.float32], columns: Sequence[Column]) -> NDArray[np.float32]:
        """Return rows as the network takes them, `(rows, F + C)`: numbers, then codes.

        Args:
            cells: `(rows, columns)`, of any part.
            columns: Of the cells.
        """
        encoded = np.empty((len(cells), len(self.numbers) + len(self.categories)), np.float32)
        encoded[:, : len(self.numbers)] = cells[:, self.numbers]
        for position, (place, category) in enumerate(self.categories.items(), len(self.numbers)):
            texts = columns[place].texts or ()
            code = {text: float(index) for index, text in enumerate(category.categories)}
            empty = len(category.categories) if category.empty else UNKNOWN
            codes = np.array([code.get(text, UNKNOWN) for text in texts] + [empty], np.float32)
            encoded[:, position] = codes[text_indices(cells[:, place], len(texts))]
        return encoded


def _category(column: Column, counts: NDArray[np.int64]) -> Category:
    """Return a column by how often each of its texts occurs in training, and last how often none does."""
    texts = column.texts or ()
    seen = np.flatnonzero(counts[:-1]).tolist()
    if not seen:
        raise InputError(f"column {column.name!r} is empty in every training row; name it in data.drop")
    seen.sort(key=lambda place: (-counts[place], texts[place]))
    kept = sorted(texts[place] for place in seen[:MOST_CATEGORIES])
    return Category(column.name, tuple(kept), int(counts[-1]))
