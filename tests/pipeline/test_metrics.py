"""All metrics of a part at once: which there are, of which decision, by label, by slice, round a ring."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from pipeline import metrics
from pipeline.costs import cost_matrix
from pipeline.topology import Topology

ON_BOTH = {
    *("realised_cost", "expected_cost", "regret", "accuracy", "one_off_accuracy", "mae", "amae", "mmae"),
    *("minimum_sensitivity", "qwk", "linear_kappa", "rps", "nll", "brier", "ece", "threshold_ece"),
    "unimodality",
}
ON_A_LINE = {"spearman", "kendall", "gmsec", "calibration_slope", "calibration_intercept"}
ON_A_RING = {"circular_correlation", "mean_resultant_length"}

LINE, RING = Topology.of(range(4)), Topology.of(range(4), period=4)
P = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.25, 0.5], [0.25, 0.5, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]])
Y = np.array([0, 1, 1, 3])


@pytest.mark.parametrize(("topology", "own"), [(LINE, ON_A_LINE), (RING, ON_A_RING)])
@pytest.mark.parametrize("rows", [4, 1, 0])
def test_the_names_depend_on_the_topology_alone(topology: Topology, own: set[str], rows: int) -> None:
    """Without rows all is NaN, under the same names and without a warning."""
    scores = metrics.score(Y[:rows], P[:rows], topology.distances(), topology)
    assert set(scores) == ON_BOTH | own
    assert all(isinstance(value, float) for value in scores.values())
    assert rows or all(math.isnan(value) for value in scores.values())


def test_each_score_is_the_metric_of_that_name() -> None:
    """Cost is the action's, accuracy and ECE the mode's, the rest the decided label's: here the action."""
    cost = 1 + cost_matrix("asymmetric", LINE.offsets(), under=1, over=4)  # 1 where right
    mode, label = np.array([0, 3, 1, 2]), np.array([0, 1, 0, 2])  # the fifth quantile, the lowest of a tie
    y, scores = Y, metrics.score(Y, P, cost, LINE)
    assert scores == pytest.approx(
        {
            "realised_cost": (1 + 1 + 2 + 2) / 4,
            "expected_cost": 1 + ((0.25 + 0.5) + (0.25 + 2 * 0.5) + (0.5 + 2 * 0.25) + 0) / 4,
            "regret": 2 / 4,
            "accuracy": metrics.accuracy(y, mode),
            "one_off_accuracy": 1,
            "mae": 2 / 4,
            "amae": math.nan,  # no row has label 2
            "mmae": math.nan,
            "minimum_sensitivity": math.nan,
            "gmsec": math.sqrt(1 * 0),
            "calibration_slope": metrics.calibration_line(y, P, LINE)[0],
            "calibration_intercept": metrics.calibration_line(y, P, LINE)[1],
            "qwk": metrics.weighted_kappa(y, label, LINE, "quadratic"),
            "linear_kappa": metrics.weighted_kappa(y, label, LINE, "linear"),
            "spearman": metrics.spearman(y, label, LINE),
            "kendall": metrics.kendall_tau_b(y, label, LINE),
            "rps": metrics.ranked_probability_score(y, P, LINE),
            "nll": metrics.negative_log_likelihood(y, P),
            "brier": metrics.brier_score(y, P),
            "ece": metrics.expected_calibration_error(y, P),
            "threshold_ece": metrics.mean_threshold_calibration_error(y, P, LINE),
            "unimodality": 1,
        },
        nan_ok=True,
    )


def test_a_ring_scores_angles() -> None:
    """The two scores that only a ring has are those of the decided labels and of the probabilities."""
    y, p = Y[:3], P[:3]
    scores = metrics.score(y, p, 1 - np.eye(4), RING)
    decided = np.array([0, 3, 1])  # under zero-one costs
    assert scores["circular_correlation"] == metrics.circular_correlation(y, decided, RING)
    assert scores["mean_resultant_length"] == metrics.mean_resultant_length(p, RING)
    assert scores["mae"] == pytest.approx((0 + 2 + 0) / 3)


