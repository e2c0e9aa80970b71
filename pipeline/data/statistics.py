"""What columns of numbers hold in training rows, some thousands of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**16  # rows
_SAMPLED = 2**20  # rows that the median is taken from


@dataclass(frozen=True)
class Statistics:
    """Of F columns of numbers, each `(F,)`.

    Attributes:
        empty: How many cells are missing.
        median: Of those that are not; 0 where all are.
        low: The lowest of them, likewise.
        high: The highest of them, likewise.
        mean: With the median in the place of a gap.
        deviation: The standard deviation, likewise; 0 of a constant.
    """

    empty: NDArray[np.int64]
    median: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, cells: NDArray[np.generic], rows: NDArray[np.int64], places: Sequence[int]) -> Statistics:
        """Look at some rows and columns of cells, `(rows, columns)`.

        Of more than a million rows the median is that of half a million or more, evenly spaced.
        """
        sampled = rows[:: -(-len(rows) // _SAMPLED)]
        median = np.array([_median(cells[sampled, place]) for place in places])
        gaps = np.zeros(len(places), np.int64)
        low, high = np.full(len(places), np.inf), np.full(len(places), -np.inf)
        first, second = np.zeros(len(places)), np.zeros(len(places))
        for start in range(0, len(rows), _CHUNK):
            numbers = np.asarray(cells[rows[start : start + _CHUNK]][:, places], np.float64)
            empty = np.isnan(numbers)
            gaps += empty.sum(axis=0)
            low = np.fmin(low, np.where(empty, np.inf, numbers).min(axis=0))
            high = np.fmax(high, np.where(empty, -np.inf, numbers).max(axis=0))
            # From the median: the squares of large numbers would drown their differences.
            apart = np.where(empty, 0.0, numbers - median)
            first += apart.sum(axis=0)
            second += (apart**2).sum(axis=0)
        none = low > high
        mean = first / len(rows)
        variance = np.maximum(second / len(rows) - mean**2, 0)
        variance[low == high] = 0
        return cls(
            gaps,
            median,
            np.where(none, 0.0, low),
            np.where(none, 0.0, high),
            median + mean,
            np.sqrt(variance),
        )


def _median(cells: NDArray[np.generic]) -> float:
    numbers = np.asarray(cells, np.float64)
    filled = numbers[~np.isnan(numbers)]
    return float(np.median(filled)) if len(filled) else 0.0
