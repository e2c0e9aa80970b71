"""The losses as Keras has them: gradients, XLA, mixed precision, weights, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import heads, losses
from pipeline.topology import Topology

LINE = Topology.of(range(5))
RING = Topology.of(range(5), period=5)
Y = np.array([3, 0])

SPECS: list[tuple[str, dict[str, Any], Topology]] = [
    *((m.name, {}, LINE) for m in losses.METHODS),
    *((m.name, {}, RING) for m in losses.METHODS if m.ring),
    ("expected_value", {"lam": 1.0, "cross_entropy": 0.0}, LINE),
    ("distance_penalty", {"weights": "quadratic", "cross_entropy": 0.0}, LINE),
    ("distance_penalty", {"weights": [0, 1, 5, 6, 9], "cross_entropy": 2.0}, LINE),
    ("focal", {"gamma": 0.5}, LINE),
    ("cdw_ce", {"alpha": 2.0, "margin": 0.1}, LINE),
    ("weighted_kappa", {"log": True, "weights": "linear"}, LINE),
    ("coral", {"importance": [1.0, 2.0, 1.0, 0.5]}, LINE),
]
every_loss = pytest.mark.parametrize(
    ("name", "parameters", "topology"),
    SPECS,
    ids=[f"{n}-{'-'.join(map(str, g)) or 'default'}-{t.kind}" for n, g, t in SPECS],
)


def _build(name: str, parameters: dict[str, Any], topology: Topology) -> keras.losses.Loss:
    return losses.build(name, parameters, topology, {"absolute": topology.distances()})


@every_loss
def test_gradients_equal_finite_differences(
    name: str, parameters: dict[str, Any], topology: Topology
) -> None:
    """Backpropagation through log-softmax agrees with central differences in float64."""
    loss = losses.build(name, parameters, topology, {"absolute": topology.distances()})
    loss = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
    logits = np.random.default_rng(0).normal(size=(2, 5))

    @tf.function  # type: ignore[untyped-decorator]
    def value(z: Any) -> Any:
        return loss(Y, tf.nn.log_softmax(z))

    variable = tf.Variable(logits, dtype=tf.float64)
    with tf.GradientTape() as tape:
        total = value(variable)
    gradient = tape.gradient(total, variable).numpy()
    step = 1e-6
    for row, column in np.ndindex(*logits.shape):
        moved = np.zeros_like(logits)
        moved[row, column] = step
        up, down = (value(tf.constant(logits + sign * moved)) for sign in (1, -1))
        assert gradient[row, column] == pytest.approx((up - down).numpy() / (2 * step), rel=1e-5, abs=1e-7)


@every_loss
def test_loss_and_gradients_are_finite_at_extreme_logits(
    name: str, parameters: dict[str, Any], topology: Topology
) -> None:
    """Logits of ±60, right and wrong by all of it, give finite losses and gradients."""
    loss = _build(name, parameters, topology)
    logits = tf.Variable([[60.0, -60, 0, -60, 60], [-60.0, 60, 60, 60, 60]])
    for y in (Y, np.array([0, 0]), np.array([1, 4])):
        with tf.GradientTape() as tape:
            total = loss(y, tf.nn.log_softmax(logits))
        assert np.isfinite(total.numpy())
        assert np.isfinite(tape.gradient(total, logits).numpy()).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cdw_ce", {"alpha": 5.0}),
        ("oll", {"alpha": 1.5}),
        ("coral", {"importance": [1.0, 2.0, 1e6, 1e12, 1.0, 1.0, 1.0, 1.0, 1.0]}),
        ("distance_penalty", {"weights": "quadratic"}),
        ("rps", {}),
    ],
)
def test_large_weights_do_not_overflow_at_extreme_logits(name: str, parameters: dict[str, Any]) -> None:
    """Ten labels, steep weights, and rows that are certain and wrong: gradients stay finite."""
    line = Topology.of(range(10))
    loss = _build(name, parameters, line)
    logits = tf.Variable(np.where(np.arange(10) == np.array([[9], [0]]), 60, -60).astype(np.float32))
    with tf.GradientTape() as tape:
        total = loss(np.array([0, 9]), tf.nn.log_softmax(logits))
    assert np.isfinite(total.numpy())
    assert np.isfinite(tape.gradient(total, logits).numpy()).all()


@every_loss
def test_a_loss_survives_saving_inside_a_model(
    name: str, parameters: dict[str, Any], topology: Topology, tmp_path: Path
) -> None:
    """A compiled .keras file gives back the same loss with the same parameters."""
    loss = _build(name, parameters, topology)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, activation="log_softmax")])
    model.compile("sgd", loss=loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").loss
    assert type(loaded) is type(loss)
    assert loaded.get_config() == loss.get_config()
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 2))
    np.testing.assert_array_equal(loaded(Y, log_p), loss(Y, log_p))


@pytest.fixture
def mixed_precision() -> Iterator[None]:
    """Layers that compute in float16, for as long as a test takes."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def _rows() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    return x, np.digitize(x[:, 0], [-1, -0.3, 0.3, 1])


