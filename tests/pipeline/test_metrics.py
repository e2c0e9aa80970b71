"""Metrics against written-out arithmetic, the oracle and scikit-learn."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from pipeline import metrics


@given(strategies.simplex_rows(), st.data())
def test_probabilistic_metrics_equal_the_oracle(p: NDArray[np.float64], data: st.DataObject) -> None:
    """RPS and NLL are the slow twins' means; NLL is scikit-learn's log loss."""
    rows, k = p.shape
    y = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=rows, max_size=rows)))
    rps = [oracle.ranked_probability_score(i, q) for i, q in zip(y, p, strict=True)]
    assert metrics.ranked_probability_score(y, p) == pytest.approx(np.mean(rps))
    wanted = sklearn_metrics.log_loss(y, p, labels=range(k))
    assert metrics.negative_log_likelihood(y, p) == pytest.approx(wanted)


def test_decision_metrics_equal_scikit_learn() -> None:
    """Accuracy, MAE and the confusion matrix, also where a label never occurs."""
    y, decision = np.array([0, 1, 2, 2, 4]), np.array([0, 2, 2, 1, 2])
    assert metrics.accuracy(y, decision) == sklearn_metrics.accuracy_score(y, decision)
    assert metrics.mean_absolute_error(y, decision) == sklearn_metrics.mean_absolute_error(y, decision)
    wanted = sklearn_metrics.confusion_matrix(y, decision, labels=range(5))
    assert metrics.confusion_matrix(y, decision, 5).tolist() == wanted.tolist()


def test_realised_and_expected_cost_written_out() -> None:
    """One looks at true labels, the other at what the model believes."""
    cost = np.array([[0.0, 3.0], [1.0, 0.0]])
    p, y, decision = np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([1, 1]), np.array([0, 1])
    assert metrics.realised_cost(y, decision, cost) == pytest.approx((1 + 0) / 2)
    assert metrics.expected_cost(p, decision, cost) == pytest.approx((0.2 * 1 + 0.4 * 3) / 2)


def test_a_probability_of_zero_is_a_large_finite_loss() -> None:
    """NLL stays finite where float32 rounded the true label's probability to 0."""
    assert 80 < metrics.negative_log_likelihood(np.array([1]), np.array([[1.0, 0.0]])) < 100


def test_score_decides_under_the_given_cost() -> None:
    """Accuracy is the mode's; cost and MAE are those of the decision under `cost`."""
    p = np.array([[0.4, 0.0, 0.3, 0.3]])
    scores = metrics.score(np.array([2]), p, np.abs(np.subtract.outer(range(4), range(4))).astype(float))
    assert scores["accuracy"] == 0  # the mode is 0
    assert scores["mae"] == scores["realised_cost"] == 0  # the median is 2
