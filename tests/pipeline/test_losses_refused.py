"""Losses that cannot be: each is one sentence that names what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline import losses
from pipeline.errors import InputError
from pipeline.topology import Topology

LINE = Topology.of(range(5))
RING = Topology.of(range(5), period=5)


@pytest.mark.parametrize("name", ["triangular", "beta", "binomial", "poisson"])
def test_soft_labels_with_two_ends_are_refused_on_a_ring(name: str) -> None:
    """A distribution over an interval has no cyclic twin, and the error says which kinds have one."""
    with pytest.raises(InputError, match=r"a ring has none; use exponential or geometric"):
        losses.build(name, {}, RING)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "crossentropy",
            {},
            r"no loss is named 'crossentropy'; did you mean 'cross_entropy'\?.*distance_penalty",
        ),
        (
            "expected_value",
            {"lamda": 1},
            r"no parameter is named 'lamda'; did you mean 'lam'\? \(allowed: lam,",
        ),
        ("cross_entropy", {"lam": 1}, r"no parameter is named 'lam' \(allowed: none\)"),
        ("sord", {"kind": "beta"}, r"no parameter is named 'kind' \(allowed: alpha, power\)"),
        ("expected_value", {"lam": -1}, "must be finite, ≥ 0 and not both 0, got -1"),
        ("expected_value", {"lam": "much"}, "expected_value: lam must be a number, got 'much'"),
        ("sord", {"alpha": "0.5"}, "alpha must be a number, got '0.5'"),
        ("focal", {"gamma": True}, "gamma must be a number, got True"),
        ("co2", {"lam": [1]}, r"lam must be a number, got \[1\]"),
        ("focal", {"gamma": 10**400}, "focal: "),
        ("cdw_ce", {"alpha": 400}, r"alpha 400 makes 4\^alpha larger than 1e\+12"),
        ("distance_penalty", {"weights": ["a", 1, 2, 3, 4]}, "must be 5 finite numbers"),
        ("distance_penalty", {"weights": [[0, 1], 2]}, "must be 5 finite numbers"),
        ("coral", {"importance": "abcd"}, "must be 4 numbers above 0"),
        ("coral", {"importance": 3}, "must be 4 numbers above 0.*got 3"),
        ("expected_value", {"lam": float("nan")}, "must be finite"),
        ("distance_penalty", {"cross_entropy": float("inf")}, "must be finite"),
        ("distance_penalty", {"weights": 5}, "'linear', 'quadratic' or a list, got 5"),
        ("distance_penalty", {"weights": "cubic"}, "'linear', 'quadratic' or a list, got 'cubic'"),
        ("distance_penalty", {"weights": [0, 1]}, "must be 5 finite numbers"),
        ("distance_penalty", {"weights": [0, 1, 2, 3, -4]}, "must be 5 finite numbers"),
        ("distance_penalty", {"cross_entropy": -1}, "must be finite and ≥ 0, got -1"),
        (
            "expected_cost",
            {"cost": "absolut"},
            r"no cost profile is named 'absolut'; did you mean 'absolute'\?",
        ),
        (
            "expected_cost",
            {"cost": [[0, 1], [1, 0]]},
            r"must be 5 × 5, cost\[true label\]\[label\], got shape \(2, 2\)",
        ),
        ("expected_cost", {"cost": [["a"]]}, "must be a matrix of numbers"),
        ("expected_cost", {"cost": (-np.eye(5)).tolist()}, "finite numbers ≥ 0"),
        ("expected_cost", {"lam": -1}, "lam must be finite and ≥ 0"),
        ("cdw_ce", {"alpha": 0}, "alpha must be finite and > 0, got 0"),
        ("cdw_ce", {"margin": 1}, "margin must be at least 0 and below 1, got 1"),
        ("slace", {"alpha": -1}, "alpha must be finite and > 0"),
        ("sord", {"alpha": -1}, "must be finite and > 0"),
        ("triangular", {"alpha": 0.3}, "at most 2/9"),
        ("geometric", {"alpha": 1.5}, "must be below 1"),
        ("exponential", {"eta": 1.5}, "eta must be from 0"),
        ("weighted_kappa", {"weights": "cubic"}, "'linear' or 'quadratic', got 'cubic'"),
        ("weighted_kappa", {"log": 1}, "log must be true or false"),
        ("mce_wk", {"mce": 1}, "mce must be at least 0 and below 1"),
        ("focal", {"gamma": -1}, "gamma must be finite and ≥ 0"),
        ("co2", {"omega": -1}, "lam and omega must be finite"),
        ("coral", {"importance": [1, 2]}, "must be 4 numbers above 0"),
        ("coral", {"importance": [1, 2, 3, 0]}, "must be 4 numbers above 0"),
    ],
)
def test_a_wrong_loss_is_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    """Unknown names and parameters name those allowed, and values out of range say what must hold."""
    with pytest.raises(InputError, match=message):
        losses.build(name, parameters, LINE, {"absolute": LINE.distances()})
