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


def central_scores(p: Row) -> list[float]:
    """Return max(1 − 2F_y, 2F_{y−1} − 1, 0) for each label y."""
    scores = []
    for y in range(len(p)):
        below, up_to = sum(p[:y]), sum(p[: y + 1])
        scores.append(max(1 - 2 * up_to, 2 * below - 1, 0.0))
    return scores


def unrolled_scores(p: Row, values: Row, period: float) -> list[float]:
    """Return those of a ring, cut open at the first label at or after the point opposite its mean."""
    opposite = circular_mean(p, values, period)[0] + period / 2
    further = [(value - opposite) % period for value in values]
    start = further.index(min(further))
    order = [(start + step) % len(p) for step in range(len(p))]
    scores = [0.0] * len(p)
    for y, score in zip(order, central_scores([p[k] for k in order]), strict=True):
        scores[y] = score
    return scores


def greedy_scores(p: Row, ring: bool) -> list[float]:
    """Return Σ p of what has been taken before each label: the mode, then the likelier neighbour.

    Of two that are equal the one below is taken; on a ring the one below label 0 is the last.
    """
    count = len(p)
    low = high = max(range(count), key=lambda k: (p[k], -k))
    scores = [0.0] * count
    mass = p[low]
    for _ in range(count - 1):
        below, above = low - 1, high + 1
        if ring:
            down = p[below % count] >= p[above % count]
        else:
            down = above == count or (below >= 0 and p[below] >= p[above])
        low, high = (below, high) if down else (low, above)
        taken = (below if down else above) % count
        scores[taken] = mass
        mass += p[taken]
    return scores


def threshold(scores: Row, coverage: float) -> float:
    """Return the ⌈(n + 1)·coverage⌉-th smallest of n scores and a 1."""
    return [*sorted(scores), 1.0][math.ceil((len(scores) + 1) * coverage) - 1]


def interval(scores: Row, tau: float, ring: bool) -> tuple[int, int]:
    """Return the first and the last label with a score of at most τ; all of them are (0, K−1)."""
    count = len(scores)
    inside = [score <= tau for score in scores]
    if all(inside):
        return 0, count - 1
    labels = [k for k in range(count) if inside[k]]
    if not ring:
        return labels[0], labels[-1]
    (first,) = [k for k in labels if not inside[k - 1]]
    (last,) = [k for k in labels if not inside[(k + 1) % count]]
    return first, last


def closest_choice(p: Row, ring: bool) -> float:
    """Return by how little a choice of `greedy_scores` was made: of the mode, or between two neighbours."""
    count = len(p)
    low = high = max(range(count), key=lambda k: (p[k], -k))
    closest = min(p[low] - p[k] for k in range(count) if k != low)
    for _ in range(count - 2):
        below, above = low - 1, high + 1
        if ring or (below >= 0 and above < count):
            closest = min(closest, abs(p[below % count] - p[above % count]))
            down = p[below % count] >= p[above % count]
        else:
            down = above == count
        low, high = (below, high) if down else (low, above)
    return closest


def distance_from_cut(p: Row, values: Row, period: float) -> float:
    """Return the arc from the point opposite the mean to the nearest label, in turns, times the resultant.

    Near 0 a ring may be cut open on either side of that label.
    """
    mean, resultant = circular_mean(p, values, period)
    away = [(value - mean - period / 2) % period for value in values]
    return min(min(one, period - one) for one in away) / period * resultant


def mean(passes: Sequence[Row]) -> list[float]:
    """Return the mean over passes."""
    return [sum(p[k] for p in passes) / len(passes) for k in range(len(passes[0]))]


def uncertainty(passes: Sequence[Row], ring: bool) -> tuple[float, float]:
    """Return mean_s F_s(1 − F_s) and mean_s (F_s − F)², over all thresholds, or all arcs of a ring."""
    count = len(passes[0])
    if ring:
        sets = [
            [(k + step) % count for step in range(size)] for k in range(count) for size in range(1, count)
        ]
    else:
        sets = [list(range(k + 1)) for k in range(count - 1)]
    aleatoric = epistemic = 0.0
    for labels in sets:
        chances = [sum(p[k] for k in labels) for p in passes]
        mean = sum(chances) / len(chances)
        aleatoric += sum(chance * (1 - chance) for chance in chances) / len(chances)
        epistemic += sum((chance - mean) ** 2 for chance in chances) / len(chances)
    return aleatoric / len(sets), epistemic / len(sets)
