"""The losses against written-out arithmetic, an independent oracle, and other people's libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import oracle
import pytest
import strategies
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from sklearn.metrics import log_loss

from pipeline import losses
from pipeline.errors import InputError

P = np.array([[0.1, 0.2, 0.2, 0.4, 0.1], [0.7, 0.1, 0.1, 0.05, 0.05]])
LOG_P = np.log(P).astype(np.float32)
Y = np.array([3, 0])
VALUES = np.arange(5.0)

SPECS: list[tuple[str, dict[str, Any]]] = [
    ("cross_entropy", {}),
    ("expected_value", {"lam": 0.3}),
    ("expected_value", {"lam": 1.0, "cross_entropy": 0.0}),
    ("distance_penalty", {}),
    ("distance_penalty", {"weights": "quadratic", "cross_entropy": 0.0}),
    ("distance_penalty", {"weights": [0, 1, 5, 6, 9], "cross_entropy": 2.0}),
]


def _rows(name: str, parameters: dict[str, Any], y: NDArray[Any], log_p: NDArray[Any]) -> NDArray[Any]:
    loss = losses.build(name, parameters, np.arange(float(log_p.shape[1])))
    rows: NDArray[Any] = loss.call(y, tf.constant(log_p)).numpy()
    return rows


def test_cross_entropy_written_out() -> None:
    """−log of the true label's probability."""
    assert _rows("cross_entropy", {}, Y, LOG_P) == pytest.approx([-np.log(0.4), -np.log(0.7)], rel=1e-6)


def test_cross_entropy_is_sparse_categorical_cross_entropy() -> None:
    """The baseline equals Keras' own loss on probabilities, and scikit-learn's."""
    loss = losses.build("cross_entropy", {}, VALUES)(Y, LOG_P).numpy()
    assert loss == pytest.approx(keras.losses.SparseCategoricalCrossentropy()(Y, P).numpy(), rel=1e-6)
    assert loss == pytest.approx(log_loss(Y, P, labels=range(5)), rel=1e-6)


def test_expected_value_written_out() -> None:
    """−log p_y + λ·½(Σ_j v_j p_j − v_y)² with the numbers that the second seed question gives."""
    # expected values: .2 + .4 + 1.2 + .4 = 2.2 and .1 + .2 + .15 + .2 = .65
    wanted = [-np.log(0.4) + 0.3 * 0.5 * 0.8**2, -np.log(0.7) + 0.3 * 0.5 * 0.65**2]
    assert _rows("expected_value", {"lam": 0.3}, Y, LOG_P) == pytest.approx(wanted, rel=1e-5)


def test_linear_distance_penalty_written_out() -> None:
    """Σ_i p_i·|i − y|, alone."""
    wanted = [0.1 * 3 + 0.2 * 2 + 0.2 * 1 + 0.1 * 1, 0.1 * 1 + 0.1 * 2 + 0.05 * 3 + 0.05 * 4]
    assert _rows("distance_penalty", {"cross_entropy": 0.0}, Y, LOG_P) == pytest.approx(wanted, rel=1e-5)


def test_given_weights_written_out() -> None:
    """Σ_i p_i·w(|i − y|) − log p_y with a weight for each distance."""
    w = [0.0, 1.0, 3.0, 10.0, 20.0]
    wanted = [
        0.1 * 10 + 0.2 * 3 + 0.2 * 1 + 0.1 * 1 - np.log(0.4),
        0.1 * 1 + 0.1 * 3 + 0.05 * 10 + 0.05 * 20 - np.log(0.7),
    ]
    assert _rows("distance_penalty", {"weights": w}, Y, LOG_P) == pytest.approx(wanted, rel=1e-5)


