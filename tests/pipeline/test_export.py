"""The exported file: what it says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from onnx import numpy_helper
from trained import Exported, export_untrained

from pipeline import agreement, heads, metrics, preprocess
from pipeline.config import Config, Model
from pipeline.conformal import Conformal
from pipeline.data import Dataset, load
from pipeline.errors import ExportError
from pipeline.evaluate import evaluate
from pipeline.export import verify
from pipeline.topology import Topology
from serving import seal
from serving.artifact import Answer, Artifact
from serving.errors import ArtifactError
from serving.manifest import KEY


def test_the_file_equals_keras_at_batches_of_1_3_and_257(exported: Exported, data: Dataset) -> None:
    """Every output of the graph is Keras', within 1e-5, whatever the costs and coverages."""
    assert verify.BATCHES == (1, 3, 257)
    assert _verified(exported, data) < verify.TOLERANCE


def _verified(exported: Exported, data: Dataset) -> float:
    return verify.verify(exported.path, exported.model, exported.conformal, data.features)


def test_the_graph_keeps_its_contract(exported: Exported) -> None:
    """Names, types and dynamic dimensions are those of the contract; `cost` and `coverage` are optional."""
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["batch", 8, 8, 1])
    ]
    assert {i.name: (i.type, i.shape) for i in session.get_overridable_initializers()} == {
        "cost": ("tensor(float)", ["cost_rows", "policies", 10, "actions"]),
        "coverage": ("tensor(float)", ["coverage_rows"]),
    }
    assert {o.name: (o.type, o.shape) for o in session.get_outputs()} == {
        "probabilities": ("tensor(float)", ["batch", 10]),
        "expected_value": ("tensor(float)", ["batch"]),
        "expected_cost": ("tensor(float)", ["batch", "policies", "actions"]),
        "decision": ("tensor(int64)", ["batch", "policies"]),
        "margin": ("tensor(float)", ["batch", "policies"]),
        "interval": ("tensor(int64)", ["batch", 2]),
        "uncertainty": ("tensor(float)", ["batch", 2]),
    }


def test_any_onnx_runtime_gives_the_decision(exported: Exported, data: Dataset) -> None:
    """Without our loader, and without costs, the file alone decides by its default profile."""
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    p, decided = session.run(["probabilities", "decision"], {"image": data.features[:50]})
    assert decided[:, 0].tolist() == (np.cumsum(p, axis=1) < 0.5).sum(axis=1).tolist()  # the median


def test_a_row_does_not_depend_on_its_neighbours(exported: Exported, data: Dataset) -> None:
    """Rows answered together and one by one get the same answers."""
    artifact = Artifact(exported.path, "cpu")
    rows = data.features[:20]
    together = artifact.run({"image": rows})
    for i in range(len(rows)):
        alone = artifact.run({"image": rows[i : i + 1]})
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[i], atol=1e-6)


def test_the_manifest_travels_in_the_file(exported: Exported) -> None:
    """What the loader reads is what was written."""
    artifact = Artifact(exported.path, "cpu")
    assert artifact.manifest == exported.manifest
    assert artifact.manifest.best.loss.name == "expected_value"
    assert artifact.manifest.profiles["asymmetric"].cost[0][:3] == (0, 3, 6)
    assert artifact.provider == "CPUExecutionProvider"


def test_another_networks_answers_are_noticed(exported: Exported, data: Dataset) -> None:
    """Verification fails where the file does not say what the model says."""
    other = keras.models.clone_model(exported.model)
    with pytest.raises(ExportError, match="the exported graph differs from Keras by"):
        verify.verify(exported.path, other, exported.conformal, data.features)


def test_another_interval_is_noticed(exported: Exported, data: Dataset) -> None:
    """Verification fails where the file's intervals are not those of the calibration scores."""
    other = Conformal(exported.conformal.kind, exported.conformal.calibration / 2)
    with pytest.raises(ExportError, match=r"interval: \d+ of \d+ clear intervals differ from Keras'"):
        verify.verify(exported.path, exported.model, other, data.features)


