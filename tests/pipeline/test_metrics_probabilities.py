"""Scores and calibration of probabilities, and intervals: written out, slow twins, scikit-learn."""

from __future__ import annotations

import math

import metrics_oracle as twins
import numpy as np
import oracle
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss

from pipeline import metrics
from pipeline.topology import Topology

P = np.array([[0.5, 0.25, 0.0, 0.25], [0.0, 0.0, 0.5, 0.5]])
Y = np.array([0, 3])
LINE, RING = Topology.of(range(4)), Topology.of(range(4), period=4)


def _labels(data: st.DataObject, p: NDArray[np.float64]) -> NDArray[np.int64]:
    rows, k = p.shape
    return np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=rows, max_size=rows)))


def test_scores_written_out() -> None:
    """NLL in nats, Brier summed over labels, RPS divided by K − 1."""
    assert metrics.negative_log_likelihood(Y, P) == pytest.approx(math.log(2))
    assert metrics.brier_score(Y, P) == ((0.25 + 0.0625 + 0.0625) + (0.25 + 0.25)) / 2
    # F − 1[y ≤ k] is −½, −¼, −¼ and 0, 0, ½
    rps = metrics.ranked_probability_score(Y, P, LINE)
    assert rps == pytest.approx(((0.25 + 2 * 0.0625) / 3 + 0.25 / 3) / 2)


def test_rps_on_a_ring_written_out() -> None:
    """Over the six arcs 1, 12, 123, 2, 23, 3 of a ring of four, for y = 0 in none of them."""
    chances = [0.25, 0.25, 0.5, 0.0, 0.25, 0.25]
    wanted = sum(chance**2 for chance in chances) / 6
    assert metrics.ranked_probability_score(Y[:1], P[:1], RING) == pytest.approx(wanted)


def test_a_probability_of_zero_is_a_large_finite_loss() -> None:
    """NLL stays finite where float32 rounded the true label's probability to 0."""
    none = metrics.negative_log_likelihood(np.array([1]), np.array([[1.0, 0.0]]))
    assert none == pytest.approx(126 * math.log(2))  # the least normal float32 is 2^−126


@given(strategies.simplex_rows(), st.data())
def test_scores_equal_the_slow_twins_and_scikit_learns(p: NDArray[np.float64], data: st.DataObject) -> None:
    """RPS on line and ring, NLL and log loss, Brier and the multi-class Brier score, also in float32."""
    y = _labels(data, p)
    full, rows = range(p.shape[1]), list(zip(y.tolist(), p.tolist(), strict=True))
    nll, brier = metrics.negative_log_likelihood(y, p), metrics.brier_score(y, p)
    assert nll == pytest.approx(twins.average([oracle.cross_entropy(*row) for row in rows]))
    assert nll == pytest.approx(log_loss(y, p, labels=full))
    assert brier == pytest.approx(twins.average([twins.brier(*row) for row in rows]))
    assert brier == pytest.approx(brier_score_loss(y, p, labels=full, scale_by_half=False))
    for topology in (Topology.of(full), Topology.of(full, period=len(full))):
        ring = topology.kind == "cyclic"
        rps = metrics.ranked_probability_score(y, p, topology)
        assert rps == pytest.approx(
            twins.average([twins.ranked_probability_score(*row, ring=ring) for row in rows])
        )
        assert metrics.ranked_probability_score(y, p.astype(np.float32), topology) == pytest.approx(
            rps, rel=1e-4
        )


@pytest.mark.parametrize(
    ("p", "line", "ring"),
    [
        ([0.1, 0.2, 0.4, 0.3], True, True),
        ([0.4, 0.3, 0.2, 0.1], True, True),  # the peak may be at an end
        ([0.25, 0.25, 0.25, 0.25], True, True),
        ([0.1, 0.4, 0.4, 0.1], True, True),  # and flat
        ([0.4, 0.1, 0.1, 0.4], False, True),  # round the ring the two ends are one peak
        ([0.4, 0.1, 0.4, 0.1], False, False),
        ([0.1, 0.4, 0.1, 0.4], False, False),
        ([0.0, 0.5, 0.0, 0.5], False, False),
        ([0.4, 0.2, 0.2 + 5e-7, 0.2 - 5e-7], True, True),  # a rise that float32 cannot tell
    ],
)
def test_unimodality_by_case(p: list[float], line: bool, ring: bool) -> None:
    """One rise and then one fall, either of which may be missing."""
    assert metrics.unimodality_rate(np.array([p]), LINE) == line
    assert metrics.unimodality_rate(np.array([p]), RING) == ring


@given(strategies.classes.flatmap(lambda k: st.lists(strategies.dyadic_rows(k), min_size=1, max_size=4)))
def test_unimodality_equals_the_slow_twin(rows: list[NDArray[np.float64]]) -> None:
    """The share of rows with a peak, on lines and rings of any K, with ties."""
    p = np.concatenate(rows)
    for period in (None, p.shape[1]):
        wanted = twins.average([float(twins.is_unimodal(q, ring=period is not None)) for q in p.tolist()])
        assert metrics.unimodality_rate(p, Topology.of(range(p.shape[1]), period)) == pytest.approx(wanted)


@given(strategies.simplex_rows())
def test_mean_resultant_length_equals_the_slow_twin(p: NDArray[np.float64]) -> None:
    """|z| of each row, averaged after the modulus."""
    ring = Topology.of(range(p.shape[1]), period=p.shape[1])
    wanted = twins.average([twins.resultant_length(q) for q in p.tolist()])
    assert metrics.mean_resultant_length(p, ring) == pytest.approx(wanted, abs=1e-12)


