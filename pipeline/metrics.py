"""How good probabilities and decisions are, over the full label set (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.costs import decide

Probabilities = NDArray[np.floating]
Indices = NDArray[np.int64]


def accuracy(y: Indices, decision: Indices) -> float:
    """Return the share of rows with decision = y; both `(rows,)`."""
    return float(np.mean(y == decision))


def mean_absolute_error(y: Indices, decision: Indices) -> float:
    """Return the mean of |decision − y| in steps; both `(rows,)`."""
    return float(np.mean(np.abs(y - decision)))


def negative_log_likelihood(y: Indices, probabilities: Probabilities) -> float:
    """Return the mean of −log p_y in nats, with p_y no less than float32 can tell from 0."""
    p_true = probabilities[np.arange(len(y)), y]
    return float(np.mean(-np.log(np.maximum(p_true, np.finfo(np.float32).tiny))))


def ranked_probability_score(y: Indices, probabilities: Probabilities) -> float:
    """Return the mean of Σ_{k<K−1}(F_k − 1[y ≤ k])² / (K − 1): normalised, 0 … 1.

    Reference:
        Epstein, A scoring system for probability forecasts of ranked categories, 1969.

    >>> ranked_probability_score(np.array([0]), np.array([[0.5, 0.5, 0.0]]))
    0.125
    """
    below = np.cumsum(probabilities, axis=1)[:, :-1]  # F_k
    reached = y[:, np.newaxis] <= np.arange(below.shape[1])
    return float(np.mean(np.sum((below - reached) ** 2, axis=1)) / below.shape[1])


def realised_cost(y: Indices, decision: Indices, cost: NDArray[np.floating]) -> float:
    """Return the mean of cost[y, decision]: what the decisions cost on true labels."""
    return float(np.mean(cost[y, decision]))


def expected_cost(probabilities: Probabilities, decision: Indices, cost: NDArray[np.floating]) -> float:
    """Return the mean of Σ_k p_k·cost[k, decision]: what the model thinks that its decisions cost."""
    return float(np.mean((probabilities @ cost)[np.arange(len(decision)), decision]))


def confusion_matrix(y: Indices, decision: Indices, classes: int) -> NDArray[np.int64]:
    """Return `(K, K)` counts of [true label, decision], all labels included."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (y, decision), 1)
    return counts


def score(y: Indices, probabilities: Probabilities, cost: NDArray[np.floating]) -> dict[str, float]:
    """Return all metrics of one part, with decisions under `cost`, `(K, K)`.

    Accuracy is of the mode; everything else that decides, decides under `cost`.
    """
    decision = decide(probabilities, cost)
    return {
        "realised_cost": realised_cost(y, decision, cost),
        "expected_cost": expected_cost(probabilities, decision, cost),
        "accuracy": accuracy(y, np.argmax(probabilities, axis=1)),
        "mae": mean_absolute_error(y, decision),
        "rps": ranked_probability_score(y, probabilities),
        "nll": negative_log_likelihood(y, probabilities),
    }
