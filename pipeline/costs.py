"""Cost matrices, `cost[true label, action]`, and the decision that costs least (NumPy)."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Decision, ProfileName
from pipeline.errors import InputError
from pipeline.topology import Topology
from serving.manifest import PADDING


def cost_matrix(
    profile: ProfileName, offsets: NDArray[np.float64], under: float, over: float
) -> NDArray[np.float64]:
    """Return the cost matrix of a named profile, with the labels as actions.

    With o the way from the true label to the decided one, negative where the decision is too low:

    - zero_one: 1[o ≠ 0]; the best decision is the mode
    - absolute: |o|; the best decision is the median
    - quadratic: o²; the best decision is the label nearest to the expected value
    - asymmetric: `under`·|o| where o < 0, `over`·o where o > 0; a quantile, at
      under / (under + over)
    - cyclic: |o|, the arc between the two; another name of absolute on a ring

    Args:
        profile: Its name.
        offsets: `(K, K)`, `Topology.offsets` in steps or in label values.
        under: Cost for each unit of deciding too low; `asymmetric` only.
        over: Cost for each unit of deciding too high; `asymmetric` only.

    Returns:
        `(K, K)`, never negative, zero on the diagonal.
    """
    match profile:
        case "zero_one":
            return np.asarray(offsets != 0, dtype=float)
        case "absolute" | "cyclic":
            return np.asarray(np.abs(offsets))
        case "quadratic":
            return np.asarray(offsets**2)
        case "asymmetric":
            return np.asarray(np.where(offsets > 0, over * offsets, -under * offsets))


def profiles(config: Decision, topology: Topology) -> dict[str, NDArray[np.float64]]:
    """Return the matrix of every profile that labels so arranged can have, `(K, K)`, by name.

    Raises InputError where a cost is too large to be one, or the config's profile is for a ring and
    the labels lie on a line.
    """
    names = [name for name in get_args(ProfileName) if name != "cyclic" or topology.kind == "cyclic"]
    if config.profile not in names:
        raise InputError(
            f"decision.profile: {config.profile!r} is for labels on a ring (data.topology = 'cyclic'); "
            f"these lie on a line (allowed: {', '.join(names)})"
        )
    with np.errstate(over="ignore"):
        offsets = topology.offsets(config.scale)
        matrices: dict[str, NDArray[np.float64]] = {
            name: cost_matrix(name, offsets, config.under, config.over) for name in names
        }
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
