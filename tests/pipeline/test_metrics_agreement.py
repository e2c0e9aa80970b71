"""Kappa and correlations: written out, against slow twins, scikit-learn and SciPy."""

from __future__ import annotations

import math

import metrics_oracle as twins
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import cohen_kappa_score

from pipeline import metrics
from pipeline.topology import Topology

FIVE = [None, 5, 6, 9]  # a line of five labels, and rings of five, six and nine
labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


def _topology(period: int | None) -> Topology:
    return Topology.of(range(period or 5), period)


def test_kappa_written_out() -> None:
    """1 − observed / chance: the mean over 4 rows, and over all 16 pairs of a label and a decision."""
    y, decision = np.array([0, 0, 2, 3]), np.array([0, 1, 2, 2])
    # by chance, from 0: 0 1 2 2 twice; from 2: 2 1 0 0; from 3: 3 2 1 1
    linear, quadratic = 10 + 3 + 7, 18 + 5 + 15
    line = Topology.of(range(4))
    assert metrics.weighted_kappa(y, decision, line, "linear") == 1 - (2 / 4) / (linear / 16)
    assert metrics.weighted_kappa(y, decision, line, "quadratic") == 1 - (2 / 4) / (quadratic / 16)


def test_kappa_on_a_ring_written_out() -> None:
    """Round a ring of four, 3 is one step from 0."""
    y, decision = np.array([0, 3]), np.array([3, 3])
    # observed 1, 0; by chance 1, 1, 0, 0
    assert metrics.weighted_kappa(y, decision, Topology.of(range(4), period=4), "linear") == 0
    y, decision = np.array([0, 3, 2]), np.array([3, 3, 2])
    # observed 1, 0, 0; by chance from 0: 1 1 2, from 3: 0 0 1, from 2: 1 1 0
    kappa = metrics.weighted_kappa(y, decision, Topology.of(range(4), period=4), "linear")
    assert kappa == pytest.approx(1 - (1 / 3) / (7 / 9))


