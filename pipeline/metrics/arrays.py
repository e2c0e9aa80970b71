"""What metrics take, and shares and means that are NaN where there is nothing to divide by (NumPy).

Names of axes: `rows` of a part of the data, `K` labels, `A` actions, `S` sets of `Topology.sets`.
Orientation of every matrix: `[true label, decision]`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.topology import Kind, Topology

Indices = NDArray[np.integer]  # (rows,), 0 … K−1
Probabilities = NDArray[np.floating]  # (rows, K), each row sums to 1
Costs = NDArray[np.floating]  # (K, A), cost[true label, action]


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Return numerator / denominator, entry by entry, and NaN wherever the denominator is 0.

    >>> ratio([1, 0], [4, 0]).tolist()
    [0.25, nan]
    """
    above, below = np.broadcast_arrays(
        np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    )
    divided = np.full(above.shape, np.nan)
    np.divide(above, below, out=divided, where=below != 0)
    return divided


def mean(values: ArrayLike) -> float:
    """Return the mean of all values, NaN where there are none.

    >>> mean([])
    nan
    """
    numbers = np.asarray(values, dtype=float)
    return float(ratio(np.sum(numbers), numbers.size))


def check_indices(name: str, indices: Indices, classes: int) -> None:
    """Raise ValueError unless every index is one of the `classes` labels (or actions)."""
    outside = np.flatnonzero((indices < 0) | (indices >= classes))
    if outside.size:
        row = int(outside[0])
        raise ValueError(f"{name} must be from 0 to {classes - 1}, got {indices[row]} (row {row})")


def require(kind: Kind, topology: Topology, metric: str) -> None:
    """Raise ValueError where a metric has no meaning for labels so arranged."""
    if topology.kind != kind:
        raise ValueError(f"{metric} is for a {kind} topology, got a {topology.kind} one")
