"""Frozen dropout, and networks that answer together."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from trained import Exported, export_untrained

from pipeline import dropout, ensemble
from pipeline.calibration import Distortion, Scaling
from pipeline.config import Config
from pipeline.conformal import Conformal
from pipeline.data import Dataset, load
from pipeline.ensemble import Member
from pipeline.errors import Diverged, InputError
from pipeline.export import graph, verify
from serving.artifact import Artifact
from serving.manifest import rows_needed

ROWS = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)


def _network(rate: float = 0.5, classes: int = 4, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    rows = keras.Input((3,), name="numeric")
    x = keras.layers.Dense(8, activation="relu")(rows)
    x = keras.layers.Dropout(rate)(x)
    x = keras.layers.Dense(6, activation="relu")(x)
    x = keras.layers.Dropout(rate)(x)
    return keras.Model(rows, keras.layers.Dense(classes, activation="log_softmax")(x))


def test_each_pass_is_the_network_with_its_masks() -> None:
    """Written out in NumPy, pass s drops the units of mask s and scales the others by 1/(1 − rate)."""
    network = _network()
    log_p = dropout.freeze(network, 5, seed=3)(ROWS).numpy()
    assert log_p.shape == (9, 5, 4)
    weights = network.get_weights()
    masks = [
        2.0 * (np.random.default_rng([3, place]).random((5, units)) >= 0.5)
        for place, units in enumerate((8, 6))
    ]
    for s in range(5):
        x = np.maximum(ROWS @ weights[0] + weights[1], 0) * masks[0][s]
        x = np.maximum(x @ weights[2] + weights[3], 0) * masks[1][s]
        z = x @ weights[4] + weights[5]
        np.testing.assert_allclose(log_p[:, s], z - np.log(np.exp(z).sum(axis=1, keepdims=True)), atol=1e-5)
    assert np.abs(log_p[:, 0] - log_p[:, 1]).max() > 0.01


def test_a_single_pass_is_the_network_itself() -> None:
    """It drops nothing."""
    network = _network()
    np.testing.assert_allclose(dropout.freeze(network, 1, 0)(ROWS).numpy()[:, 0], network(ROWS), atol=1e-6)


def test_a_row_always_gets_the_same_answer(tmp_path: Path) -> None:
    """Whatever its neighbours are, and after saving and loading."""
    frozen = dropout.freeze(_network(), 4, seed=1)
    together = frozen(ROWS).numpy()
    alone = np.concatenate([frozen(ROWS[i : i + 1]).numpy() for i in range(len(ROWS))])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    frozen.save(tmp_path / "frozen.keras")
    np.testing.assert_allclose(
        keras.saving.load_model(tmp_path / "frozen.keras")(ROWS), together, atol=1e-6
    )


def test_passes_that_drop_nothing_are_refused() -> None:
    """Many passes of a network without dropout would all be the same."""
    with pytest.raises(InputError, match="drops none"):
        dropout.freeze(_network(rate=0.0), 2, 0)


def test_members_answer_side_by_side() -> None:
    """Passes of the first, then of the second; each undone by itself, and all scaled alike."""
    first, second = _network(seed=0), _network(seed=1)
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    scaling = Scaling("vector", np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.0, 0.1, -0.1, 0.0]))
    members = [Member(first, 2, 7), Member(second, undone=Distortion(class_weights=weights))]
    log_p = ensemble.answer(ensemble.assemble(members, scaling), ROWS)
    own = dropout.freeze(first, 2, 7)(ROWS).numpy()
    np.testing.assert_allclose(log_p[:, :2], scaling(own), atol=1e-5)
    undone = np.asarray(members[1].undone.undo(second(ROWS)))
    np.testing.assert_allclose(log_p[:, 2], scaling(undone), atol=1e-5)


def test_many_rows_are_answered_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, as if at once; and an answer that is no number is an error."""
    network = _network()
    monkeypatch.setattr(ensemble, "CHUNK", 2)
    np.testing.assert_allclose(ensemble.answer(network, ROWS), network(ROWS), atol=1e-6)
    network.set_weights([weight * np.nan for weight in network.get_weights()])
    with pytest.raises(Diverged, match="not finite"):
        ensemble.answer(network, ROWS)


@pytest.mark.parametrize("topology", ["linear", "cyclic"])
@pytest.mark.parametrize("kind", ["central", "greedy"])
@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_a_stochastic_model_exports(topology: str, kind: str, backbone: str, tmp_path: Path) -> None:
    """Frozen passes and both kinds of interval, on a line and on a ring, equal Keras in the file."""
    config = Config.model_validate(
        {
            "name": "t",
            "data": {"source": "digits", "topology": topology},
            "model": {"backbone": backbone, "hidden": [4, 4], "passes": 3, "dropout": 0.3},
            "decision": {"interval": kind},
            "search": {"trials": 1},
        }
    )
    data = load(config)
    exported = export_untrained(config, data, tmp_path)
    verify.verify(exported.path, exported.model, exported.conformal, data.features)
    answer = Artifact(exported.path, "cpu").run({"image": data.features[:50]})
    assert (answer.uncertainty[:, 1] > 0).all()
    assert exported.manifest.passes == 3


def test_an_ensemble_with_all_that_is_undone_exports(
    exported: Exported, data: Dataset, tmp_path: Path
) -> None:
    """Members with soft labels and class weights undone, scaled by a vector, are one file like Keras."""
    soft = 0.8 * np.eye(10) + 0.02
    network = exported.model.get_layer("member_0")
    plain = keras.Model(network.inputs[0], network.layers[-2].output)  # before passes have an axis
    undone = Distortion(soft, np.linspace(0.5, 2, 10))
    members = [Member(plain), Member(plain, undone=undone)]
    scaling = Scaling("vector", np.linspace(0.5, 1.5, 10), np.linspace(-0.1, 0.1, 10))
    model = ensemble.assemble(members, scaling)
    intervals = Conformal("central", np.linspace(0, 0.9, 50, dtype=np.float32))
    graph.export(model, intervals, exported.manifest, tmp_path / "several.onnx")
    assert verify.verify(tmp_path / "several.onnx", model, intervals, data.features) < verify.TOLERANCE
    assert rows_needed(0.9) == 9
