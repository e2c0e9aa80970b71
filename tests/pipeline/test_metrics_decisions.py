"""Errors, recalls and costs of decisions: written out, against slow twins, and against scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable

import metrics_oracle as twins
import numpy as np
import oracle
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from pipeline import metrics
from pipeline.metrics import decisions
from pipeline.topology import Topology

Indices = NDArray[np.int64]

LINE, RING = Topology.of(range(5)), Topology.of(range(5), period=5)
Y = np.array([0, 0, 1, 2, 2, 2, 2, 3, 4, 4])
DECISION = np.array(
    [0, 4, 1, 2, 2, 3, 0, 3, 0, 2]
)  # distances 0 4 0 0 0 1 2 0 4 2, on the ring 0 1 0 0 0 1 2 0 1 2


@st.composite
def labels_and_decisions(draw: st.DrawFn) -> tuple[Topology, Indices, Indices]:
    """K labels on a line or a ring, and rows of two of them."""
    k = draw(strategies.classes)
    topology = Topology.of(range(k), period=draw(st.sampled_from([None, k])))
    pairs = draw(st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=12))
    y, decision = np.array(pairs).T
    return topology, y, decision


def test_errors_on_a_line_written_out() -> None:
    """MAE is over rows, AMAE over labels, MMAE of the worst label, all in steps."""
    assert metrics.mean_absolute_error(Y, DECISION, LINE) == 13 / 10
    by_class = [4 / 2, 0, 3 / 4, 0, 6 / 2]
    assert decisions.absolute_errors_by_class(Y, DECISION, LINE).tolist() == by_class
    assert metrics.average_mean_absolute_error(Y, DECISION, LINE) == pytest.approx(sum(by_class) / 5)
    assert metrics.maximum_mean_absolute_error(Y, DECISION, LINE) == 3
    assert metrics.one_off_accuracy(Y, DECISION, LINE) == 6 / 10


def test_errors_on_a_ring_written_out() -> None:
    """The same rows are nearer round a ring, where the last label is one step from the first."""
    assert metrics.mean_absolute_error(Y, DECISION, RING) == 7 / 10
    by_class = [1 / 2, 0, 3 / 4, 0, 3 / 2]
    assert decisions.absolute_errors_by_class(Y, DECISION, RING).tolist() == by_class
    assert metrics.average_mean_absolute_error(Y, DECISION, RING) == pytest.approx(sum(by_class) / 5)
    assert metrics.maximum_mean_absolute_error(Y, DECISION, RING) == 1.5
    assert metrics.one_off_accuracy(Y, DECISION, RING) == 8 / 10


def test_recalls_written_out() -> None:
    """Minimum sensitivity is the least recall; GMSEC looks at the first and the last label alone."""
    assert decisions.recalls(Y, DECISION, LINE).tolist() == [0.5, 1, 0.5, 1, 0]
    assert metrics.minimum_sensitivity(Y, DECISION, LINE) == 0
    assert metrics.gmsec(Y, DECISION, LINE) == 0
    better = np.where(Y == 4, [0, 0, 0, 0, 0, 0, 0, 0, 4, 2], DECISION)
    assert metrics.minimum_sensitivity(Y, better, LINE) == 0.5
    assert metrics.gmsec(Y, better, LINE) == pytest.approx(math.sqrt(0.5 * 0.5))


def test_steps_are_counted_and_not_the_unit_of_the_values() -> None:
    """Labels 10, 20, 40 are one step apart."""
    assert metrics.mean_absolute_error(np.array([0]), np.array([2]), Topology.of([10, 20, 40])) == 2


@given(labels_and_decisions())
def test_errors_equal_the_slow_twins(drawn: tuple[Topology, Indices, Indices]) -> None:
    """MAE, AMAE, MMAE, one-off accuracy and minimum sensitivity, on lines and rings, of any K."""
    topology, y, decision = drawn
    k, ring = topology.classes, topology.kind == "cyclic"
    errors = twins.errors_by_class(y.tolist(), decision.tolist(), k, ring=ring)
    rows = [twins.distance(i, j, k, ring=ring) for i, j in zip(y.tolist(), decision.tolist(), strict=True)]
    recalls = twins.recalls(y.tolist(), decision.tolist(), k)
    complete = set(y.tolist()) == set(range(k))
    assert decisions.absolute_errors_by_class(y, decision, topology) == pytest.approx(errors, nan_ok=True)
    assert metrics.mean_absolute_error(y, decision, topology) == pytest.approx(twins.average(rows))
    near = twins.average([float(d <= 1) for d in rows])
    assert metrics.one_off_accuracy(y, decision, topology) == pytest.approx(near)
    for function, wanted in [
        (metrics.average_mean_absolute_error, twins.average(errors)),
        (metrics.maximum_mean_absolute_error, max(errors)),
        (metrics.minimum_sensitivity, min(recalls)),
    ]:
        value = function(y, decision, topology)
        assert value == pytest.approx(wanted if complete else math.nan, nan_ok=True)


@given(labels_and_decisions())
def test_counts_equal_scikit_learns(drawn: tuple[Topology, Indices, Indices]) -> None:
    """Confusion matrix, recall, precision, accuracy and MAE, over the full label set."""
    topology, y, decision = drawn
    full = range(topology.classes)
    counts = metrics.confusion_matrix(y, decision, topology.classes)
    assert counts.tolist() == sklearn_metrics.confusion_matrix(y, decision, labels=full).tolist()
    of_each = {"labels": full, "average": None, "zero_division": np.nan}
    recalls = sklearn_metrics.recall_score(y, decision, **of_each)
    assert decisions.recalls(y, decision, topology) == pytest.approx(recalls, nan_ok=True)
    precisions = sklearn_metrics.precision_score(y, decision, **of_each)
    assert decisions.precisions(y, decision, topology) == pytest.approx(precisions, nan_ok=True)
    assert metrics.accuracy(y, decision) == pytest.approx(sklearn_metrics.accuracy_score(y, decision))
    error = sklearn_metrics.mean_absolute_error(y, decision)
    assert metrics.mean_absolute_error(y, decision, Topology.of(full)) == pytest.approx(error)


def test_a_label_that_no_row_has_is_not_left_out_of_means() -> None:
    """Without label 1 the worst label is unknown: NaN, where a mean over what occurs would say 0."""
    y = decision = np.array([0, 2, 2])
    line = Topology.of(range(3))
    assert metrics.mean_absolute_error(y, decision, line) == 0
    assert math.isnan(metrics.average_mean_absolute_error(y, decision, line))
    assert math.isnan(metrics.maximum_mean_absolute_error(y, decision, line))
    assert math.isnan(metrics.minimum_sensitivity(y, decision, line))
    assert metrics.gmsec(y, decision, line) == 1  # both extremes are there
    assert math.isnan(metrics.gmsec(y[:1], decision[:1], line))


def test_costs_written_out() -> None:
    """Realised cost looks at true labels, expected cost at probabilities, regret at the best action."""
    cost = np.array([[0.0, 3.0, 5.0], [4.0, 2.0, 1.0]])  # two labels, three actions
    p, y, action = np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([1, 1]), np.array([0, 1])
    assert metrics.realised_cost(y, action, cost) == (4 + 2) / 2
    assert metrics.expected_cost(p, action, cost) == (0.25 * 4 + (0.5 * 3 + 0.5 * 2)) / 2
    assert metrics.regret(y, action, cost) == ((4 - 1) + (2 - 1)) / 2


@given(st.data())
def test_costs_equal_the_slow_twins(data: st.DataObject) -> None:
    """The three costs of any actions under any matrix; knowing the label leaves no regret."""
    k, actions = data.draw(strategies.classes), data.draw(st.integers(1, 4))
    p = data.draw(strategies.simplex_rows(count=k))
    cost = data.draw(strategies.cost_matrices(k, actions))
    y = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=len(p), max_size=len(p))))
    action = np.array(data.draw(st.lists(st.integers(0, actions - 1), min_size=len(p), max_size=len(p))))
    paid = [cost.tolist()[i][a] for i, a in zip(y, action, strict=True)]
    least = [min(cost.tolist()[i]) for i in y]
    believed = [oracle.expected_costs(q, cost.tolist())[a] for q, a in zip(p.tolist(), action, strict=True)]
    assert metrics.realised_cost(y, action, cost) == pytest.approx(twins.average(paid))
    assert metrics.expected_cost(p, action, cost) == pytest.approx(twins.average(believed))
    regret = twins.average(paid) - twins.average(least)
    assert metrics.regret(y, action, cost) == pytest.approx(regret, abs=1e-12)
    assert metrics.regret(y, np.argmin(cost, axis=1)[y], cost) == 0


@pytest.mark.parametrize(
    "metric",
    [
        lambda y: metrics.confusion_matrix(y, np.zeros(2, int), 3),
        lambda y: metrics.mean_absolute_error(y, np.zeros(2, int), Topology.of(range(3))),
        lambda y: metrics.weighted_kappa(y, np.zeros(2, int), Topology.of(range(3)), "linear"),
        lambda y: metrics.realised_cost(y, np.zeros(2, int), np.eye(3)),
        lambda y: metrics.regret(y, np.zeros(2, int), np.eye(3)),
        lambda y: metrics.negative_log_likelihood(y, np.full((2, 3), 1 / 3)),
        lambda y: metrics.brier_score(y, np.full((2, 3), 1 / 3)),
        lambda y: metrics.ranked_probability_score(y, np.full((2, 3), 1 / 3), Topology.of(range(3))),
        lambda y: metrics.expected_calibration_error(y, np.full((2, 3), 1 / 3)),
        lambda y: metrics.threshold_calibration_errors(y, np.full((2, 3), 1 / 3), Topology.of(range(3))),
        lambda y: metrics.interval_coverage(y, np.zeros(2, int), np.zeros(2, int), Topology.of(range(3))),
    ],
)
@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_index_of_no_label_is_an_error(metric: Callable[[Indices], object], wrong: int) -> None:
    """An index never counts from the end, and the message says where it stands."""
    with pytest.raises(ValueError, match=rf"^y must be from 0 to 2, got {wrong} \(row 1\)$"):
        metric(np.array([0, wrong]))


@pytest.mark.parametrize("wrong", [-1, 2])
def test_an_index_of_no_action_is_an_error(wrong: int) -> None:
    """Of three labels and two actions there is no third action, and no last one by the name of −1."""
    message = rf"^decision must be from 0 to 1, got {wrong} \(row 0\)$"
    cost, decision = np.ones((3, 2)), np.array([wrong])
    with pytest.raises(ValueError, match=message):
        metrics.realised_cost(np.array([2]), decision, cost)
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(np.array([2]), decision, 3, actions=2)
    with pytest.raises(ValueError, match=message):
        metrics.expected_cost(np.array([[0.5, 0.25, 0.25]]), decision, cost)


def test_extremes_need_ends() -> None:
    """A ring has no first and last label, and so no GMSEC."""
    with pytest.raises(ValueError, match="gmsec is for a linear topology, got a cyclic one"):
        metrics.gmsec(Y, DECISION, RING)
