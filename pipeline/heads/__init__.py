"""Heads by name: features become log-probabilities of the labels, in float32 also under mixed precision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

from keras import KerasTensor

from pipeline.errors import InputError, choice
from pipeline.heads.cumulative import Link, Thresholds, coral, cumulative
from pipeline.heads.parametric import binomial, poisson, unimodal
from pipeline.heads.softmax import softmax
from pipeline.heads.stepwise import conditional, stick_breaking
from pipeline.topology import Kind

__all__ = ["NAMES", "Thresholds", "build", "check", "parameters"]

NAMES = (
    "softmax",
    "cumulative",
    "conditional",
    "coral",
    "stick_breaking",
    "binomial",
    "poisson",
    "unimodal",
)
_PLACE = "search.heads"


def build(name: str, given: Mapping[str, Any], features: KerasTensor, classes: int) -> KerasTensor:
    """Return `(batch, K)` log-probabilities made by the head of that name from `(batch, units)` features.

    Raises InputError as `check` does.
    """
    check(name, given, "linear")
    return _head(name)(features, classes, **given)


def check(name: str, given: Mapping[str, Any], topology: Kind, place: str = _PLACE) -> None:
    """Raise InputError for an unknown head or parameter, and for an ordered head on a ring.

    Args:
        name: Of the head.
        given: Its parameters.
        topology: Of the labels.
        place: In the config, for the message.
    """
    allowed = parameters(name)
    for parameter, value in given.items():
        if parameter not in allowed:
            raise choice(f"{place}: {name}", "parameter is named", parameter, allowed)
        if parameter == "link" and value not in get_args(Link):
            raise choice(f"{place}: {name}", "link is named", str(value), get_args(Link))
    if topology == "cyclic" and name != "softmax":
        raise InputError(
            f"{place}: the head {name!r} orders labels from a first to a last one, and on a ring the last "
            "is next to the first (data.topology = 'cyclic'); use the head 'softmax', say with rps"
        )


def parameters(name: str) -> list[str]:
    """Return the names of the parameters that a config may give a head."""
    return [p for p in inspect.signature(_head(name)).parameters if p not in ("features", "classes")]


def _head(name: str) -> Callable[..., KerasTensor]:
    match name:
        case "softmax":
            return softmax
        case "cumulative":
            return cumulative
        case "conditional":
            return conditional
        case "coral":
            return coral
        case "stick_breaking":
            return stick_breaking
        case "binomial":
            return binomial
        case "poisson":
            return poisson
        case "unimodal":
            return unimodal
        case _:
            raise choice(_PLACE, "head is named", name, NAMES)
