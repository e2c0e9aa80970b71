"""How far the coverage of test rows may be from the wanted one by chance alone."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from serving.manifest import rows_needed

CONFIDENCE = 0.95


def band(wanted: float, rows: int, calibration_rows: int) -> tuple[float, float] | None:
    """Return the middle 95 % of coverages that n test rows have with intervals made by m calibration rows.

    As the gate's check has it: the number of rows covered is BetaBinomial(n, r, m + 1 − r),
    r = ⌈(m + 1)·wanted⌉. That is the binomial band, wider for what the calibration rows do not know.

    Args:
        wanted: Coverage, in (0, 1).
        rows: n.
        calibration_rows: m.

    Returns:
        Lowest and highest share; None where m are too few and intervals hold every label.

    >>> low, high = band(0.9, 1000, 10_000)
    >>> round(low, 2), round(high, 2)
    (0.88, 0.92)
    >>> band(0.99, 1000, 50) is None
    True
    """
    if calibration_rows < rows_needed(wanted):
        return None
    rank = math.ceil((calibration_rows + 1) * wanted - 1e-9)  # but for rounding
    # A tenth of the time of `betabinom.ppf`, which sums anew for every number that it tries.
    chances = stats.betabinom.pmf(np.arange(rows + 1), rows, rank, calibration_rows + 1 - rank)
    low, high = np.searchsorted(np.cumsum(chances), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low / rows), float(high / rows)
