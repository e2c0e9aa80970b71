"""Slow and obvious twins of the maths: loops over Python floats, written from the formulas alone."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

Row = Sequence[float]
Matrix = Sequence[Sequence[float]]


def cross_entropy(y: int, p: Row) -> float:
    """Return −log p_y."""
    return -math.log(p[y])


def expected_value(p: Row, values: Row) -> float:
    """Return Σ_j v_j p_j."""
    total = 0.0
    for j in range(len(p)):
        total += values[j] * p[j]
    return total


def ranked_probability_score(y: int, p: Row) -> float:
    """Return Σ_{k<K−1}(F_k − 1[y ≤ k])² / (K − 1)."""
    total = 0.0
    for k in range(len(p) - 1):
        below = sum(p[: k + 1])
        total += (below - (1.0 if y <= k else 0.0)) ** 2
    return total / (len(p) - 1)


def expected_costs(p: Row, cost: Matrix) -> list[float]:
    """Return Σ_k p_k·cost[k][a] for each action a."""
    return [sum(p[k] * cost[k][a] for k in range(len(p))) for a in range(len(cost[0]))]


def decision(p: Row, cost: Matrix) -> tuple[int, float]:
    """Return the action of least expected cost (the first of equals) and its margin to the runner-up."""
    costs = expected_costs(p, cost)
    best = 0
    for action in range(1, len(costs)):
        if costs[action] < costs[best]:
            best = action
    others = [costs[action] for action in range(len(costs)) if action != best]
    return best, min(others) - costs[best]


def median(p: Row) -> int:
    """Return the lowest k with P(y ≤ k) ≥ ½."""
    below = 0.0
    for k in range(len(p)):
        below += p[k]
        if below >= 0.5:
            return k
    return len(p) - 1


def circular_mean(p: Row, values: Row, period: float) -> tuple[float, float]:
    """Return arg Σ_k p_k e^{2πi v_k/period} as a value modulo the period, and the modulus."""
    z = sum(p[k] * cmath.exp(2j * math.pi * values[k] / period) for k in range(len(p)))
    return cmath.phase(z) * period / (2 * math.pi) % period, abs(z)