@pytest.mark.parametrize(("weights", "power"), [("linear", 1), ("quadratic", 2)])
@pytest.mark.parametrize("period", FIVE)
@given(labels)
def test_kappa_equals_the_slow_twin(
    period: int | None, weights: str, power: int, pairs: list[tuple[int, int]]
) -> None:
    """Over all pairs of a label and a decision, on a line and on rings of even and odd K."""
    topology = _topology(period)
    y, decision = np.array(pairs).T
    wanted = twins.kappa(y.tolist(), decision.tolist(), topology.classes, power, ring=period is not None)
    kappa = metrics.weighted_kappa(y, decision, topology, weights)
    assert kappa == pytest.approx(wanted, nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
@given(labels)
def test_kappa_is_scikit_learns_over_the_full_label_set(weights: str, pairs: list[tuple[int, int]]) -> None:
    """Also where labels do not occur."""
    y, decision = np.array(pairs).T
    assume(len({*y.tolist(), *decision.tolist()}) > 1)
    wanted = cohen_kappa_score(y, decision, labels=range(5), weights=weights)
    assert metrics.weighted_kappa(y, decision, _topology(None), weights) == pytest.approx(wanted, abs=1e-12)


def test_kappa_does_not_close_the_gap_of_a_missing_label() -> None:
    """From 1 to 4 are three steps, though nothing lies between them; scikit-learn alone would say one."""
    y, decision = np.array([0, 1, 4, 4]), np.array([0, 4, 4, 1])
    kappa = metrics.weighted_kappa(y, decision, _topology(None), "quadratic")
    assert kappa == pytest.approx(cohen_kappa_score(y, decision, labels=range(5), weights="quadratic"))
    assert abs(kappa - cohen_kappa_score(y, decision, weights="quadratic")) > 0.1


def test_kappa_of_one_label_alone_is_not_known() -> None:
    """Where chance would never disagree, agreement says nothing: NaN, without a warning."""
    always = np.array([1, 1])
    assert math.isnan(metrics.weighted_kappa(always, always, _topology(None), "linear"))
    assert metrics.weighted_kappa(always, always + 1, _topology(None), "linear") == 0


def test_a_misspelt_weight_is_an_error() -> None:
    """There is no weight by default."""
    with pytest.raises(ValueError, match="weights must be 'linear' or 'quadratic', got 'squared'"):
        metrics.weighted_kappa(np.array([0]), np.array([1]), _topology(None), "squared")


def test_rank_correlations_written_out() -> None:
    """Of six pairs of rows three have the same order in both, two the contrary, and one is tied."""
    y, decision = np.array([0, 1, 2, 3]), np.array([0, 2, 1, 1])
    # decided ranks 1, 4, 2½, 2½; minus their mean: −1½, 1½, 0, 0, against −1½, −½, ½, 1½
    line = Topology.of(range(4))
    assert metrics.spearman(y, decision, line) == pytest.approx((2.25 - 0.75) / math.sqrt(5 * 4.5))
    # pairs: 01 02 03 agree, 12 13 do not, 23 is tied
    assert metrics.kendall_tau_b(y, decision, line) == pytest.approx((3 - 2) / math.sqrt(6 * 5))


@given(labels)
def test_rank_correlations_equal_scipys_and_the_slow_twins(pairs: list[tuple[int, int]]) -> None:
    """Spearman's ρ and Kendall's τ_b with any ties."""
    y, decision = np.array(pairs).T
    rho = metrics.spearman(y, decision, _topology(None))
    tau = metrics.kendall_tau_b(y, decision, _topology(None))
    assert rho == pytest.approx(twins.spearman(y.tolist(), decision.tolist()), nan_ok=True, abs=1e-9)
    assert tau == pytest.approx(twins.kendall(y.tolist(), decision.tolist()), nan_ok=True, abs=1e-9)
    if len(set(y.tolist())) > 1 and len(set(decision.tolist())) > 1:
        assert rho == pytest.approx(spearmanr(y, decision).statistic, abs=1e-9)
        assert tau == pytest.approx(kendalltau(y, decision).statistic, abs=1e-9)


def test_decisions_that_do_not_vary_correlate_with_nothing() -> None:
    """NaN and not 0, without a warning, on a line and on a ring."""
    y, decision = np.array([0, 1, 2]), np.array([1, 1, 1])
    assert math.isnan(metrics.spearman(y, decision, _topology(None)))
    assert math.isnan(metrics.kendall_tau_b(y, decision, _topology(None)))
    assert math.isnan(metrics.circular_correlation(y, decision, _topology(5)))


def test_circular_correlation_written_out() -> None:
    """The sines of a ring of four, from the mean directions of labels and of decisions."""
    ring = Topology.of(range(4), period=4)
    y, decision = np.array([0, 1, 3]), np.array([1, 2, 0])  # all decided one step on
    assert metrics.circular_correlation(y, decision, ring) == pytest.approx(1)
    # labels: the mean direction is 0, the sines are 0, 1 and −1
    # decisions 0, 0, 1: the mean direction is arctan ½, the sines are −1/√5 twice and 2/√5
    wanted = (-1 / math.sqrt(5) - 2 / math.sqrt(5)) / math.sqrt(2 * (1 + 1 + 4) / 5)
    assert metrics.circular_correlation(y, np.array([0, 0, 1]), ring) == pytest.approx(wanted)


@pytest.mark.parametrize("period", [5, 6, 9])
@given(labels)
def test_circular_correlation_equals_the_slow_twin(period: int, pairs: list[tuple[int, int]]) -> None:
    """On rings of even and odd K, NaN where there is no mean direction."""
    y, decision = np.array(pairs).T
    wanted = twins.circular_correlation(y.tolist(), decision.tolist(), period)
    correlation = metrics.circular_correlation(y, decision, _topology(period))
    assert correlation == pytest.approx(wanted, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_labels_all_round_the_ring_have_no_circular_correlation(classes: int) -> None:
    """Without a mean direction there is none, however good the decisions; rounding does not make one up."""
    y = np.arange(classes)
    assert math.isnan(metrics.circular_correlation(y, y, Topology.of(range(classes), period=classes)))


def test_ranks_need_a_line_and_angles_a_ring() -> None:
    """Each correlation is refused where it means nothing."""
    y = np.array([0, 1, 2])
    with pytest.raises(ValueError, match="spearman is for a linear topology, got a cyclic one"):
        metrics.spearman(y, y, _topology(5))
    with pytest.raises(ValueError, match="kendall_tau_b is for a linear topology, got a cyclic one"):
        metrics.kendall_tau_b(y, y, _topology(5))
    with pytest.raises(ValueError, match="circular_correlation is for a cyclic topology, got a linear one"):
        metrics.circular_correlation(y, y, _topology(None))