def test_a_line_has_no_resultant() -> None:
    """The ends of a line do not meet."""
    with pytest.raises(
        ValueError, match="mean_resultant_length is for a cyclic topology, got a linear one"
    ):
        metrics.mean_resultant_length(P, LINE)


def test_ece_written_out() -> None:
    """Rows of one bin are averaged before they are compared, rows of different bins are not."""
    p = np.array([[0.75, 0.25], [0.75, 0.25], [0.0, 1.0], [0.0, 1.0]])
    assert metrics.expected_calibration_error(np.array([0, 1, 1, 1]), p) == 0.25 * 2 / 4
    assert metrics.expected_calibration_error(np.array([0, 0, 0, 1]), p) == (0.25 * 2 + 0.5 * 2) / 4


@pytest.mark.parametrize("edge", range(1, 15))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_probability_on_an_edge_belongs_to_the_outer_bin(dtype: type[np.floating], edge: int) -> None:
    """Each k/15 shares the bin of what is a little farther from ½, whatever rounding makes of it."""
    on, outwards = edge / 15, 0.01 if edge > 7 else -0.01
    pair = np.array([[on + outwards, 1 - on - outwards], [on, 1 - on]], dtype)
    y = np.array([0, 1])  # once it happens and once not: in one bin the gaps take each other away
    (error,) = metrics.threshold_calibration_errors(y, pair, Topology.of(range(2)))
    assert error == pytest.approx(abs(1 - (2 * on + outwards)) / 2, abs=1e-6)


@given(strategies.simplex_rows(most=8), st.data())
def test_calibration_errors_equal_the_slow_twins(p: NDArray[np.float64], data: st.DataObject) -> None:
    """ECE of the mode, of each threshold of a line, and of all arcs of a ring."""
    y = _labels(data, p)
    k, rows = p.shape[1], p.tolist()
    hits = [max(q) == q[i] and q.index(max(q)) == i for i, q in zip(y.tolist(), rows, strict=True)]
    wanted = twins.calibration_error([max(q) for q in rows], hits)
    assert metrics.expected_calibration_error(y, p) == pytest.approx(wanted, abs=1e-9)
    line, ring = Topology.of(range(k)), Topology.of(range(k), period=k)
    thresholds = twins.threshold_calibration_errors(y.tolist(), rows)
    assert metrics.threshold_calibration_errors(y, p, line) == pytest.approx(thresholds, abs=1e-9)
    mean = metrics.mean_threshold_calibration_error(y, p, line)
    assert mean == pytest.approx(twins.average(thresholds), abs=1e-9)
    arcs = metrics.threshold_calibration_errors(y, p, ring).tolist()
    twice = twins.arc_calibration_errors(
        y.tolist(), rows
    )  # an arc and the arc that is left: the same error
    assert sorted([*arcs, *arcs]) == pytest.approx(sorted(twice), abs=1e-9)


def test_intervals_on_a_line_written_out() -> None:
    """Both ends belong to the interval, and the width counts labels."""
    y, lower, upper = np.array([0, 1, 2, 3]), np.array([0, 2, 1, 0]), np.array([0, 3, 2, 3])
    assert metrics.interval_coverage(y, lower, upper, LINE) == 3 / 4  # 1 is not from 2 to 3
    assert metrics.mean_interval_width(lower, upper, LINE) == (1 + 2 + 2 + 4) / 4


def test_intervals_on_a_ring_written_out() -> None:
    """From 3 to 0 are two labels, from 2 to 1 all four."""
    lower, upper = np.array([3, 3, 3, 2]), np.array([0, 0, 0, 1])
    assert metrics.interval_coverage(np.array([0, 1, 3, 0]), lower, upper, RING) == 3 / 4
    assert metrics.mean_interval_width(lower, upper, RING) == (2 + 2 + 2 + 4) / 4


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
@given(strategies.classes, st.data())
def test_intervals_equal_the_slow_twin(dtype: type[np.integer], k: int, data: st.DataObject) -> None:
    """Coverage and width of arcs of any ring, and of the intervals of a line, from indices of any type."""
    index = st.integers(0, k - 1)
    rows = np.array(data.draw(st.lists(st.tuples(index, index, index), min_size=1, max_size=6)))
    for period in (None, k):
        if period is None:
            rows = np.column_stack([rows[:, 0], np.sort(rows[:, 1:], axis=1)])
        arcs = [twins.interval(lower, upper, k) for _, lower, upper in rows.tolist()]
        covered = [float(label in arc) for (label, _, _), arc in zip(rows.tolist(), arcs, strict=True)]
        y, lower, upper = rows.T.astype(dtype)
        topology = Topology.of(range(k), period)
        assert metrics.interval_coverage(y, lower, upper, topology) == pytest.approx(twins.average(covered))
        widths = twins.average([float(len(arc)) for arc in arcs])
        assert metrics.mean_interval_width(lower, upper, topology) == pytest.approx(widths)


def test_an_interval_of_a_line_does_not_wrap() -> None:
    """What is an arc on a ring is a mistake on a line."""
    lower, upper = np.array([0, 3]), np.array([0, 1])
    assert metrics.mean_interval_width(lower, upper, RING) == (1 + 3) / 2
    with pytest.raises(ValueError, match=r"lower must be at most upper on a line, got \(3, 1\) \(row 1\)"):
        metrics.mean_interval_width(lower, upper, LINE)
    with pytest.raises(ValueError, match="upper must be from 0 to 3, got 4"):
        metrics.interval_coverage(np.array([0]), np.array([0]), np.array([4]), LINE)
