"""Whether probabilities mean what they say, in 15 bins of equal width (NumPy)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Indices, Probabilities, check_indices, mean, ratio
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


class Reliability(NamedTuple):
    """Of an event, in 15 bins of its chance: how often it was said to happen, and how often it did."""

    rows: NDArray[np.int64]  # (15,)
    forecast: NDArray[np.float64]  # (15,), mean chance; NaN in a bin without rows
    frequency: NDArray[np.float64]  # (15,), share of rows where it happened; NaN in a bin without rows


def threshold_reliability(
    y: Indices, probabilities: Probabilities, topology: Topology
) -> list[Reliability]:
    """Return the reliability of P(y' in set) for each of `Topology.sets`, whose ECE is the threshold's.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        topology: Gives the sets.

    Returns:
        S of them, in the order of the sets.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Murphy, Winkler, Reliability of subjective probability forecasts of precipitation and temperature,
        1977.

    >>> p = np.array([[0.25, 0.75], [0.25, 0.75]])
    >>> (below,) = threshold_reliability(np.array([0, 1]), p, Topology.of(range(2)))
    >>> below.forecast[3], below.frequency[3], below.rows[3]
    (np.float64(0.25), np.float64(0.5), np.int64(2))
    """
    check_indices("y", y, topology.classes)
    sets = topology.sets()
    curves = []
    for chance, inside in zip((np.asarray(probabilities, dtype=float) @ sets).T, sets.T, strict=True):
        place = bins(chance)
        rows = np.bincount(place, minlength=BINS)
        said, happened = (np.bincount(place, weights=w, minlength=BINS) for w in (chance, inside[y]))
        curves.append(Reliability(rows, ratio(said, rows), ratio(happened, rows)))
    return curves


def calibration_line(y: Indices, probabilities: Probabilities, topology: Topology) -> tuple[float, float]:
    """Return slope and intercept of the true label's value over the expected value, by least squares.

    1 and 0 where expected values can be taken at their word; a slope below 1 says that they go too far
    apart. A temperature keeps the mode but moves the expected value, and shows here.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        topology: Labels on a line, with their values.

    Returns:
        Slope, and intercept in label values; NaN where all expected values are equal.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Cox, Two further applications of a model for binary regression, 1958, for the slope; Mincer,
        Zarnowitz, The evaluation of economic forecasts, 1969.

    >>> p = np.array([[0.75, 0.25], [0.25, 0.75]])
    >>> calibration_line(np.array([0, 1]), p, Topology.of([0, 1]))  # always right, and never sure
    (2.0, -0.5)
    """
    check_indices("y", y, topology.classes)
    values = np.array(topology.values)
    expected = np.asarray(probabilities, dtype=float) @ values
    apart = expected - mean(expected)
    apart[np.abs(apart) < 1e-9 * (values[-1] - values[0])] = 0  # what rounding alone has parted
    slope = float(ratio(np.sum(apart * values[y]), np.sum(apart**2)))
    return slope, mean(values[y]) - slope * mean(expected)


def _calibration_error(chance: NDArray[np.floating], happened: NDArray[np.generic]) -> float:
    """Return the ECE of an event's chances, both `(rows,)`; its contrary has the same."""
    gap = np.asarray(happened, dtype=float) - chance
    of_bins = np.bincount(bins(chance), weights=gap, minlength=BINS)
    return float(ratio(np.sum(np.abs(of_bins)), len(gap)))


def bins(chance: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the bin of each chance, `(rows,)`, 0 … 14; one on an edge is in the outer bin.

    >>> bins(np.array([0.0, 1 / 15, 0.5, 14 / 15])).tolist()
    [0, 0, 7, 14]
    """
    tail = np.round(np.minimum(chance, 1 - chance), DECIMALS)  # distance to the nearer end
    from_end = np.digitize(tail, EDGES, right=True)
    return np.asarray(np.where(chance <= 0.5, from_end, BINS - 1 - from_end))
