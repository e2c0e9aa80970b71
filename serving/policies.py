"""The policies of a request become one array of costs, and the graph's decisions are cut apart again.

Orientation, as everywhere: `cost[true label, action]`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Answer
from serving.errors import InvalidRequest
from serving.manifest import PADDING, Manifest
from serving.quote import listed, quoted
from serving.wire import ordinal_pb2 as wire

MAX_COSTS = 2**25
"""Limit of rows × policies × actions: what one request may make the graph allocate, 128 MiB of float32."""


@dataclass(frozen=True, eq=False)
class Rule:
    """A policy that is known to be right."""

    name: str
    actions: tuple[str, ...]
    cost: NDArray[np.float32]  # (K, A)


def profile_rules(manifest: Manifest) -> dict[str, Rule]:
    """Return the rules of a model's cost profiles, by name."""
    return {
        name: Rule(name, profile.actions, np.asarray(profile.cost, np.float32))
        for name, profile in manifest.profiles.items()
    }


def rules_of(
    policies: Sequence[wire.Policy], profiles: Mapping[str, Rule], default: str, labels: tuple[str, ...]
) -> list[Rule]:
    """Return a rule for each policy of a request, or the default profile where there is none.

    Raises InvalidRequest, naming the field of the policy that is wrong.
    """
    if not policies:
        return [profiles[default]]
    rules: list[Rule] = []
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        rule = _rule(policy, f"policies[{index}]", profiles, labels)
        if rule.name in seen:
            raise InvalidRequest(
                f"policies[{index}].name", f"names must differ, {quoted(rule.name)} comes twice"
            )
        seen.add(rule.name)
        rules.append(rule)
    return rules


def stacked_cost(rules: Sequence[Rule], rows: int) -> NDArray[np.float32]:
    """Return all costs as one array `(1, P, K, A)`, shorter policies padded with `PADDING`.

    Raises InvalidRequest where the answer to so many rows, policies and actions would be too large.
    """
    actions = max(len(rule.actions) for rule in rules)
    labels = len(rules[0].cost)
    size = max(rows, labels) * len(rules) * actions
    if size > MAX_COSTS:
        raise InvalidRequest(
            "policies",
            f"rows × policies × actions must be at most {MAX_COSTS}, "
            f"got {rows} × {len(rules)} × {actions}; send fewer at a time",
        )
    cost = np.full((1, len(rules), labels, actions), PADDING, np.float32)
    for index, rule in enumerate(rules):
        cost[0, index, :, : len(rule.actions)] = rule.cost
    return cost


def decisions(rules: Iterable[Rule], answer: Answer) -> list[wire.Decision]:
    """Return one `Decision` for each rule, in their order."""
    lowest = np.take_along_axis(answer.expected_cost, answer.decision[..., np.newaxis], axis=2)[..., 0]
    return [
        wire.Decision(
            policy=rule.name,
            actions=rule.actions,
            action=answer.decision[:, index].tolist(),
            expected_cost=lowest[:, index].tolist(),
            margin=answer.margin[:, index].tolist(),
        )
        for index, rule in enumerate(rules)
    ]


def _rule(policy: wire.Policy, field: str, profiles: Mapping[str, Rule], labels: tuple[str, ...]) -> Rule:
    match policy.WhichOneof("rule"):
        case "profile":
            known = profiles.get(policy.profile)
            if known is None:
                raise _unknown_profile(policy.profile, f"{field}.profile", list(profiles))
            return Rule(policy.name or known.name, known.actions, known.cost)
        case "cost":
            actions = _actions(policy.cost, f"{field}.cost.actions", labels)
            cost = _cost(policy.cost, f"{field}.cost.cost", len(labels), actions)
            return Rule(policy.name or "cost", actions, cost)
        case _:
            raise InvalidRequest(field, "a policy must have a profile or a cost, it has neither")


def _unknown_profile(name: str, field: str, known: list[str]) -> InvalidRequest:
    near = difflib.get_close_matches(name[:80], known, n=len(known), cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    nearest_first = near + [other for other in known if other not in near]
    return InvalidRequest(field, f"must be one of {listed(nearest_first)}, got {quoted(name)}{hint}")


def _actions(matrix: wire.CostMatrix, field: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    if not matrix.actions:
        return labels
    actions = tuple(matrix.actions)
    if len(actions) < 2:
        raise InvalidRequest(field, f"there must be at least two actions, got {len(actions)}")
    if "" in actions:
        raise InvalidRequest(f"{field}[{actions.index('')}]", "an action must have a name, it is empty")
    first_at: dict[str, int] = {}
    for index, action in enumerate(actions):
        if first_at.setdefault(action, index) != index:
            raise InvalidRequest(f"{field}[{index}]", f"names must differ, {quoted(action)} comes twice")
    return actions


def _cost(
    matrix: wire.CostMatrix, field: str, labels: int, actions: tuple[str, ...]
) -> NDArray[np.float32]:
    wanted, came = labels * len(actions), len(matrix.cost)
    if came != wanted:
        meant = "" if matrix.actions else " (no actions are named, so they are the labels)"
        raise InvalidRequest(
            field,
            f"must have labels × actions = {labels} × {len(actions)} = {wanted} entries{meant}, got {came}",
        )
    cost = np.fromiter(matrix.cost, np.float32, wanted).reshape(labels, len(actions))
    # NaN fails both comparisons.
    bad = ~((cost >= 0) & (cost < PADDING))
    if bad.any():
        label, action = (int(place) for place in np.argwhere(bad)[0])
        raise InvalidRequest(
            f"{field}[{label * len(actions) + action}]",
            f"every cost must be a number from 0 to below {PADDING:g}, got {cost[label, action]:g} "
            f"at true label {label}, action {quoted(actions[action])}",
        )
    return cost
