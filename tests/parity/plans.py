"""Which artifacts there are: every loss, every head, both topologies, and all that calibration adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline import losses
from pipeline.calibration.scaling import Method
from pipeline.config import IntervalKind

KINDS: tuple[IntervalKind, IntervalKind] = ("central", "greedy")


@dataclass(frozen=True)
class Plan:
    """What an artifact is to be made of.

    Attributes:
        name: Of the artifact.
        members: A loss and a head of each network; a method with a head of its own has that.
        data: "table", "image" (uint8) or "float-image".
        ring: Whether the labels lie on one.
        interval: Its kind.
        model: As in the config.
        undone: Whether soft labels and class weights are undone.
        scaling: The method, fitted on validation rows.
    """

    name: str
    members: tuple[tuple[str, Any], ...] = (("cross_entropy", "softmax"),)
    data: str = "table"
    ring: bool = False
    interval: IntervalKind = "central"
    model: Mapping[str, Any] = field(default_factory=dict)
    undone: bool = False
    scaling: Method = "none"


_DROPPING = {"hidden": [8, 6], "dropout": 0.3}
_WEIGHTED = {"class_weight": "balanced"}
_PASSES = {"passes": 4, **_DROPPING}
_CNN = {"backbone": "cnn", "hidden": [3, 4]}
_PROBIT = {"name": "cumulative", "link": "probit"}
_CLOGLOG = {"name": "cumulative", "link": "cloglog"}
_HEADS: tuple[Any, ...] = ("stick_breaking", "binomial", "poisson", "unimodal", _PROBIT, _CLOGLOG)
"""Those that no method brings along."""


def _of_methods(*, ring: bool) -> dict[str, Plan]:
    """Every method, on a ring every one that may be there, on its own head or the softmax."""
    kind = "ring" if ring else "line"
    return {
        method.name: Plan(
            f"{kind}-{method.name}", ((method.name, "softmax"),), "table", ring, KINDS[number % 2]
        )
        for number, method in enumerate(losses.METHODS)
        if method.ring or not ring
    }


_LINE = [
    Plan("temperature", (("brier", _PROBIT),), model={"backbone": "linear"}, scaling="temperature"),
    Plan("weights", (("rps", _CLOGLOG),), model=_WEIGHTED, undone=True),
    Plan("soft", (("triangular", "stick_breaking"),), interval="greedy", undone=True, scaling="vector"),
    Plan("passes", (("rps", "binomial"),), model=_PASSES),
    Plan(
        "several",
        (("corn", "softmax"), ("beta", "poisson"), ("sord", "softmax")),
        undone=True,
        scaling="vector",
    ),
    Plan(
        "several-passes",
        (("rps", "unimodal"), ("exponential", "binomial")),
        interval="greedy",
        model={**_PASSES, **_WEIGHTED},
        undone=True,
        scaling="temperature",
    ),
    Plan("image", (("obd", "softmax"),), data="image", model=_CNN),
    Plan("image-passes", data="image", interval="greedy", model={**_PASSES, **_CNN}),
]
_RING = [
    Plan("ring", (("expected_value", "softmax"),), ring=True),
    Plan(
        "ring-soft",
        (("geometric", "softmax"), ("expected_cost", "softmax"), ("cdw_ce", "softmax")),
        ring=True,
        model=_WEIGHTED,
        undone=True,
    ),
    Plan(
        "ring-passes",
        (("cumulative_cross_entropy", "softmax"), ("distance_penalty", "softmax")),
        ring=True,
        model=_PASSES,
        scaling="temperature",
    ),
    Plan(
        "ring-several",
        (("rps", "softmax"), ("slace", "softmax"), ("brier", "softmax"), ("cross_entropy", "softmax")),
        ring=True,
        interval="greedy",
    ),
    Plan(
        "ring-image",
        (("focal", "softmax"), ("co2", "softmax"), ("weighted_kappa", "softmax")),
        data="float-image",
        ring=True,
        interval="greedy",
        scaling="vector",
    ),
]
_FAMILIES = {method.loss: method for method in losses.METHODS if not method.head}
_ON_LINE = _of_methods(ring=False)
_ALONE = {method.name for method in _FAMILIES.values()} | {one.name for one in losses.METHODS if one.head}
PLANS = [*(plan for name, plan in _ON_LINE.items() if name in _ALONE), *_LINE, *_RING]
"""Each class of losses alone on a line; on a ring too, some of them in one ensemble; each head."""

_ON_HEADS = [
    Plan(f"{method.name}-{number}", ((method.name, head),), interval=KINDS[number % 2])
    for method in _FAMILIES.values()
    for number, head in enumerate(_HEADS)
]
MORE_PLANS = [
    *(plan for name, plan in _ON_LINE.items() if name not in _ALONE),
    *_of_methods(ring=True).values(),
    *_ON_HEADS,
]
"""Every other method alone on a line, each on a ring; each class of losses on each of those heads."""
