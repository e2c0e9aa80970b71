"""Whether intervals of labels hold what they promise, and how much they say (NumPy).

An interval is the index of its first and of its last label. On a ring it is the arc upwards from the
first to the last: first > last where it goes past the last label, (0, K−1) is the full ring.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Indices, check_indices, mean
from pipeline.topology import Topology


def interval_coverage(y: Indices, lower: Indices, upper: Indices, topology: Topology) -> float:
    """Return the share of rows whose true label is in their interval.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        lower: `(rows,)`, index of the first label.
        upper: `(rows,)`, index of the last label, which the interval holds as well.
        topology: Says whether an interval may wrap.

    Returns:
        0 … 1; NaN without rows.

    Raises:
        ValueError: An index is not that of a label, or lower > upper on a line.

    Reference:
        Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005.

    >>> ring = Topology.of(range(4), period=4)
    >>> interval_coverage(np.array([0, 2]), np.array([3, 3]), np.array([1, 1]), ring)  # 3, 0, 1
    0.5
    """
    widths = _widths(lower, upper, topology)
    check_indices("y", y, topology.classes)
    return mean(_steps_up(lower, y, topology) < widths)


def mean_interval_width(lower: Indices, upper: Indices, topology: Topology) -> float:
    """Return the mean of how many labels an interval holds: (upper − lower) mod K, and one.

    Args:
        lower: `(rows,)`, index of the first label.
        upper: `(rows,)`, index of the last label, which the interval holds as well.
        topology: Says whether an interval may wrap.

    Returns:
        In labels, 1 … K; NaN without rows.

    Raises:
        ValueError: An index is not that of a label, or lower > upper on a line.

    >>> mean_interval_width(np.array([0, 2]), np.array([1, 2]), Topology.of(range(3)))
    1.5
    >>> mean_interval_width(np.array([3, 0]), np.array([1, 3]), Topology.of(range(4), period=4))
    3.5
    """
    return mean(_widths(lower, upper, topology))


def _widths(lower: Indices, upper: Indices, topology: Topology) -> NDArray[np.int64]:
    """Return how many labels each interval holds, `(rows,)`, 1 … K."""
    check_indices("lower", lower, topology.classes)
    check_indices("upper", upper, topology.classes)
    turned = np.flatnonzero(lower > upper)
    if topology.kind == "linear" and turned.size:
        row = int(turned[0])
        raise ValueError(
            f"lower must be at most upper on a line, got ({lower[row]}, {upper[row]}) (row {row})"
        )
    return _steps_up(lower, upper, topology) + 1


def _steps_up(start: Indices, end: Indices, topology: Topology) -> NDArray[np.int64]:
    """Return (end − start) mod K, `(rows,)`, also where the indices are unsigned."""
    return np.asarray(np.mod(end.astype(np.int64) - start.astype(np.int64), topology.classes))
