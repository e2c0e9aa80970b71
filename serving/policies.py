"""The policies of a request become one array of costs.

Orientation, as everywhere: `cost[true label, action]`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest
from serving.manifest import ABSTAIN, PADDING, Manifest
from serving.quote import listed, quoted
from serving.wire import ordinal_pb2 as wire

MAX_COSTS = 2**22
"""Limit of costs and of expected costs that one request may make the service hold, 16 MiB of float32."""


@dataclass(frozen=True, eq=False)
class Rule:
    """A policy that is known to be right."""

    name: str
    actions: tuple[str, ...]  # an abstention is the last
    cost: NDArray[np.float32]  # (K, A), or (rows, K, A), without that of an abstention
    abstain_cost: float | None = None

    @functools.cached_property
    def heading(self) -> bytes:
        """What every decision by it has in common, as the bytes of a `Decision`."""
        return wire.Decision(policy=self.name, actions=self.actions).SerializeToString()


def profile_rules(manifest: Manifest) -> dict[str, Rule]:
    """Return the rules of a model's cost profiles, by name."""
    return {
        name: Rule(name, profile.actions, np.asarray(profile.cost, np.float32))
        for name, profile in manifest.profiles.items()
    }


def rules_of(
    policies: Sequence[wire.Policy],
    profiles: Mapping[str, Rule],
    default: str,
    labels: tuple[str, ...],
    rows: int,
) -> list[Rule]:
    """Return a rule for each policy of a request, or the default profile where there is none.

    `rows` is how many the request has, for costs of each row.

    Raises InvalidRequest, naming the field of the policy that is wrong.
    """
    if not policies:
        return [profiles[default]]
    rules: list[Rule] = []
    seen: set[str] = set()
    widest, each = 2, False
    for index, policy in enumerate(policies):
        rule = _rule(policy, f"policies[{index}]", profiles, labels, rows)
        if rule.name in seen:
            raise InvalidRequest(
                f"policies[{index}].name", f"names must differ, {quoted(rule.name)} comes twice"
            )
        seen.add(rule.name)
        rules.append(rule)
        widest, each = max(widest, len(rule.actions)), each or rule.cost.ndim == 3
        _check_size(len(policies), widest, len(labels), rows, each=each)
    return rules


def _check_size(policies: int, actions: int, labels: int, rows: int, *, each: bool) -> None:
    """Refuse what would be too large once it is stacked, while it is not."""
    if max(rows * labels if each else rows, labels) * policies * actions > MAX_COSTS:
        counted = f"rows × policies × {'labels × ' if each else ''}actions"
        came = f"{rows} × {policies} × {f'{labels} × ' if each else ''}{actions}"
        raise InvalidRequest(
            "policies", f"{counted} must be at most {MAX_COSTS}, got {came}; send fewer at a time"
        )


def stacked_cost(rules: Sequence[Rule]) -> NDArray[np.float32]:
    """Return all costs as one array `(1 or rows, P, K, A)`, shorter policies padded with `PADDING`."""
    actions = max(len(rule.actions) for rule in rules)
    rows = max(len(rule.cost) if rule.cost.ndim == 3 else 1 for rule in rules)
    cost = np.full((rows, len(rules), rules[0].cost.shape[-2], actions), PADDING, np.float32)
    for index, rule in enumerate(rules):
        own = rule.cost.shape[-1]
        cost[:, index, :, :own] = rule.cost
        if rule.abstain_cost is not None:
            cost[:, index, :, own] = rule.abstain_cost
    return cost


def _rule(
    policy: wire.Policy, field: str, profiles: Mapping[str, Rule], labels: tuple[str, ...], rows: int
) -> Rule:
    abstaining = policy.HasField("abstain_cost")
    match policy.WhichOneof("rule"):
        case "profile":
            known = profiles.get(policy.profile)
            if known is None:
                raise _unknown_profile(policy.profile, f"{field}.profile", list(profiles))
            rule = Rule(policy.name or known.name, known.actions, known.cost)
        case "cost":
            fewest = 1 if abstaining else 2
            actions = _actions(policy.cost, f"{field}.cost.actions", labels, fewest)
            cost = _cost(policy.cost, f"{field}.cost.cost", len(labels), actions, rows)
            rule = Rule(policy.name or "cost", actions, cost)
        case _:
            raise InvalidRequest(field, "a policy must have a profile or a cost, it has neither")
    return _abstaining(rule, policy.abstain_cost, f"{field}.abstain_cost") if abstaining else rule


def _abstaining(rule: Rule, price: float, field: str) -> Rule:
    """Return the rule with the action "abstain" after its own."""
    if not 0 <= price < PADDING:  # NaN fails both comparisons
        raise InvalidRequest(field, f"must be a number from 0 to below {PADDING:g}, got {price:g}")
    if ABSTAIN in rule.actions:
        raise InvalidRequest(
            field, f"would add the action {ABSTAIN!r}, which policy {quoted(rule.name)} has already"
        )
    return replace(rule, actions=(*rule.actions, ABSTAIN), abstain_cost=price)


def _unknown_profile(name: str, field: str, known: list[str]) -> InvalidRequest:
    near = difflib.get_close_matches(name[:80], known, n=len(known), cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    nearest_first = near + [other for other in known if other not in near]
    return InvalidRequest(field, f"must be one of {listed(nearest_first)}, got {quoted(name)}{hint}")


def _actions(matrix: wire.CostMatrix, field: str, labels: tuple[str, ...], fewest: int) -> tuple[str, ...]:
    if not matrix.actions:
        return labels
    actions = tuple(matrix.actions)
    if len(actions) < fewest:
        raise InvalidRequest(field, f"there must be at least two actions, got {len(actions)}")
    if "" in actions:
        raise InvalidRequest(f"{field}[{actions.index('')}]", "an action must have a name, it is empty")
    first_at: dict[str, int] = {}
    for index, action in enumerate(actions):
        if first_at.setdefault(action, index) != index:
            raise InvalidRequest(f"{field}[{index}]", f"names must differ, {quoted(action)} comes twice")
    return actions


def _cost(
    matrix: wire.CostMatrix, field: str, labels: int, actions: tuple[str, ...], rows: int
) -> NDArray[np.float32]:
    """Return the costs, `(K, A)`, or `(rows, K, A)` where each row has its own."""
    size, came = labels * len(actions), len(matrix.cost)
    if came not in (size, rows * size):
        meant = "" if matrix.actions else " (no actions are named, so they are the labels)"
        raise InvalidRequest(
            field,
            f"must have labels × actions = {labels} × {len(actions)} = {size} entries{meant}, "
            f"or as many for each of {rows} rows, got {came}",
        )
    shape = (labels, len(actions)) if came == size else (rows, labels, len(actions))
    cost = np.fromiter(matrix.cost, np.float32, came).reshape(shape)
    # NaN fails both comparisons.
    bad = ~((cost >= 0) & (cost < PADDING))
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        *row, label, action = place
        raise InvalidRequest(
            f"{field}[{int(np.ravel_multi_index(place, shape))}]",
            f"every cost must be a number from 0 to below {PADDING:g}, got {cost[place]:g} at "
            f"{f'row {row[0]}, ' if row else ''}true label {label}, action {quoted(actions[action])}",
        )
    return cost
