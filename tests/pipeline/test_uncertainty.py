"""Aleatoric and epistemic uncertainty: against a slow twin, on a ring, and off the training rows."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import strategies
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import calibrate, ensemble, train
from pipeline.config import Config
from pipeline.data import Dataset, load
from pipeline.ensemble import Member
from pipeline.sweep import planning
from pipeline.topology import Topology
from pipeline.uncertainty import uncertainty


def _parts(passes: NDArray[np.float64], topology: Topology) -> NDArray[np.float64]:
    """Of `(S, K)` passes of one row: aleatoric, epistemic."""
    return uncertainty(tf.constant(passes[np.newaxis], tf.float32), topology).numpy()[0]


@pytest.mark.parametrize("ring", [False, True], ids=["line", "ring"])
@given(data=st.data())
def test_both_parts_equal_the_oracle_and_add_up(ring: bool, data: st.DataObject) -> None:
    """Neither is negative, and together they are the variance F·(1 − F) of the mean over passes."""
    passes = data.draw(strategies.simplex_rows())
    classes = passes.shape[1]
    topology = Topology.of(range(classes), classes if ring else None)
    aleatoric, epistemic = _parts(passes, topology)
    wanted = oracle.uncertainty(passes.tolist(), ring)
    assert (aleatoric, epistemic) == pytest.approx(wanted, abs=1e-6)
    assert aleatoric >= 0
    assert epistemic >= 0
    mean = passes.mean(axis=0) @ topology.sets()
    assert aleatoric + epistemic == pytest.approx((mean * (1 - mean)).mean(), abs=1e-6)
    assert _parts(passes[:1], topology)[1] == 0


def test_turning_the_labels_of_a_ring_changes_nothing() -> None:
    """On a ring it does not matter where counting starts; on a line it would."""
    passes = np.random.default_rng(0).dirichlet(np.ones(6), (20, 4))
    turned = np.roll(passes, 2, axis=2)
    for topology, same in ((Topology.of(range(6), 6), True), (Topology.of(range(6)), False)):
        before, after = (
            uncertainty(tf.constant(p, tf.float32), topology).numpy() for p in (passes, turned)
        )
        assert np.allclose(before, after, atol=1e-6) == same


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, list[Member]]:
    """Three networks with dropout, which differ by their seed, on rows near 0."""
    path = tmp_path_factory.mktemp("unsure") / "rows.npz"
    random = np.random.default_rng(0)
    x = random.normal(size=(1200, 3)).astype(np.float32)
    np.savez(
        path, x=x, y=np.digitize(x[:, 0] + x[:, 1] * x[:, 2] + random.logistic(0, 0.4, 1200), [-1, 0, 1])
    )
    config = Config.model_validate(
        {
            "name": "t",
            "data": {"source": str(path)},
            "model": {"hidden": [32, 32], "dropout": 0.2},
            "search": {"trials": 3, "epochs": 15, "learning_rate": 0.01},
        }
    )
    data = load(config)
    members = []
    for trial in planning.plan(config, data):
        loss = planning.build_loss(trial.loss, config, data)
        fitted = train.fit(data, loss, trial.head, config.model, config.search, trial.seed)
        members.append(Member(fitted.model, 1, trial.seed))
    return data, members


@pytest.mark.parametrize("how", ["30 passes", "ensemble of 3"])
@pytest.mark.slow
def test_epistemic_uncertainty_is_larger_off_the_training_rows(
    how: str, trained: tuple[Dataset, list[Member]]
) -> None:
    """Networks and passes disagree more about rows five times as far out as any they have seen."""
    data, members = trained
    if how == "30 passes":
        members = [Member(members[0].model, 30, 0)]
    model = calibrate.calibrate(members, data).model
    rows = data.features[data.parts.test]
    epistemic = [
        uncertainty(tf.nn.softmax(ensemble.answer(model, far * rows)), data.labels.topology)
        .numpy()[:, 1]
        .mean()
        for far in (1, 5)
    ]
    assert epistemic[0] > 0
    assert epistemic[1] > 1.3 * epistemic[0], epistemic
