"""Labels on a ring, from the config to the decision: a planted task, and what turning the ring changes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from trained import described

from pipeline import costs, ensemble, losses, metrics, train
from pipeline.config import Config
from pipeline.data import load
from pipeline.sweep import planning
from pipeline.topology import Topology

K = 8
RING = Topology.of(range(K), period=K)


def _planted(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Directions seen through noise: two coordinates, and the nearest of 8 labels round the circle."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, rows)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) + random.normal(0, 0.1, (rows, 2))
    noisy = angle + random.vonmises(0, 3, rows)  # what is labelled is not what is seen
    return x.astype(np.float32), np.round(noisy / (2 * np.pi) * K).astype(np.int64) % K


@pytest.mark.parametrize("loss", ["rps", pytest.param("expected_value", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_cyclic_setting_beats_the_linear_one(loss: str, tmp_path: Path) -> None:
    """Same rows, network, loss and seed: with topology = 'cyclic' decisions are nearer round the ring."""
    x, y = _planted(6000, seed=0)
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    errors = {}
    for topology in ("linear", "cyclic"):
        config = Config.model_validate(
            {
                "name": "ring",
                "data": {"source": str(tmp_path / "rows.npz"), "topology": topology},
                "model": {"hidden": [16], "dropout": 0.0},
                "search": {"losses": [loss], "trials": 1, "epochs": 40, "learning_rate": 0.01},
            }
        )
        data = load(config)
        (trial,) = planning.plan(config, data)
        fitted = train.fit(
            data,
            planning.build_loss(trial.loss, config, data),
            trial.head,
            config.model,
            config.search,
            seed=0,
        )
        profiles = costs.profiles(config.decision, data.labels.topology, data.labels.names)
        cost = profiles[config.decision.profile].cost
        rows = data.parts.test
        decision = costs.decide(np.exp(ensemble.answer(fitted.model, data.features[rows])), cost)
        errors[topology] = metrics.mean_absolute_error(data.y[rows], decision, RING)
    assert errors["cyclic"] < 0.95 * errors["linear"], errors


def _trained(y: NDArray[np.int64], topology: Topology, loss: str) -> NDArray[np.float32]:
    """Probabilities of a softmax model without hidden layers that starts at 0 and sees all rows at once."""
    x, _ = _planted(400, seed=1)
    features = np.concatenate([x, x**2, x[:, :1] * x[:, 1:]], axis=1)
    layer = keras.layers.Dense(K, kernel_initializer="zeros", activation="log_softmax")
    model = keras.Sequential([keras.Input((features.shape[1],)), layer])
    model.compile(keras.optimizers.Adam(0.1), loss=losses.build(loss, {}, topology))
    model.fit(features, y, batch_size=len(y), epochs=40, verbose=0)
    return np.asarray(np.exp(model(features)))


@pytest.mark.parametrize(
    "loss",
    [
        "rps",
        "expected_value",
        pytest.param("distance_penalty", marks=pytest.mark.slow),
        pytest.param("cumulative_cross_entropy", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_turning_the_labels_turns_what_is_learned(loss: str) -> None:
    """Trained on labels three further round, the probabilities are three further round as well."""
    _, y = _planted(400, seed=1)
    p, turned = _trained(y, RING, loss), _trained((y + 3) % K, RING, loss)
    np.testing.assert_allclose(np.roll(p, 3, axis=1), turned, atol=2e-3)
    cost = RING.distances()
    before = metrics.mean_absolute_error(y, costs.decide(p, cost), RING)
    after = metrics.mean_absolute_error((y + 3) % K, costs.decide(turned, cost), RING)
    assert after == pytest.approx(before, abs=0.01)


@pytest.mark.slow
def test_turning_the_labels_of_a_line_changes_what_is_learned() -> None:
    """Where the topology is linear it matters between which labels the ring was cut."""
    _, y = _planted(400, seed=1)
    line = Topology.of(range(K))
    p, turned = _trained(y, line, "rps"), _trained((y + 3) % K, line, "rps")
    assert np.abs(np.roll(p, 3, axis=1) - turned).max() > 0.02


def test_the_period_of_the_config_reaches_loss_costs_and_manifest(tmp_path: Path) -> None:
    """Months 1 … 12: December is next to January in the loss, in the profiles and in what is exported."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=random.normal(size=(600, 2)), y=1 + np.arange(600) % 12)
    data_config = {"source": str(tmp_path / "rows.npz"), "topology": "cyclic"}
    config = Config.model_validate(
        {
            "name": "months",
            "data": data_config,
            "search": {"losses": ["expected_value"], "trials": 1},
            "decision": {"profile": "cyclic"},
        }
    )
    data = load(config)
    assert data.labels.topology == Topology.of(range(1, 13), period=12)
    (trial,) = planning.plan(config, data)
    manifest = described(config, data)
    assert (manifest.topology.kind, manifest.topology.period) == ("cyclic", 12)
    assert manifest.profiles["cyclic"].cost[11][:3] == (1, 2, 3)
    assert manifest.profiles["cyclic"].cost == manifest.profiles["absolute"].cost
    loss = planning.build_loss(trial.loss, config, data)
    log_p = np.log(np.eye(12)[[0, 10]] * 0.9 + 1e-3).astype(np.float32)
    beside, other_side = loss.call(np.array([11, 11]), tf.constant(log_p)).numpy()
    assert beside == pytest.approx(other_side, rel=1e-5)


def test_a_ring_reads_as_one(tmp_path: Path) -> None:
    """Where labels are listed for people, those of a ring are not said to be less than each other."""
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).normal(size=(300, 2)), y=np.arange(300) % 3)
    read = {}
    for topology in ("linear", "cyclic"):
        source = {"source": str(tmp_path / "rows.npz"), "topology": topology}
        config = Config.model_validate({"name": "r", "data": source, "search": {"trials": 1}})
        read[topology] = described(config, load(config)).order
    assert read == {"linear": "0 < 1 < 2", "cyclic": "0 → 1 → 2"}
