"""Whether the candidate's intervals hold as many labels as they promise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline import metrics
from pipeline.gate.verdict import Check
from pipeline.gate.words import percent
from pipeline.topology import Topology
from serving.manifest import rows_needed


def check(
    y: NDArray[np.integer],
    interval: NDArray[np.integer],
    topology: Topology,
    calibration_rows: int,
    coverage: float,
    confidence: float,
) -> Check:
    """Return whether so few labels are in their intervals that chance is no explanation.

    Of n rows that are exchangeable with the m calibration rows the number K of those covered is
    BetaBinomial(n, r, m + 1 − r), r = ⌈(m + 1)·coverage⌉, or more where scores are tied: it fails where
    P(K ≤ seen) < 1 − confidence.

    Args:
        y: `(rows,)`, index of the true label.
        interval: `(rows, 2)`, index of the first and of the last label.
        topology: Of the labels.
        calibration_rows: m, what the intervals are made by.
        coverage: What was asked for.
        confidence: Of the check, one-sided.

    Reference:
        Vovk, Conditional validity of inductive conformal predictors, 2012; Angelopoulos, Bates, Conformal
        prediction: a gentle introduction, 2023, section 3.2.
    """
    rows = len(y)
    share = metrics.interval_coverage(y, interval[:, 0], interval[:, 1], topology)
    numbers = {"coverage": share, "wanted": coverage, "rows": float(rows)}
    needed = rows_needed(coverage)
    if calibration_rows < needed:
        words = (
            f"intervals hold every label: {calibration_rows} calibration rows are too few "
            f"for a coverage of {percent(coverage)}, {needed} are needed"
        )
        return Check("coverage", None, words, numbers)
    chance = chance_of(round(share * rows), rows, calibration_rows, coverage)
    passed = chance >= 1 - confidence
    words = (
        f"{percent(round(share, 3))} of {rows} labels are in their interval, "
        f"where {percent(coverage)} are wanted"
    )
    if not passed:
        words += f": so few have a chance of {chance:.2g}, with {calibration_rows} calibration rows"
    return Check("coverage", passed, words, numbers | {"chance": chance})


def chance_of(covered: int, rows: int, calibration_rows: int, coverage: float) -> float:
    """Return P(K ≤ covered), K ~ BetaBinomial(rows, r, m + 1 − r) as in `check`.

    >>> round(chance_of(0, rows=1, calibration_rows=9, coverage=0.9), 6)  # one score in ten is the largest
    0.1
    """
    rank = math.ceil((calibration_rows + 1) * coverage - 1e-9)  # but for rounding
    return float(stats.betabinom.cdf(covered, rows, rank, calibration_rows + 1 - rank))
