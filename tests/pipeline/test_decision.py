"""The decision layer in Keras against the oracle."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import strategies
import tensorflow as tf
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import decision
from pipeline.conformal import Conformal
from pipeline.topology import Topology
from serving.manifest import PADDING

LINE = Topology.of(range(4))
CONFORMAL = Conformal("central", np.linspace(0, 0.9, 10, dtype=np.float32))


def _decide(log_p: tf.Tensor, cost: NDArray[np.floating], topology: Topology) -> decision.Outputs:
    """Decide by a single pass, with intervals of a coverage of ½."""
    coverage = tf.constant([0.5])
    return decision.decide(
        log_p[:, tf.newaxis], tf.constant(cost, tf.float32), coverage, topology, CONFORMAL
    )


@given(strategies.simplex_rows(count=4), strategies.label_values(4), st.data())
def test_every_output_equals_the_oracle(
    p: NDArray[np.float64], values: list[float], data: st.DataObject
) -> None:
    """Two policies at once: probabilities, value, costs, decision and margin are the slow twin's."""
    costs = [data.draw(strategies.cost_matrices(4, 3)) for _ in range(2)]
    log_p = tf.constant(np.log(p), tf.float32)
    outputs = _decide(log_p, np.array([costs]), Topology.of(values))
    np.testing.assert_allclose(outputs["probabilities"], p, atol=1e-6)
    for row, q in enumerate(p):
        assert outputs["expected_value"][row].numpy() == pytest.approx(
            oracle.expected_value(q, values), rel=1e-5
        )
        for policy, cost in enumerate(costs):
            expected = outputs["expected_cost"][row, policy].numpy()
            np.testing.assert_allclose(expected, oracle.expected_costs(q, cost), atol=1e-5)
            wanted, margin = oracle.decision(q, cost)
            assert outputs["margin"][row, policy].numpy() == pytest.approx(margin, abs=1e-5)
            assert margin < 1e-5 or outputs["decision"][row, policy].numpy() == wanted


@settings(suppress_health_check=[HealthCheck.filter_too_much], max_examples=40)
@given(strategies.dyadic_rows(4), strategies.cost_matrices(4, 3, whole=True))
def test_exact_ties_go_to_the_lowest_index(p: NDArray[np.float64], cost: NDArray[np.float64]) -> None:
    """Where float32 adds exactly, equal costs are equal and the first one wins."""
    with np.errstate(divide="ignore"):
        log_p = tf.constant(np.log2(p) * np.log(2), tf.float32)
    probabilities = tf.nn.softmax(log_p).numpy()
    outputs = _decide(log_p, cost[np.newaxis, np.newaxis], LINE)
    assume((probabilities == p).all())  # softmax rounds most of them
    wanted, margin = oracle.decision(p[0], cost)
    assert (outputs["decision"][0, 0].numpy(), outputs["margin"][0, 0].numpy()) == (wanted, margin)


def test_equal_probabilities_tie_exactly() -> None:
    """Four equal labels under zero-one costs: four equal costs, and the first label is decided."""
    outputs = _decide(tf.zeros((1, 4)), 1 - np.eye(4)[None, None], LINE)
    assert outputs["expected_cost"].numpy().tolist() == [[[0.75] * 4]]
    assert outputs["decision"].numpy().tolist() == [[0]]
    assert outputs["margin"].numpy().tolist() == [[0]]


def test_a_cost_matrix_for_each_row() -> None:
    """With costs `(batch, P, K, A)` each row is decided by its own."""
    log_p = tf.math.log([[0.6, 0.4], [0.6, 0.4]])
    cost = np.array([[[[0.0, 1], [1, 0]]], [[[0.0, 1], [9, 0]]]])
    assert _decide(log_p, cost, Topology.of([0, 1]))["decision"].numpy().tolist() == [[0], [1]]


def test_padded_actions_are_never_taken() -> None:
    """A policy filled up with the padding decides, and has its margin, among its own actions."""
    cost = np.full((1, 2, 2, 3), PADDING, np.float32)
    cost[0, 0, :, :2] = [[0, 1], [1, 0]]
    cost[0, 1] = [[5, 5, 0], [5, 5, 4]]
    outputs = _decide(tf.math.log([[0.25, 0.75]]), cost, Topology.of([0, 1]))
    assert outputs["decision"].numpy().tolist() == [[1, 2]]
    assert outputs["margin"].numpy()[0, 0] == pytest.approx(0.5)


def _on_a_ring(p: NDArray[np.float64], ring: Topology) -> decision.Outputs:
    return _decide(tf.constant(np.log(p), tf.float32), ring.distances()[np.newaxis, np.newaxis], ring)


@given(strategies.simplex_rows(), st.floats(0.25, 3), st.data())
def test_the_mean_of_a_ring_equals_the_oracle(
    p: NDArray[np.float64], gap: float, data: st.DataObject
) -> None:
    """The circular mean in label units, from the first value up to one period more, and its length."""
    values = data.draw(strategies.label_values(p.shape[1]))
    ring = Topology.of(values, period=values[-1] - values[0] + gap)
    outputs = _on_a_ring(p, ring)
    for row, q in enumerate(p):
        mean, length = oracle.circular_mean(q, values, ring.period)
        assert outputs["resultant"][row].numpy() == pytest.approx(length, abs=1e-5)
        value = outputs["expected_value"][row].numpy()
        assert values[0] - 1e-5 <= value < values[0] + ring.period + 1e-5
        apart = abs(value - mean) % ring.period
        assert min(apart, ring.period - apart) * length < 1e-4 * ring.period


def test_a_mean_between_the_last_and_the_first_label_is_between_them() -> None:
    """Half 9, half 0: the mean is 9.5; half 12, half 1 of months: 12.5; opposite labels have none."""
    digits = Topology.of(range(10), period=10)
    p = np.full((1, 10), 1e-12)
    p[0, [0, 9]] = 0.5
    assert _on_a_ring(p, digits)["expected_value"].numpy()[0] == pytest.approx(9.5, abs=1e-4)
    months = Topology.of(range(1, 13), period=12)
    p = np.full((2, 12), 1e-12)
    p[0, [0, 11]] = p[1, [0, 6]] = 0.5
    outputs = _on_a_ring(p, months)
    assert outputs["expected_value"].numpy()[0] == pytest.approx(12.5, abs=1e-4)
    np.testing.assert_allclose(outputs["resultant"], [np.cos(np.pi / 12), 0], atol=1e-6)


@pytest.mark.parametrize("classes", [5, 6])
def test_turning_the_ring_turns_value_and_decision(classes: int) -> None:
    """Probabilities two labels further give a mean two further; lengths and margins stay."""
    ring = Topology.of(range(classes), period=classes)
    p = np.random.default_rng(0).dirichlet(np.ones(classes), 50)
    before, after = _on_a_ring(p, ring), _on_a_ring(np.roll(p, 2, axis=1), ring)
    turned = np.mod(after["expected_value"] - before["expected_value"] - 2, classes)
    np.testing.assert_allclose(np.minimum(turned, classes - turned), 0, atol=1e-3)
    np.testing.assert_allclose(after["resultant"], before["resultant"], atol=1e-6)
    np.testing.assert_allclose(after["margin"], before["margin"], atol=1e-6)
    clear = before["margin"].numpy() > 1e-5
    moved = np.mod(after["decision"].numpy() - before["decision"].numpy(), classes)
    assert (moved[clear] == 2).all()
