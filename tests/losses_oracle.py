"""Slow and obvious twins of the losses: loops over Python floats, written from the formulas alone."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

import oracle

Row = Sequence[float]
Matrix = Sequence[Sequence[float]]


def distance(i: int, y: int, classes: int, *, ring: bool) -> int:
    """Return the steps between two labels, on a ring by the shorter way."""
    steps = abs(i - y)
    return min(steps, classes - steps) if ring else steps


def brier(y: int, p: Row) -> float:
    """Return Σ_i (p_i − 1[i = y])²."""
    return sum((q - (1.0 if i == y else 0.0)) ** 2 for i, q in enumerate(p))


def focal(y: int, p: Row, gamma: float) -> float:
    """Return −(1 − p_y)^γ log p_y."""
    return (1 - p[y]) ** gamma * oracle.cross_entropy(y, p)


def circular_error(y: int, p: Row, values: Row, period: float) -> float:
    """Return ½(period/2π)²·|Σ_j p_j u_j − u_y|²."""
    points = [cmath.exp(2j * math.pi * v / period) for v in values]
    z = sum(q * u for q, u in zip(p, points, strict=True))
    return 0.5 * (period / (2 * math.pi)) ** 2 * abs(z - points[y]) ** 2


def penalty(y: int, p: Row, by_distance: Row, *, ring: bool) -> float:
    """Return Σ_i p_i·w(d_i)."""
    return sum(q * by_distance[distance(i, y, len(p), ring=ring)] for i, q in enumerate(p))


def expected_cost(y: int, p: Row, cost: Matrix) -> float:
    """Return Σ_i p_i·cost[y][i]."""
    return sum(q * cost[y][i] for i, q in enumerate(p))


def ranked_probability_score(y: int, p: Row) -> float:
    """Return Σ_{k<K−1}(F_k − 1[y ≤ k])², not normalised."""
    return oracle.ranked_probability_score(y, p) * (len(p) - 1)


def cumulative_cross_entropy(y: int, p: Row, importance: Row | None = None) -> float:
    """Return −Σ_k λ_k (1[y > k] log(1 − F_k) + 1[y ≤ k] log F_k)."""
    total = 0.0
    for k in range(len(p) - 1):
        side = sum(p[k + 1 :]) if y > k else sum(p[: k + 1])
        total -= (1.0 if importance is None else importance[k]) * math.log(side)
    return total


def over_cuts(score: str, y: int, p: Row) -> float:
    """Return the mean of a score over the K lines that a ring becomes when it is cut."""
    classes = len(p)
    total = 0.0
    for cut in range(classes):
        line = [p[(cut + k) % classes] for k in range(classes)]
        total += globals()[score]((y - cut) % classes, line)
    return total / classes


def class_distance_weighted(y: int, p: Row, alpha: float, margin: float, *, ring: bool) -> float:
    """Return −Σ_i d_i^α·log(min(1 − p_i + margin, 1))."""
    total = 0.0
    for i in range(len(p)):
        d = distance(i, y, len(p), ring=ring)
        rest = sum(p[j] for j in range(len(p)) if j != i)
        if d:
            total -= d**alpha * math.log(min(rest + margin, 1.0))
    return total


def soft_label(y: int, classes: int, alpha: float, power: float, *, ring: bool) -> list[float]:
    """Return softmax(−α·d^power)."""
    weights = [math.exp(-alpha * distance(i, y, classes, ring=ring) ** power) for i in range(classes)]
    return [w / sum(weights) for w in weights]


def soft_cross_entropy(p: Row, target: Row) -> float:
    """Return −Σ_i t_i log p_i."""
    return -sum(t * math.log(q) for t, q in zip(target, p, strict=True))


def slace(y: int, p: Row, alpha: float, *, ring: bool) -> float:
    """Return −Σ_i softmax(−αd)_i·log Σ_{j: d_j ≤ d_i} p_j."""
    classes = len(p)
    target = soft_label(y, classes, alpha, 1.0, ring=ring)
    total = 0.0
    for i in range(classes):
        reach = distance(i, y, classes, ring=ring)
        total -= target[i] * math.log(
            sum(p[j] for j in range(classes) if distance(j, y, classes, ring=ring) <= reach)
        )
    return total


def unimodality_penalty(y: int, p: Row, omega: float, *, ring: bool) -> float:
    """Return Σ over neighbours relu(ω + p_farther − p_nearer)."""
    classes = len(p)
    total = 0.0
    for k in range(classes if ring else classes - 1):
        a, b = k, (k + 1) % classes
        near, far = sorted((a, b), key=lambda i: distance(i, y, classes, ring=ring))
        if distance(near, y, classes, ring=ring) != distance(far, y, classes, ring=ring):
            total += max(0.0, omega + p[far] - p[near])
    return total


def entropy(p: Row) -> float:
    """Return −Σ_i p_i log p_i."""
    return -sum(q * math.log(q) for q in p)


def weighted_disagreement(y: Sequence[int], p: Matrix, row_weight: Row, power: int, *, ring: bool) -> float:
    """Return Σ w·O / Σ w·E, with the K × K counts written out."""
    classes = len(p[0])
    observed = [[0.0] * classes for _ in range(classes)]
    for label, row, s in zip(y, p, row_weight, strict=True):
        for i in range(classes):
            observed[i][label] += s * row[i]
    total = sum(row_weight)
    predicted = [sum(observed[i]) for i in range(classes)]
    true = [sum(observed[i][j] for i in range(classes)) for j in range(classes)]
    numerator = denominator = 0.0
    for i in range(classes):
        for j in range(classes):
            w = distance(i, j, classes, ring=ring) ** power
            numerator += w * observed[i][j]
            denominator += w * predicted[i] * true[j] / total
    return numerator / denominator