def _tampered(exported: Exported, folder: Path, *, reseal: bool, value: float) -> Path:
    """The artifact with one weight changed."""
    model = onnx.load(exported.path)
    weight = next(w for w in model.graph.initializer if w.dims and w.name != "cost" and len(w.dims) == 2)
    numbers = numpy_helper.to_array(weight).copy()
    numbers[0, 0] = value
    weight.CopyFrom(numpy_helper.from_array(numbers, weight.name))
    if reseal:
        onnx.helper.set_model_props(model, {KEY: exported.manifest.to_json(), seal.KEY: seal.BLANK})
    content = model.SerializeToString()
    path = folder / "tampered.onnx"
    path.write_bytes(seal.seal(content) if reseal else content)
    return path


def test_a_changed_weight_breaks_the_seal(exported: Exported, tmp_path: Path) -> None:
    """A file changed after export may not be served."""
    with pytest.raises(ArtifactError, match="does not agree with its seal"):
        Artifact(_tampered(exported, tmp_path, reseal=False, value=0.5), "cpu")


def test_a_weight_that_is_not_finite_is_refused(exported: Exported, data: Dataset, tmp_path: Path) -> None:
    """NaN in a weight is found before anything is registered."""
    path = _tampered(exported, tmp_path, reseal=True, value=float("nan"))
    with pytest.raises(ExportError, match="holds a number that is not finite"):
        verify.verify(path, exported.model, exported.conformal, data.features)


def test_the_seal_needs_its_blank() -> None:
    """A model that was not prepared for it cannot be sealed."""
    with pytest.raises(ValueError, match="no blank 'ordinal_sha256' entry"):
        seal.seal(b"anything")


def test_evaluation_scores_the_file(exported: Exported, data: Dataset) -> None:
    """Metrics on the test part come from the file's own decisions, for each profile."""
    evaluation = evaluate(Artifact(exported.path, "cpu"), data)
    rows, y = data.features[data.parts.test], data.y[data.parts.test]
    log_p = exported.model(rows).numpy()[:, 0]
    decided = (np.cumsum(np.exp(log_p), axis=1) < 0.5).sum(axis=1)
    assert evaluation.metrics["absolute/realised_cost"] == pytest.approx(
        np.abs(y - decided).mean(), abs=0.01
    )
    assert evaluation.metrics["accuracy"] == pytest.approx((log_p.argmax(axis=1) == y).mean(), abs=0.01)
    assert evaluation.confusion.sum() == len(y)
    assert evaluation.metrics["asymmetric/realised_cost"] >= evaluation.metrics["absolute/realised_cost"]


@pytest.mark.parametrize("backbone", ["linear", "cnn"])
def test_every_backbone_exports(backbone: str, config: Config, data: Dataset, tmp_path: Path) -> None:
    """Untrained networks of the other backbones pass the same verification."""
    settings = Model.model_validate({"backbone": backbone, "hidden": [4]})
    exported = export_untrained(config.model_copy(update={"model": settings}), data, tmp_path)
    assert _verified(exported, data) < verify.TOLERANCE


def test_a_table_exports(table: Path, tmp_path: Path) -> None:
    """A table's columns are scaled inside the graph, constant columns included."""
    with np.load(table) as archive:
        x = archive["x"] * np.array([1000, 1, 0], np.float32) + np.array([5, 0, 7], np.float32)
        np.savez(table, x=x, y=archive["y"])
    config = Config.model_validate({"name": "table", "data": {"source": str(table)}})
    data = load(config)
    scaled = preprocess.fit(data)(data.features[data.parts.train]).numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), [0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-3)
    assert _verified(export_untrained(config, data, tmp_path), data) < verify.TOLERANCE


