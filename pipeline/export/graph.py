"""Network and decision layer become one ONNX graph, with its manifest and seal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from pipeline import decision
from pipeline.conformal import Conformal
from pipeline.export import categories
from pipeline.export.simplify import simplify
from pipeline.topology import Topology
from serving import seal
from serving.manifest import KEY, Input, Manifest

OPSET = 18  # the highest that tf2onnx writes

_DIMENSIONS = {
    "cost": ("cost_rows", "policies", None, "actions"),
    "coverage": ("coverage_rows",),
    "expected_cost": ("batch", "policies", "actions"),
    "decision": ("batch", "policies"),
    "margin": ("batch", "policies"),
}


def answering(
    model: keras.Model, inputs: Sequence[Input], topology: Topology, conformal: Conformal
) -> tf.types.experimental.PolymorphicFunction:
    """Return the function that is exported: `(rows, cost, coverage) → outputs`, see `decision.decide`.

    Rows are what the network takes, `Dataset.features`: where the graph takes texts, their codes.
    """
    first, *others = inputs
    coded = first.name == "categorical" or bool(others)
    shape = [sum(spec.shape[0] for spec in inputs)] if coded else first.shape
    signature = (
        tf.TensorSpec(
            [None, *shape],
            "float32" if coded else first.dtype,
            name=categories.ROWS if coded else first.name,
        ),
        tf.TensorSpec([None, None, topology.classes, None], tf.float32, name="cost"),
        tf.TensorSpec([None], tf.float32, name="coverage"),
    )

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def answer(rows: tf.Tensor, cost: tf.Tensor, coverage: tf.Tensor) -> decision.Outputs:
        return decision.decide(model(rows, training=False), cost, coverage, topology, conformal)

    return answer


def topology_of(manifest: Manifest) -> Topology:
    """Return how a manifest's labels are arranged."""
    return Topology(manifest.values, manifest.topology.period)


def defaults(manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    """Return what the optional inputs are where a caller leaves them out."""
    cost = np.asarray(manifest.profiles[manifest.default_profile].cost, np.float32)
    coverage = np.array([manifest.interval.coverage], np.float32)
    return {"cost": cost[np.newaxis, np.newaxis], "coverage": coverage}


def export(model: keras.Model, conformal: Conformal, manifest: Manifest, path: Path) -> None:
    """Write the artifact of a network that answers calibrated log-probabilities for raw rows.

    The file holds network, calibration, decision layer, the default profile's costs and the default
    coverage as the defaults of the optional inputs `cost` and `coverage`, and the manifest; the digest of
    all that seals it.

    Args:
        model: `(batch, *shape)` raw rows to `(batch, S, K)`, of each pass.
        conformal: What intervals are made by.
        manifest: What the file says of itself.
        path: Where it is written.
    """
    answer = answering(model, manifest.inputs, topology_of(manifest), conformal)
    with _quiet_conversion():
        graph_model, _ = tf2onnx.convert.from_function(
            answer, input_signature=answer.input_signature, opset=OPSET, large_model=False
        )
    graph = graph_model.graph
    graph.name = manifest.name
    simplify(graph)
    _name_dimensions(graph)
    by_name = {spec.name: spec for spec in manifest.inputs}
    if "categorical" in by_name:
        categories.take_texts(graph_model, by_name.get("numeric"), by_name["categorical"])
    # An initializer with the name of an input is that input's default.
    for name, default in defaults(manifest).items():
        graph.initializer.append(numpy_helper.from_array(default, name))
    graph_model.producer_name = "ordinal"
    graph_model.doc_string = f"{manifest.name}: {manifest.order}"
    onnx.helper.set_model_props(graph_model, {KEY: manifest.to_json(), seal.KEY: seal.BLANK})
    path.write_bytes(seal.seal(graph_model.SerializeToString()))


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Name the dynamic dimensions; tf2onnx gives each a number of its own."""
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        names = _DIMENSIONS.get(value.name, ("batch",))
        for dim, name in zip(dims, names, strict=False):
            if name is not None:
                dim.dim_param = name


@contextlib.contextmanager
def _quiet_conversion() -> Iterator[None]:
    """Keep tf2onnx's progress to warnings; what it only warns about, `verify` finds."""
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
