"""What decisions cost: on true labels, as the model sees it, and beyond the unavoidable (NumPy)."""

from __future__ import annotations

from typing import NamedTuple

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


class CostForecast(NamedTuple):
    """What decisions were thought to cost, and what they cost; the same for groups of rows.

    `standard_error` is that of realised − expected: a difference of twice as much is hardly chance.
    """

    expected: float
    realised: float
    standard_error: float
    group_rows: NDArray[np.int64]  # (G,)
    group_expected: NDArray[np.float64]  # (G,), rising
    group_realised: NDArray[np.float64]  # (G,)
    group_standard_error: NDArray[np.float64]  # (G,)


def cost_forecast(
    y: Indices, probabilities: Probabilities, decision: Indices, cost: Costs, groups: int = 10
) -> CostForecast:
    """Return the expected beside the realised cost, of all rows and of groups by expected cost.

    A user who sees them agree, overall and where the model is unsure, can believe the model's own
    forecast of what a decision will cost.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        decision: `(rows,)`, index of the action, 0 … A−1.
        cost: `(K, A)`, of [true label, action].
        groups: The most groups; rows are parted by their expected cost into groups of about equal size.

    Returns:
        In the unit of the costs; a standard error is NaN for less than two rows.

    Raises:
        ValueError: An index is not that of a label, or not that of an action.

    Reference:
        Elkan, The foundations of cost-sensitive learning, 2001, for the costs; groups as in Hosmer,
        Lemeshow, Goodness of fit tests for the multiple logistic regression model, 1980.

    >>> p = np.array([[0.75, 0.25], [0.25, 0.75]])
    >>> forecast = cost_forecast(np.array([0, 0]), p, np.array([0, 1]), 1 - np.eye(2), groups=1)
    >>> forecast.expected, forecast.realised, forecast.standard_error
    (0.25, 0.5, 0.5)
    """
    paid = _paid(y, decision, cost).astype(float)
    thought = (probabilities.astype(float) @ cost)[np.arange(len(decision)), decision]
    order = np.argsort(thought, kind="stable")
    parts = [part for part in np.array_split(order, groups) if len(part)]
    return CostForecast(
        mean(thought),
        mean(paid),
        _standard_error(paid - thought),
        np.array([len(part) for part in parts]),
        np.array([mean(thought[part]) for part in parts]),
        np.array([mean(paid[part]) for part in parts]),
        np.array([_standard_error((paid - thought)[part]) for part in parts]),
    )


def _standard_error(values: NDArray[np.floating]) -> float:
    """Return the standard error of the mean; NaN of less than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


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
