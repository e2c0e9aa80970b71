"""Heads: valid probabilities for any weights, their published forms, and the names in a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from pipeline import heads
from pipeline.errors import InputError
from pipeline.heads import Thresholds, links

SPECS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in heads.NAMES),
    ("cumulative", {"link": "probit"}),
    ("cumulative", {"link": "cloglog"}),
]
every_head = pytest.mark.parametrize(
    ("name", "given_"), SPECS, ids=["-".join([n, *g.values()]) for n, g in SPECS]
)


def _model(name: str, given_: dict[str, Any], classes: int, units: int = 3) -> keras.Model:
    features = keras.Input((units,))
    return keras.Model(features, heads.build(name, given_, features, classes))


def _set(model: keras.Model, *weights: Any) -> None:
    model.set_weights([np.asarray(weight, np.float32) for weight in weights])


EXTREME = st.one_of(st.floats(-3, 3, width=32), st.floats(-1e4, 1e4, width=32))


@every_head
@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_of_any_weights_are_probabilities(
    name: str, given_: dict[str, Any], classes: int
) -> None:
    """Weights up to 1e4, thresholds that meet among them: finite logarithms of numbers that sum to 1."""
    model = _model(name, given_, classes, units=1)
    shapes = [tuple(weight.shape) for weight in model.weights]

    @settings(max_examples=60)
    @given(st.tuples(*(arrays(np.float32, shape, elements=EXTREME) for shape in shapes)))
    def check(weights: tuple[NDArray[Any], ...]) -> None:
        model.set_weights(list(weights))
        log_p = model(np.array([[1.0], [-1.0], [0.0], [0.01]], np.float32)).numpy()
        assert np.isfinite(log_p).all()
        assert (log_p < 1e-5).all()
        # float32 knows a threshold of 1e4 to 1e-3, and its gaps from their own weights exactly.
        largest = max(float(np.abs(weight).max(initial=0)) for weight in weights)
        rounded = 2e-7 * largest if name in ("cumulative", "coral") else 0
        np.testing.assert_allclose(np.exp(log_p.astype(float)).sum(axis=1), 1, atol=1e-5 + 2 * rounded)

    check()


@every_head
def test_gradients_are_finite_for_logits_of_60(name: str, given_: dict[str, Any]) -> None:
    """Scores of ±60, for every true label, give finite gradients of features and weights."""
    model = _model(name, given_, 5, units=1)
    weights = model.get_weights()
    weights[0] = np.full_like(weights[0], 60.0) * np.resize([1, -1], weights[0].shape[1])
    model.set_weights(weights)
    rows = tf.Variable([[1.0], [-1.0], [0.5], [0.0]])
    for label in range(5):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model(rows)[:, label])
        assert np.isfinite(loss)
        gradients = tape.gradient(loss, [rows, *model.trainable_variables])
        assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)


@every_head
def test_a_head_survives_saving(name: str, given_: dict[str, Any], tmp_path: Path) -> None:
    """A .keras file gives back the same log-probabilities."""
    model = _model(name, given_, 4)
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    model.save(tmp_path / "head.keras")
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    np.testing.assert_array_equal(loaded(rows), model(rows))


def test_softmax_written_out() -> None:
    """The logarithm of p is z − log Σ e^z."""
    model = _model("softmax", {}, 3, units=1)
    model.set_weights([np.zeros((1, 3)), np.log([[2.0, 1.0, 1.0]])[0]])
    np.testing.assert_allclose(np.exp(model(np.ones((1, 1)))), [[0.5, 0.25, 0.25]], rtol=1e-6)


DISTRIBUTIONS = {
    "logit": stats.logistic.cdf,
    "probit": stats.norm.cdf,
    "cloglog": lambda x: 1 - np.exp(-np.exp(x)),
}


@pytest.mark.parametrize("link", DISTRIBUTIONS)
def test_cumulative_is_the_distribution_at_the_thresholds(link: str) -> None:
    """P(y ≤ k) = g⁻¹(θ_k − f), with SciPy's distributions and θ from the raw gaps."""
    model = _model("cumulative", {"link": link}, 5, units=1)
    first, gaps = -1.3, np.array([[0.2, -1.0, 0.7]])
    _set(model, [[1.0]], [[first]], gaps)
    f = np.linspace(-4, 4, 33)
    theta = first + np.concatenate([[0], np.cumsum(np.log1p(np.exp(gaps[0])))])
    below = DISTRIBUTIONS[link](theta - f[:, np.newaxis])
    wanted = np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))))
    np.testing.assert_allclose(np.exp(model(f[:, np.newaxis])), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.layers[-1].thresholds()[0], theta, rtol=1e-6)


@pytest.mark.parametrize("link", DISTRIBUTIONS)
def test_thresholds_start_with_all_labels_equally_probable(link: str) -> None:
    """A new cumulative head says 1/K everywhere at score 0."""
    p = np.exp(_model("cumulative", {"link": link}, 6)(np.zeros((1, 3))))
    np.testing.assert_allclose(p, np.full((1, 6), 1 / 6), rtol=1e-5)


@given(st.lists(st.floats(-60, 60), min_size=3, max_size=3), st.floats(-60, 60))
def test_thresholds_are_in_order_whatever_the_weights(gaps: list[float], first: float) -> None:
    """θ never falls, and the middle labels keep a finite logarithm where thresholds meet."""
    layer = Thresholds(5)
    layer.build((None, 1))
    layer.set_weights([np.array([[first]]), np.array([gaps])])
    assert (np.diff(layer.thresholds().numpy()[0]) >= 0).all()
    assert np.isfinite(layer(np.array([[first]], np.float32)).numpy()).all()


