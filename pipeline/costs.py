"""Cost matrices, `cost[true label, action]`, and the decision that costs least (NumPy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config import BuiltInProfile, Decision
from pipeline.config import Profile as Given
from pipeline.errors import InputError
from pipeline.topology import Topology
from serving.manifest import ABSTAIN, PADDING


@dataclass(frozen=True)
class Profile:
    """What can be decided, and what it costs.

    Attributes:
        cost: `(K, A)`, of [true label, action].
        actions: Their A names; an abstention is the last.
        decides_labels: Whether the actions are the labels, in their order.
    """

    cost: NDArray[np.float64]
    actions: tuple[str, ...]
    decides_labels: bool


def cost_matrix(
    profile: BuiltInProfile, offsets: NDArray[np.float64], under: float, over: float
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
            return np.asarray(np.where(offsets > 0, over, under) * np.abs(offsets))


def profiles(decision: Decision, topology: Topology, labels: tuple[str, ...]) -> dict[str, Profile]:
    """Return every profile that labels so arranged can have, by name: those built in, then one's own.

    Args:
        decision: What was asked for.
        topology: Of the labels.
        labels: Their K names.

    Raises InputError where a profile does not fit the labels, a cost is too large to be one, or the
    config's profile is for a ring and the labels lie on a line.
    """
    built_in = [name for name in get_args(BuiltInProfile) if name != "cyclic" or topology.kind == "cyclic"]
    names = [*built_in, *decision.profiles]
    if decision.profile not in names:
        raise InputError(
            f"decision.profile: {decision.profile!r} is for labels on a ring (data.topology = 'cyclic'); "
            f"these lie on a line (allowed: {', '.join(names)})"
        )
    with np.errstate(over="ignore"):
        offsets = topology.offsets(decision.scale)
        found = {
            name: Profile(cost_matrix(name, offsets, decision.under, decision.over), labels, True)
            for name in built_in
        }
    found |= {name: _own(name, given, labels) for name, given in decision.profiles.items()}
    for name, profile in found.items():
        most = profile.cost.max()
        if not most < PADDING:
            raise InputError(
                f"decision: a cost of profile {name!r} is {most:.3g}, must be below {PADDING:g}"
            )
    return found


def _own(name: str, given: Given, labels: tuple[str, ...]) -> Profile:
    """Return a profile of the config for these labels, its abstention as the last action."""
    where = f"decision.profiles.{name}"
    cost, actions = np.array(given.cost), given.actions or labels
    if len(cost) != len(labels):
        raise InputError(
            f"{where}: cost must have a row for each of the {len(labels)} labels, it has {len(cost)}"
        )
    if cost.shape[1] != len(actions):
        raise InputError(
            f"{where}: rows of cost must have {len(labels)} entries where the actions are the labels, "
            f"they have {cost.shape[1]}; name the actions if they are others"
        )
    if given.abstain is not None:
        if ABSTAIN in actions:
            raise InputError(
                f"{where}: abstain adds an action {ABSTAIN!r}, but there is one in {list(actions)}; "
                "rename that, or leave abstain out"
            )
        cost = np.column_stack([cost, np.full(len(labels), given.abstain)])
        actions = (*actions, ABSTAIN)
    return Profile(cost, actions, actions == labels)


def decide(probabilities: NDArray[np.floating], cost: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return argmin_a Σ_k p_k·cost[k, a] for each row; a tie goes to the lowest index.

    Args:
        probabilities: `(batch, K)`.
        cost: `(K, A)`.

    Returns:
        `(batch,)`, indices of actions.
    """
    return np.asarray(np.argmin(probabilities @ cost, axis=1))