def test_accuracy_is_of_the_mode_and_mae_of_the_decision() -> None:
    """Under absolute costs the decision is the median."""
    p = np.array([[0.4, 0.0, 0.3, 0.3]])
    scores = metrics.score(np.array([2]), p, LINE.distances(), LINE)
    assert scores["accuracy"] == 0  # the mode is 0
    assert scores["mae"] == scores["realised_cost"] == 0  # the median is 2


def test_actions_that_are_not_labels_are_not_compared_with_labels() -> None:
    """Where pages and queues are decided, label metrics are those of the median, also when K = A."""
    p, y, line = np.array([[0.25, 0.125, 0.625]]), np.array([2]), Topology.of(range(3))
    cost = np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 4.0], [0.0, 4.0, 8.0]])  # page, queue, ignore
    scores = metrics.score(y, p, cost, line, own_actions=True)
    assert scores["expected_cost"] == 0.25 * 2 + 0.125 * 1  # pages
    assert scores["realised_cost"] == 0
    assert scores["mae"] == 0  # and says severity 2
    assert metrics.score(y, p, cost, line)["mae"] == 2  # taken for a label, page is severity 0
    assert metrics.score(y, p, cost[:, :2], line)["mae"] == 0  # two actions cannot be three labels
    (*_, last) = metrics.by_class(y, p, cost, line, own_actions=True)
    assert (last["decided"], last["recall"], last["realised_cost"]) == (1, 1, 0)
    slices = metrics.by_slice(np.array(["a"]), y, p, cost, line, own_actions=True)
    assert slices == {"a": pytest.approx({"rows": 1, **scores}, nan_ok=True)}


def test_by_class_written_out() -> None:
    """Every label has its line, whether it occurs, is decided, or neither."""
    cost = 2 * (1 - np.eye(4)) + np.eye(4)  # 1 where right, 2 where wrong
    classes = metrics.by_class(Y, P, cost, LINE)  # decided 0, 3, 1, 2
    wanted = {
        "support": [1, 2, 0, 1],
        "decided": [1, 1, 1, 1],
        "recall": [1, 0.5, math.nan, 0],
        "precision": [1, 1, 0, 0],
        "mae": [0, (2 + 0) / 2, math.nan, 1],
        "realised_cost": [1, 1.5, math.nan, 2],
        "regret": [0, 0.5, math.nan, 1],
        "probability": [0.5, (0.25 + 0.5) / 2, math.nan, 0],
        "mean_probability": [0.75 / 4, 1 / 4, 1.75 / 4, 0.5 / 4],
    }
    assert {name: [one[name] for one in classes] for name in classes[0]} == {
        name: pytest.approx(values, nan_ok=True) for name, values in wanted.items()
    }


def test_slices_are_scored_over_the_full_label_set() -> None:
    """A label that a slice lacks makes NaN of AMAE, and does not draw the others together in kappa."""
    groups, y = np.array([2, 1, 2, 2, 1, 2]), np.array([0, 1, 1, 3, 2, 3])
    p = np.eye(4)[[0, 1, 3, 3, 3, 1]]
    slices = metrics.by_slice(groups, y, p, LINE.distances(), LINE)
    assert list(slices) == [1, 2]
    assert [slices[1]["rows"], slices[2]["rows"]] == [2, 4]
    assert [slices[1]["mae"], slices[2]["mae"]] == [(0 + 1) / 2, (0 + 2 + 0 + 2) / 4]
    assert math.isnan(slices[2]["amae"])
    for of_slice, rows in ((slices[1], groups == 1), (slices[2], groups == 2)):
        assert of_slice == pytest.approx(
            {"rows": rows.sum(), **metrics.score(y[rows], p[rows], LINE.distances(), LINE)}, nan_ok=True
        )
    kappa = cohen_kappa_score([0, 1, 3, 3], [0, 3, 3, 1], labels=range(4), weights="linear")
    assert slices[2]["linear_kappa"] == pytest.approx(kappa)