def test_the_normal_tail_is_scipys() -> None:
    """Log Φ(x) agrees with SciPy from −40 to 8, where Φ itself has long been 0 in float32."""
    x = np.linspace(-40, 8, 4001)
    np.testing.assert_allclose(
        links.log_normal_cdf(tf.constant(x)).numpy(), stats.norm.logcdf(x), rtol=3e-7, atol=1e-12
    )


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_thresholds_that_all_but_meet_keep_their_probability(link: str) -> None:
    """A gap of 1e-9 has the probability density × gap, where a difference in float32 would be 0."""
    gap, s = 1e-9, 0.3
    raw = tf.constant([[np.log(np.expm1(gap))]], tf.float32)
    log_p = getattr(links, link)(tf.constant([[s, s]], tf.float32), raw).numpy()[0, 1]
    density = {
        "logit": stats.logistic.pdf(s),
        "probit": stats.norm.pdf(s),
        "cloglog": np.exp(s - np.exp(s)),
    }
    assert log_p == pytest.approx(np.log(density[link] * gap), abs=1e-4)


@settings(max_examples=50)
@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_conditional_written_out(z: list[float]) -> None:
    """P(y > k) = Π_{j≤k} σ(z_j), as CORN and CONDOR have it; stick breaking is the same of −z."""
    above = np.concatenate([[1], np.cumprod(expit(z)), [0]])
    model, sticks = _model("conditional", {}, 5, units=1), _model("stick_breaking", {}, 5, units=1)
    model.set_weights([np.array([z]), np.zeros(4)])
    sticks.set_weights([-np.array([z]), np.zeros(4)])
    p = np.exp(model(np.ones((1, 1))))[0]
    np.testing.assert_allclose(p, above[:-1] - above[1:], atol=2e-6)
    np.testing.assert_array_equal(np.exp(sticks(np.ones((1, 1))))[0], p)
    broken = [expit(-z[k]) * np.prod(1 - expit(-np.array(z[:k]))) for k in range(4)]
    np.testing.assert_allclose(p[:-1], broken, atol=2e-6)


def test_binomial_and_poisson_are_scipys() -> None:
    """C(K−1,k) s^k (1−s)^{K−1−k} with s = σ(z); the Poisson one, cut off, with its power 1/τ."""
    z, k = 0.7, np.arange(6)
    model = _model("binomial", {}, 6, units=1)
    _set(model, [[z]], [0.0])
    np.testing.assert_allclose(
        np.exp(model(np.ones((1, 1))))[0], stats.binom.pmf(k, 5, expit(z)), rtol=1e-5
    )
    model = _model("poisson", {}, 6, units=1)
    tau = 0.8
    _set(model, [[z]], [0.0], np.log(np.expm1(tau)))
    weight = stats.poisson.pmf(k, np.log1p(np.exp(z))) ** (1 / tau)
    np.testing.assert_allclose(np.exp(model(np.ones((1, 1))))[0], weight / weight.sum(), rtol=1e-4)


@pytest.mark.parametrize("name", ["binomial", "poisson", "unimodal"])
def test_probabilities_have_one_peak(name: str) -> None:
    """They rise up to some label and fall after it, for any weights."""
    model = _model(name, {}, 7)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 2, w.shape) for w in model.get_weights()])
    log_p = model(random.normal(size=(200, 3)).astype(np.float32)).numpy()
    for row in log_p:
        steps = np.diff(row)
        peak = int(np.argmax(row))
        assert (steps[:peak] >= -1e-4).all()
        assert (steps[peak:] <= 1e-4).all()


def test_coral_is_the_cumulative_logit() -> None:
    """P(y > k) = σ(w·h + b_k) with b_k = −θ_k, falling."""
    model = _model("coral", {}, 4)
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    w, b = model.get_weights()[0], -model.layers[-1].thresholds().numpy()
    assert (np.diff(b) < 0).all()
    above = 1 - np.cumsum(np.exp(model(rows)), axis=1)[:, :-1]
    np.testing.assert_allclose(above, expit(rows @ w + b), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "given_", "message"),
    [
        ("sofmax", {}, r"no head is named 'sofmax'; did you mean 'softmax'\? \(allowed: softmax, cumul"),
        ("softmax", {"link": "logit"}, r"no parameter is named 'link' \(allowed: none\)"),
        ("cumulative", {"lnk": "logit"}, r"no parameter is named 'lnk'; did you mean 'link'\?"),
        ("cumulative", {"link": "logot"}, r"no link is named 'logot'; did you mean 'logit'\?"),
    ],
)
def test_a_wrong_head_is_refused(name: str, given_: dict[str, Any], message: str) -> None:
    """Unknown names, parameters and links name those allowed."""
    with pytest.raises(InputError, match=message):
        heads.check(name, given_, "linear")


def test_ordered_heads_are_refused_on_a_ring() -> None:
    """Every head but softmax says why it cannot be, and what can."""
    heads.check("softmax", {}, "cyclic")
    for name in heads.NAMES[1:]:
        with pytest.raises(
            InputError, match=f"'{name}' orders labels from a first to a last.*use the head 'softmax'"
        ):
            heads.check(name, {}, "cyclic")
