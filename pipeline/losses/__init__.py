"""Losses by name. Each takes labels `0 … K−1` and log-probabilities, and says whether it is proper."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, choice
from pipeline.losses.catalogue import METHODS, NAMES, Method
from pipeline.topology import Topology

__all__ = ["METHODS", "NAMES", "Method", "build", "method", "parameters"]

_PLACE = "search.losses"
_GIVEN = ("values", "period")  # by the labels, not by the config


def method(name: str) -> Method:
    """Return the method of that name; raises InputError, with those allowed, where there is none."""
    for known in METHODS:
        if known.name == name:
            return known
    raise choice(_PLACE, "loss is named", name, NAMES)


def parameters(of: Method) -> list[str]:
    """Return the names of the parameters that a config may give a method's loss."""
    signature = inspect.signature(of.loss).parameters
    return [name for name in signature if name not in {*_GIVEN, *of.fixed, "name", "kwargs"}]


def build(
    name: str,
    given: Mapping[str, Any],
    topology: Topology,
    costs: Mapping[str, NDArray[np.float64] | None] | None = None,
    profile: str = "absolute",
) -> keras.losses.Loss:
    """Return the loss of the method of that name, for labels so arranged.

    Args:
        name: Of the method.
        given: Its parameters.
        topology: The labels.
        costs: Cost matrices by the name of their profile, `(K, K)`; `expected_cost` may name one. None
            where the actions are not the labels.
        profile: The one that it takes where it names none.

    Raises InputError for an unknown name or parameter, with those allowed, or a value out of range.
    """
    found = method(name)
    allowed = parameters(found)
    signature = inspect.signature(found.loss).parameters
    for parameter, value in given.items():
        if parameter not in allowed:
            raise choice(f"{_PLACE}: {name}", "parameter is named", parameter, allowed)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if signature[parameter].annotation in ("float", "float | None") and not number:
            raise InputError(f"{_PLACE}: {name}: {parameter} must be a number, got {value!r}")
    arguments = {**found.fixed, **found.defaults, **given}
    if "values" in signature:
        arguments |= topology.get_config()
    if name == "expected_cost":
        arguments["cost"] = _cost(arguments.get("cost", profile), topology.classes, costs or {})
    try:
        return found.loss(name=name, **arguments)
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{_PLACE}: {name}: {error}") from error


def _cost(cost: object, classes: int, costs: Mapping[str, NDArray[np.float64] | None]) -> list[list[float]]:
    if isinstance(cost, str):
        if cost not in costs:
            raise choice(f"{_PLACE}: expected_cost", "cost profile is named", cost, costs)
        if costs[cost] is None:
            allowed = ", ".join(name for name, matrix in costs.items() if matrix is not None)
            raise InputError(
                f"{_PLACE}: expected_cost: it weighs the probability of each label by the cost of deciding "
                f"that label, but the actions of profile {cost!r} are not the labels; "
                f"give it another by its parameter cost (allowed: {allowed}, or a matrix)"
            )
        cost = costs[cost]
    try:
        matrix = np.asarray(cost, dtype=float)
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"{_PLACE}: expected_cost: cost must be a matrix of numbers, got {cost!r}"
        ) from error
    if matrix.shape != (classes, classes):
        raise InputError(
            f"{_PLACE}: expected_cost: cost must be {classes} × {classes}, cost[true label][label], "
            f"got shape {matrix.shape}"
        )
    rows: list[list[float]] = matrix.tolist()
    return rows
