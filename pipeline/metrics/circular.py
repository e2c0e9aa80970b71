"""What takes the place of rank correlation where labels lie on a ring (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Indices, Probabilities, mean, require
from pipeline.metrics.decisions import confusion_matrix
from pipeline.topology import Topology

ROUNDING = 1e-9  # a resultant or a variance below this is 0 but for rounding


def circular_correlation(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return Σ sin(a − ā)·sin(b − b̄) / √(Σ sin²(a − ā) · Σ sin²(b − b̄)) of true and decided angles.

    Label k has the angle 2πv_k/period. ā and b̄ are the mean directions of the labels and of the decisions.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Of a ring.

    Returns:
        −1 … 1. NaN where the labels or the decisions do not vary, or have no mean direction: each label as
        often as the one opposite, or all labels equally often.

    Raises:
        ValueError: The labels lie on a line.

    Reference:
        Jammalamadaka, SenGupta, Topics in Circular Statistics, section 8.2, 2001.

    >>> ring = Topology.of(range(8), period=8)
    >>> round(circular_correlation(np.array([7, 0, 1]), np.array([7, 0, 1]), ring), 6)
    1.0
    >>> round(circular_correlation(np.array([7, 0, 1]), np.array([1, 0, 7]), ring), 6)
    -1.0
    """
    require("cyclic", topology, "circular_correlation")
    counts = confusion_matrix(y, decision, topology.classes)
    total = max(int(counts.sum()), 1)
    of_y, of_decision = counts.sum(axis=1) / total, counts.sum(axis=0) / total
    points = _points(topology)
    a, b = _sines(of_y, points), _sines(of_decision, points)
    spread = (of_y @ a**2) * (of_decision @ b**2)
    if not spread > ROUNDING**2:
        return float("nan")
    return float(a @ counts @ b / total / np.sqrt(spread))


def mean_resultant_length(probabilities: Probabilities, topology: Topology) -> float:
    """Return the mean over rows of |Σ_k p_k e^{2πi·v_k/period}|: how narrow predictions are.

    Where it is near 0 a prediction has no direction, and its circular expected value means nothing.

    Args:
        probabilities: `(rows, K)`.
        topology: Of a ring.

    Returns:
        0, all round the ring, … 1, all on one label; NaN without rows.

    Raises:
        ValueError: The labels lie on a line.

    Reference:
        Mardia, Jupp, Directional Statistics, section 2.3, 2000.

    >>> ring = Topology.of(range(4), period=4)
    >>> round(mean_resultant_length(np.array([[0.75, 0.0, 0.25, 0.0]]), ring), 6)
    0.5
    """
    require("cyclic", topology, "mean_resultant_length")
    return mean(np.abs(probabilities @ _points(topology)))


def _points(topology: Topology) -> NDArray[np.complex128]:
    """Return e^{2πi·v_k/period} of each label, `(K,)`."""
    positions = topology.positions()
    return np.asarray((positions[:, 0] + 1j * positions[:, 1]) / np.linalg.norm(positions[0]))


def _sines(shares: NDArray[np.float64], points: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return sin(angle − mean direction) of each label, `(K,)`; NaN where no direction is the mean."""
    resultant = shares @ points
    if not abs(resultant) > ROUNDING:
        return np.full(len(shares), np.nan)
    return np.asarray(np.imag(points * np.conj(resultant) / abs(resultant)))
