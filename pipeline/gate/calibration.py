"""Whether the candidate's probabilities mean what they say as well as the champion's do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.config import Gate
from pipeline.gate.resampling import Kinds, bootstrapped, middle
from pipeline.gate.verdict import Check
from pipeline.gate.words import percent
from pipeline.metrics.calibration import BINS, bins


@dataclass(frozen=True)
class Forecast:
    """How sure a forecast is of its mode, and whether that is the label.

    Attributes:
        bins: `(rows,)`, of the mode's probability, 0 … 14.
        chance: `(rows,)`, the mode's probability.
        hit: `(rows,)`, whether it is the label.
    """

    bins: NDArray[np.int64]
    chance: NDArray[np.float64]
    hit: NDArray[np.bool_]

    @classmethod
    def of(cls, y: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Forecast:
        """Return that of probabilities `(rows, K)` of labels `(rows,)`."""
        mode = np.argmax(probabilities, axis=1)
        chance = probabilities[np.arange(len(y)), mode]
        return cls(bins(chance), np.minimum(chance.astype(float), 1), y == mode)

    @property
    def gap(self) -> NDArray[np.float64]:
        """Hit − chance, `(rows,)`; |Σ gap| of each bin, summed over bins, is rows · ECE."""
        return self.hit - self.chance

    @property
    def error(self) -> float:
        """The ECE, as in `metrics.expected_calibration_error`."""
        return float(np.abs(np.bincount(self.bins, self.gap)).sum() / len(self.gap))

    @property
    def by_chance(self) -> float:
        """The ECE to expect on these rows if the forecast were true: Σ_b E|X_b − n_b·p_b| / n.

        X_b is binomial, of the n_b rows of bin b and their mean chance p_b, so that no labels need be drawn
        from the forecast: its mean deviation is 2·n·p·(1 − p)·P(Binomial(n − 1, p) = ⌊n·p⌋).

        Reference:
            Bröcker, Smith, Increasing the reliability of reliability diagrams, 2007; Diaconis, Zabell,
            Closed form summation for classical distributions, 1991, for de Moivre's formula.
        """
        rows = np.bincount(self.bins, minlength=BINS)
        there = rows > 0
        n = rows[there]
        p = np.minimum(np.bincount(self.bins, self.chance, minlength=BINS)[there] / n, 1)
        deviation = 2 * n * p * (1 - p) * stats.binom.pmf(np.floor(n * p), n - 1, p)
        return float(deviation.sum() / n.sum())

    @property
    def excess(self) -> float:
        """The ECE beyond that: 0 on average of a calibrated forecast, whatever the rows."""
        return self.error - self.by_chance


def check(candidate: Forecast, champion: Forecast | None, gate: Gate) -> Check:
    """Return whether the candidate's ECE is not worse by more than `gate.calibration_margin`.

    It fails where the difference of the two excesses is larger than that, and the lower end of its interval
    is above 0. The interval is as wide as the paired bootstrap says of the difference of the two ECEs; its
    centre is the difference of the excesses, since resampling adds to an ECE.

    Args:
        candidate: Of the rows.
        champion: Of the same rows; None: a forecast that is calibrated, whose excess is 0.
        gate: Margin and confidence.
    """
    mean = candidate.excess - (champion.excess if champion else 0)
    drawn = _differences(candidate, champion)
    low, high = middle(drawn - drawn.mean(), gate.confidence)
    lower, upper = mean + low, mean + high
    passed = not (mean > gate.calibration_margin and lower > 0)
    rows = len(candidate.gap)
    than = f"instead of the champion's {champion.excess:.3f}" if champion else "instead of none"
    words = (
        f"calibration error (ECE) is {candidate.error:.3f}, of which chance makes "
        f"{candidate.by_chance:.3f} on {rows} rows; the rest is {candidate.excess:.3f} {than}: "
    )
    if mean > 0:
        words += f"worse by {mean:.3f}, {percent(gate.confidence)} interval {lower:.3f} to {upper:.3f}"
    else:
        words += "no worse"
    if mean > gate.calibration_margin:
        maybe = ", but maybe by chance" if passed else ""
        words += f", more than calibration_margin = {gate.calibration_margin:g}{maybe}"
    numbers = {"candidate": candidate.error, "candidate_by_chance": candidate.by_chance}
    if champion:
        numbers |= {"champion": champion.error, "champion_by_chance": champion.by_chance}
    numbers |= {"difference": mean, "lower": lower, "upper": upper, "rows": float(rows)}
    return Check("calibration", passed, words, numbers)


def _differences(candidate: Forecast, champion: Forecast | None) -> NDArray[np.float64]:
    """Return the difference of the two ECEs of rows that are drawn with replacement, `(draws,)`.

    Rows are alike that are in the same bins and hit alike; within one, chances are as good as equal.
    """
    forecasts = [candidate, champion] if champion else [candidate]
    key = np.zeros(len(candidate.bins), np.int64)
    for one in forecasts:
        key = (key * BINS + one.bins) * 2 + one.hit
    _, first, kind, counts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    gaps = np.zeros((len(counts), len(forecasts) * BINS))  # of each kind, in the bin where it counts
    for place, one in enumerate(forecasts):
        gaps[np.arange(len(counts)), place * BINS + one.bins[first]] = np.bincount(kind, one.gap) / counts
    sums = np.abs(bootstrapped(Kinds(gaps, counts)))
    return np.asarray(sums[:, :BINS].sum(axis=1) - sums[:, BINS:].sum(axis=1))