# One method of each loss on each head; the others differ in constants alone.
ONE_OF_EACH = list({(method.loss, method.head): method for method in reversed(losses.METHODS)}.values())


UNDER_XLA = [
    *((method, LINE) for method in ONE_OF_EACH),
    *((losses.method(name), RING) for name in ("rps", "expected_value", "co2")),
]


@pytest.mark.slow
@pytest.mark.usefixtures("mixed_precision")
@pytest.mark.parametrize(
    ("method", "topology"), UNDER_XLA, ids=[f"{method.name}-{t.kind}" for method, t in UNDER_XLA]
)
def test_a_method_trains_under_xla_in_mixed_precision_with_weights(
    method: losses.Method, topology: Topology
) -> None:
    """Fit on integer labels, compiled by XLA, float16 inside, with sample weights: the loss falls."""
    keras.utils.set_random_seed(0)
    x, y = _rows()
    rows = keras.Input((3,))
    hidden = keras.layers.Dense(8, activation="relu")(rows)
    model = keras.Model(rows, heads.build(method.head or "softmax", {}, hidden, 5))
    assert model.output.dtype == "float32"
    loss = _build(method.name, {}, topology)
    model.compile(keras.optimizers.Adam(0.05), loss=loss, jit_compile=True, steps_per_execution=4)
    history = model.fit(
        x, y, sample_weight=np.linspace(0.5, 1.5, 64), batch_size=16, epochs=12, verbose=0
    ).history["loss"]
    assert np.isfinite(history).all()
    assert min(history) < history[0] - 0.05 * abs(history[0])


@pytest.mark.parametrize("name", ["expected_value", "rps", "weighted_kappa", "beta"])
def test_class_weights_are_weights_of_rows(name: str) -> None:
    """What Keras makes of `class_weight` is what the same weights of rows give."""
    x, y = _rows()
    class_weight = {0: 2.0, 1: 0.5, 2: 1.0, 3: 0.25, 4: 3.0}
    results = []
    for weights in (
        {"class_weight": class_weight},
        {"sample_weight": np.array([class_weight[label] for label in y])},
    ):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, activation="log_softmax")])
        model.compile("sgd", loss=_build(name, {}, LINE))
        results.append(model.fit(x, y, epochs=2, verbose=0, shuffle=False, **weights).history["loss"])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_sample_weights_weigh_rows() -> None:
    """A row of weight 0 does not count, one of weight 2 counts twice."""
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 2)).astype(np.float32)
    for name in ("expected_value", "rps", "co2"):
        loss = _build(name, {}, LINE)
        rows = loss.call(Y, tf.constant(log_p)).numpy()
        weighted = loss(Y, log_p, sample_weight=np.array([2.0, 0.0])).numpy()
        assert weighted == pytest.approx(2 * rows[0] / 2, rel=1e-6)
    kappa = _build("weighted_kappa", {}, LINE)
    twice = kappa(np.array([3, 0, 0]), np.concatenate([log_p, log_p[1:]])).numpy()
    assert kappa(Y, log_p, sample_weight=np.array([1.0, 2.0])).numpy() == pytest.approx(twice, rel=1e-5)
