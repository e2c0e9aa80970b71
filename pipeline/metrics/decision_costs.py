"""What decisions cost: on true labels, as the model sees it, and beyond the unavoidable (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arrays import Costs, Indices, Probabilities, check_indices, mean


def realised_cost(y: Indices, decision: Indices, cost: Costs) -> float:
    """Return the mean of cost[y, decision]: what the decisions cost on true labels.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the action, 0 … A−1.
        cost: `(K, A)`, of [true label, action].

    Returns:
        In the unit of the costs; NaN without rows.

    Raises:
        ValueError: An index is not that of a label, or not that of an action.

    Reference:
        Elkan, The foundations of cost-sensitive learning, 2001.

    >>> realised_cost(np.array([1, 1]), np.array([0, 1]), np.array([[0.0, 3.0], [1.0, 0.0]]))
    0.5
    """
    return mean(_paid(y, decision, cost))


def expected_cost(probabilities: Probabilities, decision: Indices, cost: Costs) -> float:
    """Return the mean of Σ_k p_k·cost[k, decision]: what the model thinks that its decisions cost.

    An overconfident model thinks too little: `realised_cost` is what decides.

    Args:
        probabilities: `(rows, K)`.
        decision: `(rows,)`, index of the action, 0 … A−1.
        cost: `(K, A)`, of [true label, action].

    Returns:
        In the unit of the costs; NaN without rows.

    Raises:
        ValueError: An index is not that of a label, or not that of an action.

    Reference:
        Elkan, The foundations of cost-sensitive learning, 2001.

    >>> expected_cost(np.array([[0.25, 0.75]]), np.array([0]), np.array([[0.0, 3.0], [1.0, 0.0]]))
    0.75
    """
    check_indices("decision", decision, cost.shape[1])
    return mean((probabilities @ cost)[np.arange(len(decision)), decision])


def regret(y: Indices, decision: Indices, cost: Costs) -> float:
    """Return the mean of cost[y, decision] − min_a cost[y, a]: the cost beyond that of knowing the label.

    Equal to the realised cost wherever the right action costs nothing.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        decision: `(rows,)`, index of the action, 0 … A−1.
        cost: `(K, A)`, of [true label, action].

    Returns:
        ≥ 0, in the unit of the costs; NaN without rows.

    Raises:
        ValueError: An index is not that of a label, or not that of an action.

    Reference:
        Savage, The theory of statistical decision, 1951.

    >>> regret(np.array([1, 1]), np.array([0, 1]), np.array([[0.0, 3.0], [2.5, 2.0]]))
    0.25
    """
    return mean(_paid(y, decision, cost) - np.min(cost, axis=1)[y])


def _paid(y: Indices, decision: Indices, cost: Costs) -> NDArray[np.floating]:
    """Return cost[y, decision] of each row, `(rows,)`, and let no index count from the end."""
    check_indices("y", y, cost.shape[0])
    check_indices("decision", decision, cost.shape[1])
    return cost[y, decision]
