"""Rows that are trained on or validated by: which, in which order, what they count for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Dataset, storage

BLOCK = 1024
WINDOW = 64
"""Rows from a file are shuffled among those of as many blocks of neighbours: reading each from another
place would wait for the disk."""


@dataclass(frozen=True)
class Part:
    """Some rows of a data set.

    Attributes:
        data: The data set.
        indices: `(rows,)`, rising.
        unit: What the weights of rows are divided by.
    """

    data: Dataset
    indices: NDArray[np.int64]
    unit: float = 1.0

    @classmethod
    def both(cls, data: Dataset) -> tuple[Part, Part]:
        """Return the training part and the validation part; a training row counts 1 in the mean."""
        parts = data.parts
        unit = 1.0 if data.weights is None else float(data.weights[parts.train].mean(dtype=np.float64))
        return cls(data, parts.train, unit), cls(data, parts.validation, unit)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def streamed(self) -> bool:
        """Whether rows stay where they are until a batch needs them."""
        return self.data.features.nbytes > storage.IN_MEMORY

    def take(self, places: NDArray[np.integer] | slice) -> tuple[NDArray[np.generic], ...]:
        """Return `(batch, …)` features, `(batch,)` labels and, where there are some, `(batch,)` weights.

        Args:
            places: Which of these rows.
        """
        rows = self.indices[places]
        arrays: tuple[NDArray[np.generic], ...] = (self.data.features[rows], self.data.y[rows])
        if self.data.weights is not None:
            arrays = (*arrays, (self.data.weights[rows] / self.unit).astype(np.float32))
        return arrays

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[tuple[NDArray[np.generic], ...]]:
        """Yield what `take` does of `size` rows at a time; within a batch they come as they lie."""
        for start in range(0, len(order), size):
            yield self.take(np.sort(order[start : start + size]))

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the places of all rows in the order of an epoch: of seed and epoch, and nothing else."""
        random = np.random.default_rng([seed, epoch])
        if not self.streamed:
            return random.permutation(len(self))
        blocks = np.array_split(np.arange(len(self)), max(1, -(-len(self) // BLOCK)))
        mixed = [blocks[place] for place in random.permutation(len(blocks))]
        windows = [np.concatenate(mixed[i : i + WINDOW]) for i in range(0, len(mixed), WINDOW)]
        return np.concatenate([random.permutation(window) for window in windows])


def balanced(
    y: NDArray[np.integer], classes: int, weights: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Return the weight of a row of each label, rows / (K · rows of the label): all labels count alike.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1; each occurs.
        classes: K.
        weights: `(rows,)`, what a row counts for besides; left out, each counts 1.

    Returns:
        `(K,)`, with a mean over rows of 1.

    Reference:
        King, Zeng, Logistic regression in rare events data, Political Analysis, 2001.

    >>> balanced(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    rows = np.bincount(y, weights, minlength=classes)
    return np.asarray(rows.sum() / (classes * rows))
