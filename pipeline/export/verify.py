"""The exported file against the Keras model: valid, loadable, and the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnx import numpy_helper

from pipeline.agreement import TOLERANCE, compare
from pipeline.conformal import Conformal
from pipeline.errors import ExportError
from pipeline.export.graph import answering, defaults, topology_of
from pipeline.topology import Topology
from serving.artifact import Answer, Artifact

BATCHES = (1, 3, 257)


def verify(
    path: Path,
    model: keras.Model,
    conformal: Conformal,
    rows: NDArray[np.generic],
    raw: Mapping[str, NDArray[np.generic]] | None = None,
    seed: int = 0,
) -> float:
    """Check an artifact against the network that it was made from; return the largest difference seen.

    The checker must accept it, every weight must be finite, the service's own loader must load it,
    and at batches of 1, 3 and 257 rows every output must equal Keras' within `TOLERANCE`: under the
    default cost and coverage, under two policies of random costs and another coverage, and under a cost
    matrix and a coverage for each row. Decisions and intervals must be equal where they are no ties.

    Args:
        path: The artifact.
        model: `(batch, *shape)` raw rows to `(batch, S, K)` log-probabilities of each pass.
        conformal: What intervals are made by.
        rows: Real rows to draw batches from, as the network takes them.
        raw: The same rows as the artifact takes them; left out, it takes them as the network does.
        seed: Of the draws.

    Raises:
        ExportError: What differs, and by how much.
    """
    _check_file(path)
    artifact = Artifact(path, "cpu")
    inputs = artifact.manifest.inputs
    if raw is None:
        raw = {inputs[0].name: rows}
    topology = topology_of(artifact.manifest)
    answer = answering(model, inputs, topology, conformal)
    default = defaults(artifact.manifest)
    random = np.random.default_rng(seed)
    worst = 0.0
    for batch in BATCHES:
        chosen = random.integers(len(rows), size=batch)
        drawn, asked_about = rows[chosen], {name: array[chosen] for name, array in raw.items()}
        classes = len(artifact.manifest.labels)
        policies = random.uniform(0, 5, (1, 2, classes, 3)).astype(np.float32)
        by_row = random.uniform(0, 5, (batch, 1, classes, 4)).astype(np.float32)
        level, levels = (random.uniform(0.05, 0.99, n).astype(np.float32) for n in (1, batch))
        for cost, coverage in ((None, None), (policies, level), (by_row, levels)):
            exported = artifact.run(asked_about, cost, coverage)
            asked = default["coverage"] if coverage is None else coverage
            outputs = answer(drawn, default["cost"] if cost is None else cost, asked)
            kept = Answer(**{name: tensor.numpy() for name, tensor in outputs.items()})
            worst = max(worst, compare(kept, exported, topology))
            _compare_intervals(kept, exported, topology, conformal, asked)
    return worst


def _compare_intervals(
    expected: Answer,
    actual: Answer,
    topology: Topology,
    conformal: Conformal,
    coverage: NDArray[np.float32],
) -> None:
    """Raise ExportError where intervals differ though no label's score is as near as a tie to τ.

    On a ring, where a label lies opposite the circular mean is another tie, the wider the shorter the
    resultant: the ring may be cut open on either side of it.
    """
    of_labels = conformal.scores(tf.constant(expected.probabilities), topology).numpy()
    threshold = conformal.threshold(tf.constant(coverage)).numpy()[:, np.newaxis]
    clear = (np.abs(of_labels - threshold) > TOLERANCE).all(axis=1)
    if topology.period is not None and expected.resultant is not None:
        opposite = expected.expected_value[:, np.newaxis] + topology.period / 2
        away = np.mod(np.array(topology.values) - opposite, topology.period)
        nearest = np.minimum(away, topology.period - away).min(axis=1) / topology.period
        clear &= nearest * expected.resultant > TOLERANCE
    differing = int(np.sum((expected.interval[clear] != actual.interval[clear]).any(axis=1)))
    if differing:
        raise ExportError(f"interval: {differing} of {clear.sum()} clear intervals differ from Keras'")


def _check_file(path: Path) -> None:
    model = onnx.load(path)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path.name} is not valid ONNX: {error}") from error
    for weight in model.graph.initializer:
        numbers = numpy_helper.to_array(weight)
        if np.issubdtype(numbers.dtype, np.floating) and not np.isfinite(numbers).all():
            raise ExportError(f"{path.name}: weight {weight.name!r} holds a number that is not finite")