@given(strategies.simplex_rows(), st.data())
def test_every_loss_equals_its_oracle(p: NDArray[np.float64], data: st.DataObject) -> None:
    """On any probabilities, labels, values and parameters the loss is what the slow twin says."""
    rows, k = p.shape
    y = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=rows, max_size=rows)))
    values = data.draw(strategies.label_values(k))
    lam, weight = data.draw(st.floats(0.01, 2)), data.draw(st.floats(0, 2))
    by_distance = data.draw(st.lists(st.floats(0, 5), min_size=k, max_size=k))
    log_p = tf.constant(np.log(p), tf.float32)

    def check(name: str, parameters: dict[str, Any], wanted: list[float]) -> None:
        actual = losses.build(name, parameters, np.array(values)).call(y, log_p).numpy()
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)

    check("cross_entropy", {}, [oracle.cross_entropy(i, q) for i, q in zip(y, p, strict=True)])
    check(
        "expected_value",
        {"lam": lam, "cross_entropy": weight},
        [oracle.expected_value_loss(i, q, values, lam, weight) for i, q in zip(y, p, strict=True)],
    )
    for weights, steps in (
        ("linear", list(range(k))),
        ("quadratic", [d * d for d in range(k)]),
        (by_distance, by_distance),
    ):
        check(
            "distance_penalty",
            {"weights": weights, "cross_entropy": weight},
            [oracle.distance_penalty_loss(i, q, steps, weight) for i, q in zip(y, p, strict=True)],
        )


@given(strategies.simplex_rows(most=1), st.data())
def test_the_linear_penalty_is_the_earth_movers_distance(
    p: NDArray[np.float64], data: st.DataObject
) -> None:
    """With w(d) = d it equals SciPy's Wasserstein distance to the one-hot label."""
    k = p.shape[1]
    y = data.draw(st.integers(0, k - 1))
    (actual,) = _rows(
        "distance_penalty", {"cross_entropy": 0.0}, np.array([y]), np.log(p).astype(np.float32)
    )
    wanted = wasserstein_distance(range(k), [y], u_weights=p[0])
    assert actual == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_a_far_mistake_costs_more_than_a_near_one() -> None:
    """For a true 3, mass on 7 costs more than mass on 4, except by cross-entropy, which sees no order."""
    p = np.full((2, 10), 0.01)
    p[:, 3] = 0.11
    p[0, 4] = p[1, 7] = 0.81
    near_far = {
        name: _rows(name, {}, np.array([3, 3]), np.log(p).astype(np.float32))
        for name in ("cross_entropy", "expected_value", "distance_penalty")
    }
    assert near_far["cross_entropy"][0] == pytest.approx(near_far["cross_entropy"][1])
    assert near_far["expected_value"][1] > near_far["expected_value"][0] + 0.3
    assert near_far["distance_penalty"][1] > near_far["distance_penalty"][0] + 2


@pytest.mark.parametrize(("name", "parameters"), SPECS)
def test_gradients_equal_finite_differences(name: str, parameters: dict[str, Any]) -> None:
    """Backpropagation through log-softmax agrees with central differences in float64."""
    loss = losses.build(name, parameters, VALUES)
    logits = np.random.default_rng(0).normal(size=(2, 5))

    def value(z: Any) -> Any:
        return tf.reduce_sum(loss.call(Y, tf.nn.log_softmax(tf.cast(z, tf.float64))))

    variable = tf.Variable(logits, dtype=tf.float64)
    with tf.GradientTape() as tape:
        total = value(variable)
    gradient = tape.gradient(total, variable).numpy()
    step = 1e-6
    for row, column in np.ndindex(*logits.shape):
        moved = np.zeros_like(logits)
        moved[row, column] = step
        difference = (value(logits + moved) - value(logits - moved)).numpy() / (2 * step)
        assert gradient[row, column] == pytest.approx(difference, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("name", "parameters"), SPECS)
