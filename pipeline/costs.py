"""Cost matrices, `cost[true label, action]`, and the decision that costs least (NumPy)."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Decision, ProfileName
from pipeline.errors import InputError
from serving.manifest import PADDING

PROFILES: tuple[ProfileName, ...] = get_args(ProfileName)


def cost_matrix(
    profile: ProfileName, positions: NDArray[np.float64], under: float, over: float
) -> NDArray[np.float64]:
    """Return the cost matrix of a named profile, with the labels as actions.

    With u the position of the true label and a that of the decided one:

    - zero_one: 1[a ≠ u]; the best decision is the mode
    - absolute: |a − u|; the best decision is the median
    - quadratic: (a − u)²; the best decision is the label nearest to the expected value
    - asymmetric: `under`·(u − a) where a < u, `over`·(a − u) where a > u; a quantile, at
      under / (under + over)

    Args:
        profile: Its name.
        positions: `(K,)`, rising: 0 … K−1 for distances in steps, or the label values.
        under: Cost for each unit of deciding too low; `asymmetric` only.
        over: Cost for each unit of deciding too high; `asymmetric` only.

    Returns:
        `(K, K)`, never negative, zero on the diagonal.
    """
    too_high = positions[np.newaxis, :] - positions[:, np.newaxis]  # (true, action)
    match profile:
        case "zero_one":
            return np.asarray(too_high != 0, dtype=float)
        case "absolute":
            return np.asarray(np.abs(too_high))
        case "quadratic":
            return np.asarray(too_high**2)
        case "asymmetric":
            return np.asarray(np.where(too_high > 0, over * too_high, -under * too_high))


def profiles(config: Decision, values: NDArray[np.float64]) -> dict[ProfileName, NDArray[np.float64]]:
    """Return the matrix of every named profile, `(K, K)`, for labels of these values, `(K,)`.

    Raises InputError where a cost is too large to be one.
    """
    positions = np.arange(len(values), dtype=float) if config.scale == "steps" else values
    with np.errstate(over="ignore"):
        matrices = {name: cost_matrix(name, positions, config.under, config.over) for name in PROFILES}
    for name, matrix in matrices.items():
        if not matrix.max() < PADDING:
            raise InputError(
                f"decision: a cost of profile {name!r} is {matrix.max():.3g}, must be below {PADDING:g}"
            )
    return matrices


def decide(probabilities: NDArray[np.floating], cost: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return argmin_a Σ_k p_k·cost[k, a] for each row; a tie goes to the lowest index.

    Args:
        probabilities: `(batch, K)`.
        cost: `(K, A)`.

    Returns:
        `(batch,)`, indices of actions.
    """
    return np.asarray(np.argmin(probabilities @ cost, axis=1))
