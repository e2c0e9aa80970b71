"""How good probabilities are, whatever is decided with them (NumPy)."""

from __future__ import annotations

import numpy as np

from pipeline.metrics.arrays import Indices, Probabilities, check_indices, mean
from pipeline.topology import Topology

TOLERANCE = 1e-6  # a rise or fall below this is none: float32 cannot tell


def negative_log_likelihood(y: Indices, probabilities: Probabilities) -> float:
    """Return the mean of −log p_y (NLL), with p_y no less than float32 can tell from 0.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.

    Returns:
        In nats, 0 … 87.3; NaN without rows.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Good, Rational decisions, 1952.

    >>> round(negative_log_likelihood(np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]])), 4)
    0.3466
    """
    check_indices("y", y, probabilities.shape[1])
    p_y = probabilities[np.arange(len(y)), y].astype(float)
    return mean(-np.log(np.maximum(p_y, np.finfo(np.float32).tiny)))


def brier_score(y: Indices, probabilities: Probabilities) -> float:
    """Return the mean of Σ_k (p_k − 1[y = k])²: the sum over all labels, not halved and not averaged.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.

    Returns:
        0 … 2; NaN without rows.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Brier, Verification of forecasts expressed in terms of probability, 1950.

    >>> brier_score(np.array([0]), np.array([[0.5, 0.5, 0.0]]))
    0.5
    """
    classes = probabilities.shape[1]
    check_indices("y", y, classes)
    return mean(np.sum((probabilities - np.eye(classes)[y]) ** 2, axis=1))


def ranked_probability_score(y: Indices, probabilities: Probabilities, topology: Topology) -> float:
    """Return the mean of (P(y' in set) − 1[y in set])² over rows and `Topology.sets`: the normalised RPS.

    On a line this is Σ_{k<K−1} (F_k − 1[y ≤ k])² / (K − 1). On a ring it is the same, averaged over
    all K places to cut the ring open, and the arcs are what these cumulative sets come to. Both are
    strictly proper. The RPS as Epstein has it, not normalised, is K − 1 times as large.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        topology: Gives the sets.

    Returns:
        0 … 1; NaN without rows.

    Raises:
        ValueError: An index is not that of a label.

    Reference:
        Epstein, A scoring system for probability forecasts of ranked categories, 1969.

    >>> ranked_probability_score(np.array([0]), np.array([[0.5, 0.5, 0.0]]), Topology.of(range(3)))
    0.125
    """
    check_indices("y", y, topology.classes)
    sets = topology.sets()  # (K, S): K − 1 on a line; on a ring each arc is in two of the K cuts' K − 1
    return mean((probabilities @ sets - sets[y]) ** 2)


def unimodality_rate(probabilities: Probabilities, topology: Topology) -> float:
    """Return the share of rows whose probabilities rise to one peak and then fall.

    A peak may be flat, and may be the first or the last label. On a ring, going round, one rise is
    followed by one fall; equal probabilities everywhere count as unimodal on either. Differences of
    neighbours up to 1e-6 are taken as none.

    Args:
        probabilities: `(rows, K)`.
        topology: Says which labels are neighbours.

    Returns:
        0 … 1; NaN without rows.

    Reference:
        da Costa, Alonso, Cardoso, The unimodal model for the classification of ordinal data, 2008.

    >>> p = np.array([[0.5, 0.25, 0.25], [0.5, 0.0, 0.5]])
    >>> unimodality_rate(p, Topology.of(range(3)))
    0.5
    """
    p = np.asarray(probabilities, dtype=float)
    if topology.kind == "linear":  # a ring, once a label that never occurs is put between last and first
        p = np.pad(p, ((0, 0), (0, 1)))
    once_round = np.argmax(p, axis=1)[:, np.newaxis] + np.arange(p.shape[1] + 1)
    steps = np.diff(np.take_along_axis(p, once_round % p.shape[1], axis=1))  # from the mode to the mode
    has_risen = np.logical_or.accumulate(steps > TOLERANCE, axis=1)
    return mean(~np.any(has_risen & (steps < -TOLERANCE), axis=1))
