"""Losses by name. Each takes labels `0 … K−1` and log-probabilities, and says whether it is proper."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from numpy.typing import NDArray

from pipeline.errors import InputError, nearest
from pipeline.losses.cross_entropy import CrossEntropy, cross_entropy
from pipeline.losses.distance import DistancePenalty, distance_penalty, distance_weights
from pipeline.losses.expected_value import ExpectedValue, expected_value_error

__all__ = [
    "NAMES",
    "CrossEntropy",
    "DistancePenalty",
    "ExpectedValue",
    "build",
    "cross_entropy",
    "distance_penalty",
    "distance_weights",
    "expected_value_error",
]

NAMES = ("cross_entropy", "expected_value", "distance_penalty")


def build(name: str, parameters: dict[str, Any], values: NDArray[Any]) -> keras.losses.Loss:
    """Return the loss of that name, for labels of these values.

    Raises InputError for an unknown name or parameter, with those allowed, or a value out of range.
    """
    loss: type[keras.losses.Loss]
    match name:
        case "cross_entropy":
            loss, given = CrossEntropy, {}
        case "expected_value":
            loss, given = ExpectedValue, {"values": values.tolist()}
        case "distance_penalty":
            loss, given = DistancePenalty, {"classes": len(values)}
        case _:
            raise InputError(
                f"search.losses: no loss is named {name!r}{nearest(name, NAMES)} "
                f"(allowed: {', '.join(NAMES)})"
            )
    allowed = [p for p in inspect.signature(loss).parameters if p not in {*given, "name", "kwargs"}]
    for parameter in parameters:
        if parameter not in allowed:
            raise InputError(
                f"search.losses: {name} has no parameter {parameter!r}{nearest(parameter, allowed)} "
                f"(allowed: {', '.join(allowed) or 'none'})"
            )
    try:
        return loss(**given, **parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"search.losses: {name}: {error}") from error
