"""Rows of a table as a network takes them: numbers, then codes of categories, fitted on training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns import Column, text_indices

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
        gaps: Whether it was empty in some row; then the code of "empty" is the number of categories.
    """

    name: str
    categories: tuple[str, ...]
    gaps: bool

    @property
    def codes(self) -> int:
        """How many codes there are, `UNKNOWN` not counted."""
        return len(self.categories) + self.gaps


@dataclass(frozen=True)
class Encoding:
    """Where numbers stand among the columns, and what categories there are."""

    numbers: tuple[int, ...]  # F places
    categories: dict[int, Category]  # of each of C places

    @classmethod
    def fit(cls, cells: NDArray[np.float32], columns: Sequence[Column]) -> Encoding:
        """Return the encoding of training rows, `(rows, columns)`."""
        categories = {}
        for place, column in enumerate(columns):
            if column.texts is not None:
                categories[place] = _fit(cells[:, place], column.name, column.texts)
        return cls(tuple(np.setdiff1d(np.arange(len(columns)), list(categories)).tolist()), categories)

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
            empty = len(category.categories) if category.gaps else UNKNOWN
            codes = np.array([code.get(text, UNKNOWN) for text in texts] + [empty], np.float32)
            encoded[:, position] = codes[text_indices(cells[:, place], len(texts))]
        return encoded


def _fit(cells: NDArray[np.float32], name: str, texts: Sequence[str]) -> Category:
    counts = np.bincount(text_indices(cells, len(texts)), minlength=len(texts) + 1)
    seen = [place for place in range(len(texts)) if counts[place]]
    seen.sort(key=lambda place: (-counts[place], texts[place]))
    kept = sorted(texts[place] for place in seen[:MOST_CATEGORIES])
    return Category(name, tuple(kept), bool(counts[-1]))