@pytest.mark.parametrize("unit", [1e-3, 100, 1e6])
def test_labels_of_any_size_export(unit: float, table: Path, tmp_path: Path) -> None:
    """Verification measures differences by the size of costs and values, whatever their unit."""
    labels = {"labels": ["0", "1", "2", "3"], "values": [k * unit for k in range(4)]}
    decision = {"profile": "quadratic", "scale": "values"}
    config = Config.model_validate(
        {"name": "table", "data": {"source": str(table), **labels}, "decision": decision}
    )
    data = load(config)
    assert _verified(export_untrained(config, data, tmp_path), data) < verify.TOLERANCE


HEADS = [
    *({"name": name} for name in heads.NAMES),
    *({"name": "cumulative", "link": link} for link in ("probit", "cloglog")),
]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: "-".join(head.values()))
def test_every_head_exports(head: dict[str, str], classes: int, table: Path, tmp_path: Path) -> None:
    """Untrained networks on each head, also for two labels, pass the same verification."""
    with np.load(table) as archive:
        np.savez(table, x=archive["x"], y=np.minimum(archive["y"], classes - 1))
    search = {"heads": [head], "trials": 1}
    config = Config.model_validate({"name": "t", "data": {"source": str(table)}, "search": search})
    data = load(config.model_copy(update={"model": Model(hidden=(4,))}))
    exported = export_untrained(config, data, tmp_path)
    assert _verified(exported, data) < verify.TOLERANCE
    assert Artifact(exported.path, "cpu").manifest.best.head.name == head["name"]


def test_a_ring_exports_its_resultant(table: Path, tmp_path: Path) -> None:
    """Cyclic labels with unequal values: the file says how sure the mean is, and equals Keras."""
    labels = {"labels": ["0", "1", "2", "3"], "values": [0, 90, 180, 300]}
    ring = {"topology": "cyclic", "period": 360}
    config = Config.model_validate({"name": "t", "data": {"source": str(table), **labels, **ring}})
    data = load(config)
    exported = export_untrained(config, data, tmp_path)
    assert _verified(exported, data) < verify.TOLERANCE
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    assert ("resultant", ["batch"]) in [(o.name, o.shape) for o in session.get_outputs()]
    answer = Artifact(exported.path, "cpu").run({"numeric": data.features[:9]})
    length = metrics.mean_resultant_length(answer.probabilities.astype(float), data.labels.topology)
    assert length == pytest.approx(answer.resultant.mean(), abs=1e-6)
    for p, value, length in zip(answer.probabilities, answer.expected_value, answer.resultant, strict=True):
        wanted = oracle.circular_mean(p.tolist(), [0, 90, 180, 300], 360)
        assert (value, length) == (pytest.approx(wanted[0], abs=0.01), pytest.approx(wanted[1], abs=1e-5))


def test_a_difference_along_the_ring_is_measured_by_the_resultant() -> None:
    """359.9 and 0.1 of 360 are near; far apart counts only where there is a direction."""
    ring = Topology.of([0, 90, 180, 270], period=360)

    def answer(value: float, resultant: float) -> Answer:
        one = np.ones((1, 1, 2), np.float32)
        return Answer(
            probabilities=np.full((1, 4), 0.25, np.float32),
            expected_value=np.array([value], np.float32),
            expected_cost=one,
            decision=np.zeros((1, 1), np.int64),
            margin=one[..., 0] * 0,
            interval=np.zeros((1, 2), np.int64),
            uncertainty=np.zeros((1, 2), np.float32),
            resultant=np.array([resultant], np.float32),
        )

    assert agreement.compare(answer(359.999, 1.0), answer(0.001, 1.0), ring) < 1e-5
    assert agreement.compare(answer(90, 1e-7), answer(180, 1e-7), ring) < 1e-5
    with pytest.raises(ExportError, match="expected_value: the exported graph differs"):
        agreement.compare(answer(90, 0.5), answer(91, 0.5), ring)
    with pytest.raises(ExportError, match="resultant: the exported graph differs"):
        agreement.compare(answer(90, 0.5), answer(90, 0.6), ring)
