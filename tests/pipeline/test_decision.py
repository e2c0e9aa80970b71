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
from serving.manifest import PADDING


@given(strategies.simplex_rows(count=4), strategies.label_values(4), st.data())
def test_every_output_equals_the_oracle(
    p: NDArray[np.float64], values: list[float], data: st.DataObject
) -> None:
    """Two policies at once: probabilities, value, costs, decision and margin are the slow twin's."""
    costs = [data.draw(strategies.cost_matrices(4, 3)) for _ in range(2)]
    log_p = tf.constant(np.log(p), tf.float32)
    outputs = decision.decide(log_p, tf.constant(np.array([costs]), tf.float32), values)
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
    outputs = decision.decide(log_p, tf.constant(cost[np.newaxis, np.newaxis], tf.float32), range(4))
    assume((probabilities == p).all())  # softmax rounds most of them
    wanted, margin = oracle.decision(p[0], cost)
    assert (outputs["decision"][0, 0].numpy(), outputs["margin"][0, 0].numpy()) == (wanted, margin)


def test_equal_probabilities_tie_exactly() -> None:
    """Four equal labels under zero-one costs: four equal costs, and the first label is decided."""
    outputs = decision.decide(
        tf.zeros((1, 4)), tf.constant(1 - np.eye(4)[None, None], tf.float32), range(4)
    )
    assert outputs["expected_cost"].numpy().tolist() == [[[0.75] * 4]]
    assert outputs["decision"].numpy().tolist() == [[0]]
    assert outputs["margin"].numpy().tolist() == [[0]]


def test_a_cost_matrix_for_each_row() -> None:
    """With costs `(batch, P, K, A)` each row is decided by its own."""
    log_p = tf.math.log([[0.6, 0.4], [0.6, 0.4]])
    cost = tf.constant([[[[0.0, 1], [1, 0]]], [[[0.0, 1], [9, 0]]]])
    assert decision.decide(log_p, cost, [0, 1])["decision"].numpy().tolist() == [[0], [1]]


def test_padded_actions_are_never_taken() -> None:
    """A policy filled up with the padding decides, and has its margin, among its own actions."""
    cost = np.full((1, 2, 2, 3), PADDING, np.float32)
    cost[0, 0, :, :2] = [[0, 1], [1, 0]]
    cost[0, 1] = [[5, 5, 0], [5, 5, 4]]
    outputs = decision.decide(tf.math.log([[0.25, 0.75]]), tf.constant(cost), [0, 1])
    assert outputs["decision"].numpy().tolist() == [[1, 2]]
    assert outputs["margin"].numpy()[0, 0] == pytest.approx(0.5)
