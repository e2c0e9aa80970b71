"""Whether probabilities mean what they say, in 15 bins of equal width (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Indices, Probabilities, check_indices, ratio
from pipeline.topology import Topology

BINS = 15  # odd, so that ½ is inside a bin
DECIMALS = 6  # 0.1 + 0.2 belongs to the same bin as 0.3, also in float32
EDGES = np.round(np.arange(1, BINS) / BINS, DECIMALS)


def expected_calibration_error(y: Indices, probabilities: Probabilities) -> float:
    """Return Σ_b (n_b / n)·|accuracy_b − mean probability_b| over 15 bins of the mode's probability (ECE).

    A probability on the edge between two bins belongs to the outer one, farther from ½.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.

    Returns:
        0 … 1; NaN without rows.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Naeini, Cooper, Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015.

    >>> p = np.array([[0.75, 0.25], [0.75, 0.25]])
    >>> expected_calibration_error(np.array([0, 1]), p)  # half right, three quarters sure
    0.25
    """
    check_indices("y", y, probabilities.shape[1])
    mode = np.argmax(probabilities, axis=1)
    return _calibration_error(np.max(probabilities, axis=1), y == mode)


def threshold_calibration_errors(
    y: Indices, probabilities: Probabilities, topology: Topology
) -> NDArray[np.float64]:
    """Return the ECE of P(y' in set) for each of `Topology.sets`, against whether y is in it.

    On a line the sets are those of the thresholds, P(y' ≤ k) for k < K − 1. On a ring they are its
    arcs, each of which has the same error as the arc that is left.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        topology: Gives the sets.

    Returns:
        `(S,)`, 0 … 1; NaN without rows.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Naeini, Cooper, Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015.

    >>> p = np.array([[0.25, 0.25, 0.5]])
    >>> threshold_calibration_errors(np.array([1]), p, Topology.of(range(3))).tolist()
    [0.25, 0.5]
    """
    check_indices("y", y, topology.classes)
    sets = topology.sets()
    chances = np.asarray(probabilities, dtype=float) @ sets  # (rows, S)
    return np.array(
        [_calibration_error(chance, inside[y]) for chance, inside in zip(chances.T, sets.T, strict=True)]
    )


def mean_threshold_calibration_error(y: Indices, probabilities: Probabilities, topology: Topology) -> float:
    """Return the mean of `threshold_calibration_errors`, 0 … 1; NaN without rows.

    >>> p = np.array([[0.25, 0.25, 0.5]])
    >>> mean_threshold_calibration_error(np.array([1]), p, Topology.of(range(3)))
    0.375
    """
    return float(np.mean(threshold_calibration_errors(y, probabilities, topology)))


def _calibration_error(chance: NDArray[np.floating], happened: NDArray[np.generic]) -> float:
    """Return the ECE of an event's chances, both `(rows,)`; its contrary has the same."""
    gap = np.asarray(happened, dtype=float) - chance
    tail = np.round(np.minimum(chance, 1 - chance), DECIMALS)  # distance to the nearer end
    from_end = np.digitize(tail, EDGES, right=True)
    bins = np.where(chance <= 0.5, from_end, BINS - 1 - from_end)
    of_bins = np.bincount(bins, weights=gap, minlength=BINS)
    return float(ratio(np.sum(np.abs(of_bins)), len(gap)))