def test_gradients_are_finite_at_extreme_logits(name: str, parameters: dict[str, Any]) -> None:
    """Logits of ±60 give finite losses and gradients."""
    loss = losses.build(name, parameters, VALUES)
    logits = tf.Variable([[60.0, -60, 0, -60, 60], [-60.0, 60, 60, 60, 60]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss.call(Y, tf.nn.log_softmax(logits)))
    assert np.isfinite(total.numpy())
    assert np.isfinite(tape.gradient(total, logits).numpy()).all()


@pytest.mark.parametrize(("name", "parameters"), SPECS)
def test_a_loss_survives_saving_inside_a_model(
    name: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    """A compiled .keras file gives back the same loss with the same parameters."""
    loss = losses.build(name, parameters, VALUES)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, activation="log_softmax")])
    model.compile("sgd", loss=loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").loss
    assert type(loaded) is type(loss)
    assert loaded.get_config() == loss.get_config()
    np.testing.assert_array_equal(loaded(Y, LOG_P), loss(Y, LOG_P))


@pytest.mark.parametrize(("name", "parameters"), SPECS)
@pytest.mark.parametrize("jit", [False, True])
def test_a_loss_trains_with_weights_with_and_without_xla(
    name: str, parameters: dict[str, Any], jit: bool
) -> None:
    """Fit lowers the loss on integer labels with sample weights, plain and compiled by XLA."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    y = np.digitize(x[:, 0], [-1, -0.3, 0.3, 1])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, activation="log_softmax")])
    model.compile(keras.optimizers.Adam(0.05), loss=losses.build(name, parameters, VALUES), jit_compile=jit)
    history = model.fit(x, y, sample_weight=np.linspace(0.5, 1.5, 64), epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_sample_weights_weigh_rows() -> None:
    """A row of weight 0 does not count, one of weight 2 counts twice."""
    loss = losses.build("expected_value", {}, VALUES)
    rows = loss.call(Y, tf.constant(LOG_P)).numpy()
    assert loss(Y, LOG_P, sample_weight=np.array([2.0, 0.0])).numpy() == pytest.approx(
        2 * rows[0] / 2, rel=1e-6
    )


def test_which_losses_are_proper() -> None:
    """Cross-entropy is, with any squared error on top; the rest says that it is not."""
    assert losses.build("cross_entropy", {}, VALUES).proper
    assert losses.build("expected_value", {"lam": 5.0}, VALUES).proper
    assert not losses.build("expected_value", {"cross_entropy": 0.0}, VALUES).proper
    assert not losses.build("distance_penalty", {}, VALUES).proper


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "crossentropy",
            {},
            r"no loss is named 'crossentropy'; did you mean 'cross_entropy'\?.*distance_penalty",
        ),
        (
            "expected_value",
            {"lamda": 1},
            r"no parameter 'lamda'; did you mean 'lam'\? \(allowed: lam, cross_entropy\)",
        ),
        ("cross_entropy", {"lam": 1}, r"no parameter 'lam' \(allowed: none\)"),
        ("expected_value", {"lam": -1}, "must be finite, ≥ 0 and not both 0, got -1"),
        ("expected_value", {"lam": "much"}, "expected_value: "),
        ("expected_value", {"lam": float("nan")}, "must be finite"),
        ("distance_penalty", {"cross_entropy": float("inf")}, "must be finite"),
        ("distance_penalty", {"weights": 5}, "'linear', 'quadratic' or a list, got 5"),
        ("distance_penalty", {"weights": "cubic"}, "'linear', 'quadratic' or a list, got 'cubic'"),
        ("distance_penalty", {"weights": [0, 1]}, "must be 5 finite numbers"),
        ("distance_penalty", {"weights": [0, 1, 2, 3, -4]}, "must be 5 finite numbers"),
        ("distance_penalty", {"cross_entropy": -1}, "must be finite and ≥ 0, got -1"),
    ],
)
def test_a_wrong_loss_is_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    """Unknown names and parameters name those allowed, and values out of range say what must hold."""
    with pytest.raises(InputError, match=message):
        losses.build(name, parameters, VALUES)
