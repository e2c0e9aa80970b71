"""Soft labels: valid distributions with their mode on the truth, and their published figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta as beta_distribution
from scipy.stats import binom, poisson

from pipeline.losses import soft_labels
from pipeline.topology import Topology

KINDS = ("triangular", "beta", "binomial", "poisson", "exponential", "geometric")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 5, 10, 30])
def test_every_row_is_a_distribution_that_peaks_at_its_label(kind: str, classes: int) -> None:
    """Rows sum to 1, nothing is negative, and nothing is more probable than the true label itself."""
    soft = soft_labels.matrix(kind, Topology.of(range(classes)))  # type: ignore[arg-type]
    assert soft.shape == (classes, classes)
    assert (soft >= 0).all()
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-12)
    assert (np.diag(soft) >= soft.max(axis=1) - 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_probability_never_rises_with_distance(kind: str) -> None:
    """On both sides of the truth it falls or stays."""
    soft = soft_labels.matrix(kind, Topology.of(range(8)))  # type: ignore[arg-type]
    for label in range(8):
        assert (np.diff(soft[label, : label + 1]) >= -1e-12).all()
        assert (np.diff(soft[label, label:]) <= 1e-12).all()


def test_published_figures() -> None:
    """The tables of dlordinal 2.7: triangular's first row, beta for 5 labels, exponential, geometric."""
    line = Topology.of(range(5))
    np.testing.assert_allclose(soft_labels.triangular(5, 0.01)[0, :2], [0.98845494, 0.01154505], atol=1e-7)
    np.testing.assert_allclose(
        soft_labels.beta(5)[[0, 1, 2], [0, 1, 2]], [0.83222783, 0.67401521, 0.67271311], atol=1e-6
    )
    np.testing.assert_allclose(soft_labels.binomial(5)[0], [0.6561, 0.2916, 0.0486, 0.0036, 0.0001])
    np.testing.assert_allclose(soft_labels.exponential(line)[0, 0], 1 / np.exp(-np.arange(5.0)).sum())
    np.testing.assert_allclose(
        soft_labels.geometric(line)[2], [0.1 / 22, 0.1 / 2.2, 0.9, 0.1 / 2.2, 0.1 / 22]
    )


def test_distributions_are_scipys() -> None:
    """Beta over equal intervals, binomial and Poisson weights come out as SciPy's own."""
    k = np.arange(6)
    np.testing.assert_allclose(soft_labels.binomial(6)[2], binom.pmf(k, 5, 5 / 12))
    weight = poisson.pmf(k, 3)
    np.testing.assert_allclose(soft_labels.poisson(6)[2], weight / weight.sum())
    mean, deviation = 5 / 12, 1 / 12
    concentration = mean * (1 - mean) / deviation**2 - 1
    inside = beta_distribution.cdf(np.linspace(0, 1, 7), mean * concentration, (1 - mean) * concentration)
    np.testing.assert_allclose(soft_labels.beta(6)[2], np.diff(inside))


def test_some_can_be_undone_and_some_cannot() -> None:
    """Condition numbers: binomial for 5 labels 26, Poisson for 10 six million."""
    assert np.linalg.cond(soft_labels.binomial(5)) == pytest.approx(26, abs=0.5)
    assert np.linalg.cond(soft_labels.poisson(10)) == pytest.approx(6e6, rel=0.02)
    assert np.linalg.cond(soft_labels.triangular(10)) < 2


def test_on_a_ring_distance_goes_the_shorter_way() -> None:
    """Exponential and geometric soft labels of a ring are the same for every label, turned."""
    ring = Topology.of(range(7), period=7)
    for soft in (soft_labels.exponential(ring), soft_labels.geometric(ring)):
        assert soft[0, 6] == pytest.approx(soft[0, 1])
        for label in range(7):
            np.testing.assert_allclose(np.roll(soft[0], label), soft[label])


def test_a_parameter_that_a_kind_does_not_have_is_refused() -> None:
    """An alpha for beta, a power for geometric and an unknown kind are each one sentence."""
    line = Topology.of(range(5))
    with pytest.raises(ValueError, match="beta soft labels have no alpha, got 2"):
        soft_labels.matrix("beta", line, alpha=2.0)
    with pytest.raises(ValueError, match="only exponential soft labels have a power"):
        soft_labels.matrix("geometric", line, power=2.0)
    with pytest.raises(ValueError, match=r"kind must be one of .*; did you mean 'poisson'\?"):
        soft_labels.matrix("poison", line)  # type: ignore[arg-type]
