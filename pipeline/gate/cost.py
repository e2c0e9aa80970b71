"""Whether the candidate's decisions cost less, on true labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Gate
from pipeline.gate.resampling import Kinds, bootstrapped, middle
from pipeline.gate.verdict import Check
from pipeline.gate.words import percent, places


@dataclass(frozen=True)
class Difference:
    """What two pay for the same rows, and the mean of d, candidate − champion.

    Attributes:
        candidate: Mean cost.
        champion: Mean cost of the champion, or of what stands in for it.
        kinds: The values of d, `(D,)`.
        confidence: Of the interval, two-sided.
    """

    candidate: float
    champion: float
    kinds: Kinds
    confidence: float

    @classmethod
    def of(
        cls, candidate: NDArray[np.floating], champion: NDArray[np.floating], confidence: float
    ) -> Difference:
        """Return that of two costs of each row, cost[true label, decision], `(rows,)`, at least one."""
        kinds = Kinds.of(candidate - champion)
        return cls(float(np.mean(candidate)), float(np.mean(champion)), kinds, confidence)

    @property
    def mean(self) -> float:
        """Mean of d; negative where the candidate is better."""
        return float(self.kinds.values @ self.kinds.counts / self.rows)

    @property
    def rows(self) -> int:
        """As many as there are."""
        return int(self.kinds.counts.sum())

    @property
    def differing(self) -> int:
        """Rows of which d ≠ 0."""
        return int(self.kinds.counts[self.kinds.values != 0].sum())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Percentile interval of the mean of d, by the paired bootstrap.

        Reference:
            Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
        """
        return middle(bootstrapped(self.kinds), self.confidence)

    @property
    def numbers(self) -> dict[str, float]:
        """What a check keeps of it, without the interval."""
        return {
            "candidate": self.candidate,
            "champion": self.champion,
            "difference": self.mean,
            "rows": float(self.rows),
            "differing": float(self.differing),
        }

    @property
    def places(self) -> int:
        """Decimal places that its numbers are told with."""
        return places(max(self.candidate, self.champion))

    @property
    def words(self) -> str:
        """By how much the candidate is better or worse, and how sure that is."""
        n, (lower, upper), better = self.places, self.interval, self.mean <= 0
        low, high = (-upper, -lower) if better else (lower, upper)
        return (
            f"{'better' if better else 'worse'} by {abs(self.mean):.{n}f}, "
            f"{percent(self.confidence)} interval {low:.{n}f} to {high:.{n}f}"
        )


def rows_that_must_differ(confidence: float) -> int:
    """Return the fewest rows with which a win can be more than chance: 2⁻ᵐ ≤ (1 − confidence) / 2.

    Where chance alone decides who pays more for a row, m rows are all won with a chance of 2⁻ᵐ. The
    bootstrap does not know that: of a single row, which is won, its interval has no width.

    >>> rows_that_must_differ(0.95)
    6
    """
    return math.ceil(math.log2(2 / (1 - confidence)) - 1e-9)  # but for rounding


def check(difference: Difference, gate: Gate, profile: str, other: str) -> Check:
    """Return whether the candidate costs less by more than `gate.margin`.

    Args:
        difference: Of all rows.
        gate: Margin and confidence.
        profile: Name of the costs.
        other: Who pays the champion's costs, in words after a number; "" where that is the champion.
    """
    n, must = difference.places, rows_that_must_differ(gate.confidence)
    lower, upper = difference.interval
    won = upper < -gate.margin
    words = (
        f"costs {difference.candidate:.{n}f} a row instead of {difference.champion:.{n}f}{other} "
        f"under {profile!r}: "
    )
    if not difference.differing:
        words += f"no better, the cost is the same on each of {difference.rows} rows"
    else:
        words += difference.words
        if not won:
            words += f", so it is not shown to be better by more than margin = {gate.margin:g}"
        elif difference.differing < must:
            words += (
                f"; but only {difference.differing} of {difference.rows} rows cost differently, "
                f"and fewer than {must} may all be won by chance"
            )
    passed = won and difference.differing >= must
    return Check("cost", passed, words, difference.numbers | {"lower": lower, "upper": upper})
