"""What every loss starts with: the row of a matrix that belongs to each true label."""

from __future__ import annotations

import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

SMALLEST = 1e-20
"""Added to a probability before its logarithm is taken: 46 nats are as bad as it gets.

The slope there is 1e20, which float32 can still multiply with the weights of rows and labels.
"""
LARGEST_WEIGHT = 1e12


def vector(values: object) -> NDArray[np.float64]:
    """Return a list of numbers as an array, and anything else as one without entries."""
    numbers = isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    return np.asarray(values if numbers else (), dtype=float)


def of_labels(matrix: NDArray[np.floating], y_true: KerasTensor, like: KerasTensor) -> KerasTensor:
    """Return `matrix[y]` for each row, in the dtype of `like`.

    Args:
        matrix: `(K, …)`, a constant with one row for each true label.
        y_true: `(batch,)` or `(batch, 1)`, index of the true label, 0 … K−1, of any number type.
        like: Gives the dtype.

    Returns:
        `(batch, …)`.
    """
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    return ops.take(ops.convert_to_tensor(matrix, dtype=like.dtype), labels, axis=0)


def log_mass(log_p: KerasTensor, members: NDArray[np.floating]) -> KerasTensor:
    """Return log Σ_{i in set} p_i of each set, never below −46.

    Args:
        log_p: `(batch, K)`, log-probabilities.
        members: `(K, S)`, 1 where the label is in the set, else 0.

    Returns:
        `(batch, S)`.
    """
    mass = ops.matmul(ops.exp(log_p), ops.convert_to_tensor(members, dtype=log_p.dtype))
    return ops.log(mass + SMALLEST)
