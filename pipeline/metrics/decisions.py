"""How near decided labels are to true ones, from counts of [true label, decision] (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Indices, check_indices, mean, ratio, require
from pipeline.topology import Topology

ByClass = NDArray[np.float64]  # (K,)


def confusion_matrix(
    y: Indices, decision: Indices, classes: int, actions: int | None = None
) -> NDArray[np.int64]:
    """Return how many rows have each [true label, decision], all labels and actions included.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the action, 0 … A−1.
        classes: K, of the full label set, not of what occurs.
        actions: A; left out, the actions are the labels.

    Returns:
        `(K, A)`, ≥ 0.

    Raises:
        ValueError: An index is not that of a label, or not that of an action.

    >>> confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), 3).tolist()
    [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    >>> confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 1]), 3, actions=2).tolist()
    [[1, 1], [0, 0], [0, 1]]
    """
    columns = classes if actions is None else actions
    check_indices("y", y, classes)
    check_indices("decision", decision, columns)
    cell = y.astype(np.int64) * columns + decision
    return np.bincount(cell, minlength=classes * columns).reshape(classes, columns)


def recalls(y: Indices, decision: Indices, topology: Topology) -> ByClass:
    """Return P(decision = k given y = k) of each label k, also called its sensitivity.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives K.

    Returns:
        `(K,)`, 0 … 1; NaN for a label without rows.

    >>> recalls(np.array([0, 0, 2]), np.array([0, 1, 2]), Topology.of(range(3))).tolist()
    [0.5, nan, 1.0]
    """
    counts = confusion_matrix(y, decision, topology.classes)
    return ratio(np.diag(counts), counts.sum(axis=1))


def precisions(y: Indices, decision: Indices, topology: Topology) -> ByClass:
    """Return P(y = k given decision = k) of each label k.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives K.

    Returns:
        `(K,)`, 0 … 1; NaN for a label that is never decided.

    >>> precisions(np.array([0, 0, 2]), np.array([0, 2, 2]), Topology.of(range(3))).tolist()
    [1.0, nan, 0.5]
    """
    counts = confusion_matrix(y, decision, topology.classes)
    return ratio(np.diag(counts), counts.sum(axis=0))


def absolute_errors_by_class(y: Indices, decision: Indices, topology: Topology) -> ByClass:
    """Return the mean absolute error over the rows of each true label.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives the distances: |decision − y| on a line, the shorter way round on a ring.

    Returns:
        `(K,)`, in steps, 0 … K−1; NaN for a label without rows.

    >>> absolute_errors_by_class(np.array([0, 0, 2]), np.array([0, 1, 0]), Topology.of(range(3))).tolist()
    [0.5, nan, 2.0]
    """
    counts = confusion_matrix(y, decision, topology.classes)
    return ratio(np.sum(counts * topology.distances(), axis=1), counts.sum(axis=1))


def accuracy(y: Indices, decision: Indices) -> float:
    """Return the share of rows with decision = y, 0 … 1; NaN without rows.

    >>> accuracy(np.array([0, 0, 2, 1]), np.array([0, 1, 2, 1]))
    0.75
    """
    return mean(y == decision)


def one_off_accuracy(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return the share of rows decided at most one step from the true label: d(y, decision) ≤ 1.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives the distances; round a ring the last label is one step from the first.

    Returns:
        0 … 1; NaN without rows.

    >>> y, decision = np.array([0, 0]), np.array([1, 3])
    >>> one_off_accuracy(y, decision, Topology.of(range(4)))
    0.5
    >>> one_off_accuracy(y, decision, Topology.of(range(4), period=4))
    1.0
    """
    counts = confusion_matrix(y, decision, topology.classes)
    return float(ratio(np.sum(counts[topology.distances() <= 1]), counts.sum()))


def mean_absolute_error(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return the mean of d(y, decision) (MAE).

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives the distances: |decision − y| on a line, the shorter way round on a ring.

    Returns:
        In steps, 0 … K−1, round a ring at most K/2; NaN without rows.

    >>> y, decision = np.array([0, 0]), np.array([1, 3])
    >>> mean_absolute_error(y, decision, Topology.of(range(4)))
    2.0
    >>> mean_absolute_error(y, decision, Topology.of(range(4), period=4))
    1.0
    """
    counts = confusion_matrix(y, decision, topology.classes)
    return float(ratio(np.sum(counts * topology.distances()), counts.sum()))


def average_mean_absolute_error(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return the mean over all K labels of the label's MAE (AMAE), so that a rare label counts in full.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives the distances.

    Returns:
        In steps, 0 … K−1; NaN where a label has no rows, since its error is not known.

    Reference:
        Baccianella, Esuli, Sebastiani, Evaluation measures for ordinal regression, 2009.

    >>> average_mean_absolute_error(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), Topology.of(range(2)))
    0.5
    """
    return float(np.mean(absolute_errors_by_class(y, decision, topology)))


def maximum_mean_absolute_error(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return the MAE of the label that has the largest (MMAE).

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives the distances.

    Returns:
        In steps, 0 … K−1; NaN where a label has no rows, since its error may be the largest.

    Reference:
        Cruz-Ramírez, Hervás-Martínez, Sánchez-Monedero, Gutiérrez, Metrics to guide a multi-objective
        evolutionary algorithm for ordinal classification, 2014.

    >>> maximum_mean_absolute_error(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), Topology.of(range(2)))
    1.0
    """
    return float(np.max(absolute_errors_by_class(y, decision, topology)))


def minimum_sensitivity(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return min_k recall_k, the recall of the label that is found least.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives K.

    Returns:
        0 … 1; NaN where a label has no rows, since its recall may be the least.

    Reference:
        Caballero, Martínez, Hervás, Gutiérrez, Sensitivity versus accuracy in multiclass problems using
        memetic Pareto evolutionary neural networks, 2010.

    >>> minimum_sensitivity(np.array([0, 0, 1]), np.array([0, 1, 1]), Topology.of(range(2)))
    0.5
    """
    return float(np.min(recalls(y, decision, topology)))


def gmsec(y: Indices, decision: Indices, topology: Topology) -> float:
    """Return √(recall_0 · recall_{K−1}), the geometric mean of the sensitivities of the extreme classes.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the decided label, 0 … K−1.
        topology: Gives K.

    Returns:
        0 … 1; NaN where the first or the last label has no rows.

    Raises:
        ValueError: The labels lie on a ring, which has no extreme classes.

    Reference:
        Vargas, Gutiérrez, Barbero-Gómez, Hervás-Martínez, Improving the classification of extreme classes
        by means of loss regularisation and generalised beta distributions, 2024.

    >>> gmsec(np.array([0, 0, 0, 0, 2]), np.array([0, 1, 1, 1, 2]), Topology.of(range(3)))
    0.5
    """
    require("linear", topology, "gmsec")
    recall = recalls(y, decision, topology)
    return float(np.sqrt(recall[0] * recall[-1]))
