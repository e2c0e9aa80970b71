"""Where each loss is least: at the true distribution, or as far from it as the catalogue says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from minimiser import find, true_distributions

from pipeline import losses
from pipeline.topology import Topology

LINE = Topology.of(range(5))
ABSOLUTE = LINE.distances()
COSTS = {"absolute": ABSOLUTE, "quadratic": ABSOLUTE**2}

OTHER_PARAMETERS: list[tuple[str, dict[str, Any], float, float]] = [
    ("expected_value", {"lam": 5.0}, 0, 1),
    ("distance_penalty", {"cross_entropy": 0.0}, 0.63, 1),
    ("expected_cost", {"cost": "quadratic", "lam": 1.0}, 0.34, 0.78),
    ("cdw_ce", {"alpha": 5.0}, 0.68, 0.33),
    ("sord", {"alpha": 3.0}, 0.03, 0.92),
    ("sord", {"power": 2.0}, 0.16, 0.73),
    ("slace", {"alpha": 4.0}, 0.002, 0.98),
    ("focal", {"gamma": 0.0}, 0, 1),
    ("coral", {"importance": [1.0, 2.0, 3.0, 4.0]}, 0, 1),
]
"""Figures of the literature for parameters that are not the defaults."""

CASES = [
    # Presets equal another loss, which tests of their own show.
    *(
        (m.name, {}, m.gap, m.kept)
        for m in losses.METHODS
        if m.gap is not None and not m.head and m.name not in ("mce", "oll")
    ),
    *OTHER_PARAMETERS,
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "gap", "kept"),
    CASES,
    ids=[f"{n}-{'-'.join(map(str, g)) or 'default'}" for n, g, _, _ in CASES],
)
def test_the_minimiser_is_as_far_from_the_truth_as_the_catalogue_says(
    name: str, parameters: dict[str, Any], gap: float, kept: float
) -> None:
    """Proper losses are least at the truth within 1e-3, the others at the stated mean total variation."""
    loss = losses.build(name, parameters, LINE, COSTS)
    # Entropy pulls towards each label, so that ho2 has many valleys.
    found = find(loss, true_distributions(), starts=32 if name == "ho2" else 3)
    assert loss.proper == (gap == 0)
    assert found.gap == pytest.approx(gap, abs=0.03 if gap else 1e-3)
    assert found.kept(ABSOLUTE) == pytest.approx(kept, abs=0.05 if gap else 0.02)


def test_the_squared_error_alone_is_proper_but_not_strictly() -> None:
    """Its minimiser has the true mean, and is not the true distribution."""
    q = true_distributions()
    found = find(losses.build("expected_value", {"cross_entropy": 0.0}, LINE), q)
    np.testing.assert_allclose(found.p @ np.arange(5), q @ np.arange(5), atol=1e-5)
    assert found.gap > 0.1


PROPER_ON_A_RING = ("cross_entropy", "brier", "expected_value", "rps", "cumulative_cross_entropy")


@pytest.mark.slow
@pytest.mark.parametrize("classes", [5, 6])
@pytest.mark.parametrize("name", PROPER_ON_A_RING)
def test_scores_over_all_cuts_of_a_ring_are_strictly_proper(name: str, classes: int) -> None:
    """Of an even ring too, where the circular CRPS is blind to some frequencies."""
    loss = losses.build(name, {}, Topology.of(range(classes), period=classes))
    assert loss.proper
    assert find(loss, true_distributions(classes)).gap < 1e-3


def test_what_says_that_it_is_proper_is_in_the_table() -> None:
    """Every method has a gap of 0, a gap, or is scored by the batch."""
    for method in losses.METHODS:
        loss = losses.build(method.name, {}, LINE, COSTS)
        by_batch = not getattr(loss, "per_row", True)
        assert (method.gap is None) == by_batch, method.name
        assert loss.proper == (method.gap == 0), method.name


@pytest.mark.parametrize("name", ["triangular", "beta", "binomial", "geometric"])
def test_the_minimiser_of_soft_labels_is_known(name: str) -> None:
    """It is T'ᵀq, so that the truth comes back by solving for q."""
    q = true_distributions()
    loss = losses.build(name, {"eta": 0.8}, LINE)
    found = find(loss, q)
    matrix = loss.matrix  # type: ignore[attr-defined]
    np.testing.assert_allclose(found.p, q @ matrix, atol=1e-5)
    np.testing.assert_allclose(np.linalg.solve(matrix.T, found.p.T).T, q, atol=1e-3)
