"""A request becomes the arrays that a graph is fed, strict about what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.entries import Categories, Numbers, neighbour
from serving.errors import InvalidRequest
from serving.inference import parameters
from serving.inference.model import COST, COVERAGE, Model
from serving.inference.tensors import Given, given
from serving.manifest import PADDING
from serving.policies import MAX_COSTS, Rule
from serving.question import Question
from serving.quote import listed, quoted
from serving.rows import Rows
from serving.wire import inference_pb2 as wire

_PADDING = np.float32(PADDING)


class Asked(NamedTuple):
    """A request, read: the question, what the reply is to hold, and what its decisions are by."""

    question: Question
    outputs: tuple[str, ...]
    rules: Sequence[Rule] | None  # None where the request brings costs of its own


def read(request: wire.ModelInferRequest, model: Model) -> Asked:
    """Return what a request asks of a model.

    Raises InvalidRequest, naming the field that is wrong, what must hold, and what came.
    """
    outputs = model.wanted(request)
    tensors = given(request, model.specs)
    own_cost, own_coverage = tensors.pop(COST, None), tensors.pop(COVERAGE, None)
    rows = _rows(tensors, model)
    count = len(next(iter(rows.values())))
    if count * model.labels > MAX_COSTS:
        raise InvalidRequest(
            "inputs",
            f"rows × labels must be at most {MAX_COSTS}, got {count} × {model.labels}; "
            "send fewer at a time",
        )
    rules: Sequence[Rule] | None = model.default
    cost, coverage = model.default_cost, model.default_coverage
    if request.parameters:
        profile, level = parameters.asked(request.parameters)
        if profile is not None:
            _only_one(own_cost, parameters.COST_PROFILE)
            rules = _rules(profile, model.profiles)
            cost = model.cost(rules)
        if level is not None:
            _only_one(own_coverage, parameters.COVERAGE)
            coverage = np.array([level], np.float32)
    if own_cost is not None:
        rules, cost = None, _own_cost(own_cost, count)
    if own_coverage is not None:
        coverage = _own_coverage(own_coverage, count)
    _check_size(cost, count, "inputs" if own_cost is None else own_cost.shape_field)
    return Asked(Question(model.artifact, rows, cost, coverage), outputs, rules)


def _rows(tensors: Mapping[str, Given], model: Model) -> Rows:
    """Return the rows, each entry of them one that may be there."""
    first = next(iter(tensors.values()))
    rows: Rows = {}
    for name, tensor in tensors.items():
        if len(tensor.array) != len(first.array):
            raise InvalidRequest(
                f"{tensor.shape_field}[0]",
                f"every input must have as many rows as the first, {len(first.array)}, "
                f"got {len(tensor.array)} of {quoted(name)}",
            )
        rows[name] = tensor.array
    for numbers in model.inputs.numbers:
        if numbers.spec.dtype == "float32":
            _check_numbers(tensors[numbers.spec.name], numbers)
    for categories in model.inputs.categories:
        _check_categories(tensors[categories.spec.name], categories)
    return rows


def _check_numbers(tensor: Given, numbers: Numbers) -> None:
    place = numbers.first_bad(tensor.array)
    if place is not None:
        raise InvalidRequest(
            tensor.field(place), f"every element {numbers.must(tensor.array[place], place)}"
        )


def _check_categories(tensor: Given, categories: Categories) -> None:
    for feature in range(tensor.array.shape[1]):
        texts = tensor.array[:, feature].tolist()
        row = categories.first_bad(feature, texts)
        if row is not None:
            raise InvalidRequest(
                tensor.field((row, feature)), f"every element {categories.must(feature, texts[row], row)}"
            )


def _only_one(own: Given | None, parameter: str) -> None:
    if own is not None:
        raise InvalidRequest(
            parameters.field_of(parameter),
            f"must be left out where input {own.at} says the same",
        )


def _rules(text: str, profiles: Mapping[str, Rule]) -> Sequence[Rule]:
    """Return the rules of one or several profiles, parted by commas unless the whole text is a name."""
    names = [text] if text in profiles else [name.strip() for name in text.split(",")]
    field = parameters.field_of(parameters.COST_PROFILE)
    rules: dict[str, Rule] = {}
    for name in names:
        if name not in profiles:
            known = list(profiles)
            raise InvalidRequest(
                field,
                f"must be one of {listed(known)}, or several, parted by commas; got {quoted(name)}"
                f"{neighbour(name, known)}",
            )
        if name in rules:
            raise InvalidRequest(field, f"names must differ, {quoted(name)} comes twice")
        rules[name] = profiles[name]
    return list(rules.values())


def _own_cost(tensor: Given, rows: int) -> NDArray[np.float32]:
    """Return the costs of a request, `(1 or rows, P, K, A)`."""
    cost: NDArray[np.float32] = tensor.array  # type: ignore[assignment]
    _check_rows(tensor, rows)
    if cost.shape[-1] < 2:
        raise InvalidRequest(
            f"{tensor.shape_field}[3]", f"there must be at least two actions, got {cost.shape[-1]}"
        )
    _check_size(cost, rows, tensor.shape_field)
    good = (cost >= 0) & (cost <= _PADDING)  # NaN fails both comparisons
    if not good.all():
        place = _first(~good)
        raise InvalidRequest(
            tensor.field(place),
            f"every cost must be a number from 0 to below {PADDING:g}, or {PADDING:g} where a policy "
            f"lacks the action; got {cost[place]:g} at {_where(place)}",
        )
    padded = cost == _PADDING
    if padded.any():
        _check_padding(tensor, padded)
    return cost


def _check_padding(tensor: Given, padded: NDArray[np.bool_]) -> None:
    """An action that a policy lacks is one that it lacks whatever the true label is."""
    everywhere = padded.all(axis=2, keepdims=True)
    torn = padded & ~everywhere
    if torn.any():
        place = _first(torn)
        raise InvalidRequest(
            tensor.field(place),
            f"{PADDING:g} stands for an action that a policy lacks, and so for all true labels or none; "
            f"got one at {_where(place)}",
        )
    left = (~everywhere).sum(axis=-1)[..., 0]
    if (left < 2).any():
        row, policy = _first(left < 2)
        raise InvalidRequest(
            tensor.field(),
            f"every policy must have at least two actions, got {left[row, policy]} of policy {policy} at "
            f"row {row}",
        )


def _own_coverage(tensor: Given, rows: int) -> NDArray[np.float32]:
    coverage: NDArray[np.float32] = tensor.array  # type: ignore[assignment]
    _check_rows(tensor, rows)
    good = (coverage > 0) & (coverage < 1)  # NaN fails both comparisons
    if not good.all():
        place = _first(~good)
        raise InvalidRequest(
            tensor.field(place),
            f"every coverage must be a number between 0 and 1, got {coverage[place]:g} at row {place[0]}",
        )
    return coverage


def _check_rows(tensor: Given, rows: int) -> None:
    if len(tensor.array) not in (1, rows):
        raise InvalidRequest(
            f"{tensor.shape_field}[0]",
            f"must be 1 or as many as there are rows, {rows}, got {len(tensor.array)}",
        )


def _check_size(cost: NDArray[np.float32], rows: int, field: str) -> None:
    """Refuse what would make the graph hold too much."""
    _, policies, labels, actions = cost.shape
    if max(rows if len(cost) == 1 else rows * labels, labels) * policies * actions > MAX_COSTS:
        each = "" if len(cost) == 1 else "labels × "
        came = f"{rows} × {policies} × {f'{labels} × ' if each else ''}{actions}"
        raise InvalidRequest(
            field,
            f"rows × policies × {each}actions must be at most {MAX_COSTS}, got {came}; "
            "send fewer at a time",
        )


def _first(bad: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(np.argmax(bad), bad.shape))


def _where(place: Sequence[int]) -> str:
    row, policy, label, action = place
    return f"row {row}, policy {policy}, true label {label}, action {action}"