def test_slices_need_a_group_for_each_row() -> None:
    """A group too few is an error that says how many rows there are."""
    with pytest.raises(ValueError, match=r"one value for each of 4 rows, got shape \(3,\)"):
        metrics.by_slice(np.array([1, 2, 3]), Y, P, LINE.distances(), LINE)


@st.composite
def rings(draw: st.DrawFn, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels `(rows,)` and probabilities `(rows, K)` with a clear mode and clear best decisions."""
    rows = draw(st.integers(1, 8))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    weight = st.integers(0, 1000)
    weights = draw(
        st.lists(st.lists(weight, min_size=classes, max_size=classes), min_size=rows, max_size=rows)
    )
    assume(all(sum(row) for row in weights))
    return np.array(y), np.array(weights) / np.sum(weights, axis=1, keepdims=True)


def _is_clear(costs: NDArray[np.float64]) -> bool:
    """Whether each row has one least cost: a tie goes to the lowest index, which turns."""
    least, next_least = np.sort(costs, axis=1).T[:2]
    return bool(np.all(next_least - least > 1e-9))


@pytest.mark.parametrize("classes", [3, 4, 7, 8])
@settings(max_examples=50)
@given(st.data())
def test_turning_the_ring_changes_nothing(classes: int, data: st.DataObject) -> None:
    """Every score and every label's line, when labels, probabilities and decisions are turned together."""
    ring = Topology.of(range(classes), period=classes)
    y, p = data.draw(rings(classes))
    turn = data.draw(st.integers(1, classes - 1))
    cost = cost_matrix("asymmetric", ring.offsets(), under=2, over=3)
    assume(_is_clear(p @ cost) and _is_clear(-p))
    turned_y, turned_p = (y + turn) % classes, np.roll(p, turn, axis=1)
    before = metrics.score(y, p, cost, ring)
    after = metrics.score(turned_y, turned_p, cost, ring)
    assert after == pytest.approx(before, nan_ok=True, abs=1e-9)
    lines, turned = metrics.by_class(y, p, cost, ring), metrics.by_class(turned_y, turned_p, cost, ring)
    for k, line in enumerate(lines):
        assert turned[(k + turn) % classes] == pytest.approx(line, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("classes", [5, 6])
@given(st.data())
def test_turning_the_ring_changes_no_interval(classes: int, data: st.DataObject) -> None:
    """Coverage and width of arcs, which wrap after some turns and not after others."""
    ring = Topology.of(range(classes), period=classes)
    index = st.integers(0, classes - 1)
    y, lower, upper = np.array(
        data.draw(st.lists(st.tuples(index, index, index), min_size=1, max_size=6))
    ).T
    turn = data.draw(index)
    turned = [(labels + turn) % classes for labels in (y, lower, upper)]
    assert metrics.interval_coverage(*turned, ring) == metrics.interval_coverage(y, lower, upper, ring)
    assert metrics.mean_interval_width(*turned[1:], ring) == metrics.mean_interval_width(lower, upper, ring)


@pytest.mark.parametrize("name", ["mae", "qwk", "linear_kappa", "rps", "threshold_ece", "unimodality"])
def test_a_line_is_not_a_ring(name: str) -> None:
    """The cyclic twin is another number: rows near the ends are near each other only round a ring."""
    y, p = np.array([0, 3, 1]), np.array([[0.375, 0.0, 0.0, 0.625], [0.625, 0.0, 0.0, 0.375], [0, 1, 0, 0]])
    zero_one = 1 - np.eye(4)
    on_line, on_ring = metrics.score(y, p, zero_one, LINE)[name], metrics.score(y, p, zero_one, RING)[name]
    assert abs(on_line - on_ring) > 0.05
