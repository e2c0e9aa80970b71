"""Slow and obvious twins of the metrics: loops over Python numbers, written from the formulas alone."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from fractions import Fraction

import oracle

Labels = Sequence[int]
Row = Sequence[float]


def distance(i: int, j: int, classes: int, *, ring: bool) -> int:
    """Return the fewest steps from one label to another, walked one at a time."""
    ups = downs = 0
    while (i + ups) % classes != j:
        ups += 1
    while (i - downs) % classes != j:
        downs += 1
    return min(ups, downs) if ring else abs(i - j)


def average(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def errors_by_class(y: Labels, decided: Labels, classes: int, *, ring: bool) -> list[float]:
    """Return the mean distance over the rows of each label."""
    return [
        average([distance(i, j, classes, ring=ring) for i, j in zip(y, decided, strict=True) if i == k])
        for k in range(classes)
    ]


def recalls(y: Labels, decided: Labels, classes: int) -> list[float]:
    """Return the share of each label's rows that are decided right."""
    return [
        average([float(j == k) for i, j in zip(y, decided, strict=True) if i == k]) for k in range(classes)
    ]


def kappa(y: Labels, decided: Labels, classes: int, power: int, *, ring: bool) -> float:
    """Return 1 − mean d^power of each row / mean d^power of every label with every row's decision."""
    observed = [distance(i, j, classes, ring=ring) ** power for i, j in zip(y, decided, strict=True)]
    by_chance = [distance(i, j, classes, ring=ring) ** power for i in y for j in decided]
    return 1 - average(observed) / average(by_chance) if any(by_chance) else math.nan


def pearson(a: Row, b: Row) -> float:
    """Return the correlation of two sequences."""
    from_a, from_b = [x - average(a) for x in a], [x - average(b) for x in b]
    both = math.fsum(x * z for x, z in zip(from_a, from_b, strict=True))
    spread = math.fsum(x * x for x in from_a) * math.fsum(x * x for x in from_b)
    return both / math.sqrt(spread) if spread else math.nan


def ranks(labels: Labels) -> list[float]:
    """Return the mean rank of each row among its equals."""
    return [
        sum(other < x for other in labels) + (1 + sum(other == x for other in labels)) / 2 for x in labels
    ]


def spearman(y: Labels, decided: Labels) -> float:
    """Return the correlation of the ranks."""
    return pearson(ranks(y), ranks(decided))


def kendall(y: Labels, decided: Labels) -> float:
    """Return τ_b, pair of rows by pair of rows."""
    ahead = untied_y = untied_decided = 0
    for a in range(len(y)):
        for b in range(a):
            ahead += _sign(y[a] - y[b]) * _sign(decided[a] - decided[b])
            untied_y += y[a] != y[b]
            untied_decided += decided[a] != decided[b]
    return ahead / math.sqrt(untied_y * untied_decided) if untied_y and untied_decided else math.nan


def circular_correlation(y: Labels, decided: Labels, classes: int) -> float:
    """Return Jammalamadaka's correlation of angles; NaN without a mean direction or without spread."""
    sines = []
    for labels in (y, decided):
        angles = [2 * math.pi * k / classes for k in labels]
        resultant = sum(cmath.exp(1j * angle) for angle in angles)
        if abs(resultant) < 1e-6:
            return math.nan
        sines.append([math.sin(angle - cmath.phase(resultant)) for angle in angles])
    of_y, of_decided = sines
    spread = math.fsum(a * a for a in of_y) * math.fsum(b * b for b in of_decided)
    both = math.fsum(a * b for a, b in zip(of_y, of_decided, strict=True))
    return both / math.sqrt(spread) if spread > 1e-12 else math.nan


def resultant_length(p: Row) -> float:
    """Return |Σ_k p_k e^{2πik/K}|."""
    return abs(sum(q * cmath.exp(2j * math.pi * k / len(p)) for k, q in enumerate(p)))


def ranked_probability_score(y: int, p: Row, *, ring: bool) -> float:
    """Return the normalised RPS; on a ring its mean over the K lines that cutting makes."""
    classes = len(p)
    cuts = range(classes) if ring else range(1)
    return average(
        [oracle.ranked_probability_score((y - cut) % classes, [*p[cut:], *p[:cut]]) for cut in cuts]
    )


def brier(y: int, p: Row) -> float:
    """Return Σ_k (p_k − 1[y = k])²."""
    return math.fsum((q - (k == y)) ** 2 for k, q in enumerate(p))


def is_unimodal(p: Row, *, ring: bool) -> bool:
    """Return whether some label has nothing but rises before it and falls after it; a ring may be cut."""
    lines = [[*p[cut:], *p[:cut]] for cut in (range(len(p)) if ring else range(1))]
    return any(
        sorted(line[:peak]) == line[:peak] and sorted(line[peak:], reverse=True) == line[peak:]
        for line in lines
        for peak in range(len(p) + 1)
    )


def calibration_error(chances: Row, happened: Sequence[bool]) -> float:
    """Return the ECE in 15 bins; an edge belongs to the bin farther from ½."""
    total, bins = 0.0, [_bin(chance) for chance in chances]
    for b in range(15):
        inside = [row for row, its_bin in enumerate(bins) if its_bin == b]
        total += abs(average([chances[r] - happened[r] for r in inside])) * len(inside) if inside else 0.0
    return total / len(chances)


def threshold_calibration_errors(y: Labels, rows: Sequence[Row]) -> list[float]:
    """Return the ECE of P(y ≤ k) for each k < K − 1."""
    return [
        calibration_error([math.fsum(p[: k + 1]) for p in rows], [i <= k for i in y])
        for k in range(len(rows[0]) - 1)
    ]


def arc_calibration_errors(y: Labels, rows: Sequence[Row]) -> list[float]:
    """Return the ECE of every arc of the ring, which names each arc and the arc that is left."""
    classes, errors = len(rows[0]), []
    for start in range(classes):
        for length in range(1, classes):
            arc = [(start + step) % classes for step in range(length)]
            chances = [math.fsum(p[k] for k in arc) for p in rows]
            errors.append(calibration_error(chances, [i in arc for i in y]))
    return errors


def interval(lower: int, upper: int, classes: int) -> list[int]:
    """Return the labels met on the way up from the first to the last, past the end if need be."""
    labels = [lower]
    while labels[-1] != upper:
        labels.append((labels[-1] + 1) % classes)
    return labels


def _bin(chance: float) -> int:
    exact = Fraction(chance).limit_denominator(10**6)
    tail = min(exact, 1 - exact)
    from_end = sum(tail > Fraction(edge, 15) for edge in range(1, 8))
    return from_end if exact <= Fraction(1, 2) else 14 - from_end


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)
