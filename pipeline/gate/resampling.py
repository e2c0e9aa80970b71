"""What chance does to means over rows: the bootstrap, and the exchange of two answers (NumPy).

Costs take few values, so rows of one kind are drawn together: how often each kind is among n rows drawn
with replacement is multinomial, and a million rows take no longer than a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
MOST_KINDS = 256
_BLOCK = 2**20  # numbers drawn at a time
_SEED = 0  # the same rows, the same verdict


class Kinds(NamedTuple):
    """Rows by what is the same about them."""

    values: NDArray[np.float64]  # (D,), or (D, J)
    counts: NDArray[np.int64]  # (D,), at least 1

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Kinds:
        """Return the distinct values of rows, rising.

        Beyond 256 of them neighbours share their mean: what varies between neighbours is nothing beside
        what varies between rows.

        Args:
            values: `(rows,)`, at least one.

        >>> Kinds.of(np.array([1.0, 0.0, 1.0]))
        Kinds(values=array([0., 1.]), counts=array([1, 2]))
        """
        distinct, counts = np.unique(values, return_counts=True)
        if len(distinct) > MOST_KINDS:
            cell = np.arange(len(distinct)) * MOST_KINDS // len(distinct)
            sums = np.bincount(cell, distinct * counts)
            counts = np.bincount(cell, counts).astype(np.int64)
            distinct = sums / counts
        return cls(distinct, counts)


def bootstrapped(kinds: Kinds) -> NDArray[np.float64]:
    """Return the mean value of as many rows, drawn with replacement, 10,000 times.

    Args:
        kinds: Values `(D,)` or `(D, J)`, with their counts.

    Returns:
        `(draws,)` or `(draws, J)`; the same for the same kinds.

    Reference:
        Efron, Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    rows = kinds.counts.sum()
    shares = kinds.counts / rows
    return np.concatenate(
        [some.multinomial(rows, shares, size) @ kinds.values / rows for some, size in _blocks(len(shares))]
    )


def middle(draws: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of draws, `(draws,)`: what is left of them between equal tails."""
    lower, upper = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)


def exchanged(kinds: Kinds) -> float:
    """Return P(Σ ±d ≥ Σ d), each sign + or − with chance ½: how easily chance makes so large a sum.

    That is what swapping the two answers to a row does to the difference of their costs. The level is exact
    where the two are exchangeable, however few the rows and whatever the costs; where they only cost the
    same on average it is right for many rows, as that of a t-test is.

    Args:
        kinds: Differences d, `(D,)`, with their counts.

    Returns:
        (1 + draws as large) / (1 + draws), one-sided, or Hoeffding's bound exp(−½(Σ d)² / Σ d²) where that
        is less: so few draws cannot tell of the small chances that `holm` asks for among many slices.

    Reference:
        Pitman, Significance tests which may be applied to samples from any populations, 1937; Phipson,
        Smyth, Permutation p-values should never be zero, 2010; Hoeffding, Probability inequalities for
        sums of bounded random variables, 1963.

    >>> exchanged(Kinds(np.array([0.0]), np.array([3])))
    1.0
    """
    differ = kinds.values != 0
    sizes, counts = np.abs(kinds.values[differ]), kinds.counts[differ]
    if not len(sizes):
        return 1.0
    total, as_large = float(kinds.values @ kinds.counts), 0
    enough = total - 1e-9 * (sizes @ counts)  # sums in another order are equal but for rounding
    for some, size in _blocks(len(sizes)):
        plus = some.binomial(counts, 0.5, (size, len(counts)))
        as_large += int(np.sum((2 * plus - counts) @ sizes >= enough))
    bound = math.exp(-(max(total, 0.0) ** 2) / (2 * sizes**2 @ counts))
    return min((1 + as_large) / (1 + DRAWS), bound)


def holm(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values `(S,)` so adjusted that one at most α is among S with a chance of at most α.

    p₍₁₎ ≤ … ≤ p₍S₎ become max_{j≤i} (S − j + 1)·p₍ⱼ₎, at most 1; nothing is assumed of how they depend on
    one another.

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, 1979.

    >>> holm(np.array([0.5, 0.01, 0.02])).tolist()
    [0.5, 0.03, 0.04]
    """
    order = np.argsort(chances, kind="stable")
    left = np.arange(len(chances), 0, -1)
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(np.maximum.accumulate(left * chances[order]), 1)
    return adjusted


def _blocks(width: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Yield a generator with numbers of draws that sum to `DRAWS`, so that memory is bounded."""
    generator = np.random.default_rng(_SEED)
    most = max(1, _BLOCK // width)
    for start in range(0, DRAWS, most):
        yield generator, min(most, DRAWS - start)
