"""Artifacts to measure the service with, made without TensorFlow: an MLP 20 → 64 → 64 → 5 that decides.

They have the whole contract of an exported artifact, so that the service loads them as any other. They can
be made large, for the weight that a reload reads, or slow, for the time that a run takes.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving import manifest as schema
from serving import seal
from serving.artifact import open_session

FEATURES, HIDDEN, CLASSES = 20, 64, 5
OPSET = 18
COVERAGE = 0.9
SQUARE = 64
_TRIAL_LOOPS, _TRIALS = 400, 5
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


def make_model(
    path: Path, *, name: str = "bench", seed: int = 0, megabytes: float = 0.0, milliseconds: float = 0.0
) -> Path:
    """Write a sealed artifact and return its path.

    Args:
        path: Where it is written.
        name: Of the model; versions of one model have the same.
        seed: Of its weights: another one answers otherwise.
        megabytes: Of further weights, which each run reads a little of.
        milliseconds: That a run of any number of rows takes longer by, on one core of this machine.
    """
    loops = 0
    if milliseconds > 0:
        _write(path, name, seed, 0, _TRIAL_LOOPS)
        loops = max(1, round(milliseconds / 1e3 / _seconds_of_a_loop(path)))
    return _write(path, name, seed, megabytes, loops)


def rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Return `(count, FEATURES)` rows as the models take them."""
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def _write(path: Path, name: str, seed: int, megabytes: float, loops: int) -> Path:
    graph = _graph(name, np.random.default_rng(seed), megabytes, loops)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, {schema.KEY: _manifest(name).to_json(), seal.KEY: seal.BLANK})
    path.write_bytes(seal.seal(model.SerializeToString()))
    return path


def _seconds_of_a_loop(path: Path) -> float:
    """Return what one loop takes: the quickest of some runs, since other work only ever slows them."""
    session, feed = open_session(path, "cpu"), {"numeric": rows(1)}
    session.run(None, feed)
    took = []
    for _ in range(_TRIALS):
        started = time.perf_counter()
        session.run(None, feed)
        took.append(time.perf_counter() - started)
    return min(took) / _TRIAL_LOOPS


def _manifest(name: str) -> schema.Manifest:
    return schema.Manifest(
        name=name,
        labels=tuple(f"grade {label}" for label in range(CLASSES)),
        values=tuple(float(label) for label in range(CLASSES)),
        inputs=(
            schema.Input(
                name="numeric",
                dtype="float32",
                shape=(FEATURES,),
                features=tuple(f"x{feature:02}" for feature in range(FEATURES)),
                ranges=((-3, 3),) * FEATURES,
            ),
        ),
        profiles={
            "absolute": schema.Profile(
                actions=tuple(f"grade {label}" for label in range(CLASSES)), cost=_absolute().tolist()
            )
        },
        default_profile="absolute",
        members=(
            schema.Member(
                loss=schema.TrainedWith(name="cross_entropy"),
                head=schema.TrainedWith(name="softmax"),
                proper=True,
                run_id="0" * 32,
            ),
        ),
        interval=schema.Interval(coverage=COVERAGE, rows=99),
        provenance=schema.Provenance(
            data_fingerprint="0" * 64, git_commit="unknown", versions={}, created=datetime.now(UTC)
        ),
    )


def _absolute() -> NDArray[np.float32]:
    """Return `cost[true, action]`, the steps between them."""
    return np.abs(np.subtract.outer(np.arange(CLASSES), np.arange(CLASSES))).astype(np.float32)


def _graph(name: str, random: np.random.Generator, megabytes: float, loops: int) -> onnx.GraphProto:
    constants: dict[str, NDArray[np.generic]] = {
        "values": np.arange(CLASSES, dtype=np.float32)[:, np.newaxis],
        "axis1": np.array([1]),
        "last": np.array([2]),
        "fold": np.array([0, CLASSES, -1]),
        "policies_actions": np.array([1, 3]),
        "any": np.array([-1]),
        "two": np.array([2]),
        "up_to": np.triu(np.ones((CLASSES, CLASSES), np.float32)),
        "half": np.array(0.5, np.float32),
        "one": np.array(1, np.float32),
        "highest": np.array([CLASSES - 1]),
    }
    nodes = [*_network(random, constants)]
    before = "score"
    if megabytes > 0:
        nodes += _weight(before, "score_large", megabytes, random, constants)
        before = "score_large"
    if loops > 0:
        nodes += _wait(before, "score_slow", loops, random, constants)
        before = "score_slow"
    nodes += [helper.make_node("Softmax", [before], ["probabilities"], axis=1), *_decision()]
    return helper.make_graph(
        nodes,
        name,
        [
            helper.make_tensor_value_info("numeric", _FLOAT, ["batch", FEATURES]),
            helper.make_tensor_value_info("cost", _FLOAT, ["cost_rows", "policies", CLASSES, "actions"]),
            helper.make_tensor_value_info("coverage", _FLOAT, ["coverage_rows"]),
        ],
        [
            helper.make_tensor_value_info("probabilities", _FLOAT, ["batch", CLASSES]),
            helper.make_tensor_value_info("expected_value", _FLOAT, ["batch"]),
            helper.make_tensor_value_info("expected_cost", _FLOAT, ["batch", "policies", "actions"]),
            helper.make_tensor_value_info("decision", _INT, ["batch", "policies"]),
            helper.make_tensor_value_info("margin", _FLOAT, ["batch", "policies"]),
            helper.make_tensor_value_info("interval", _INT, ["batch", 2]),
            helper.make_tensor_value_info("uncertainty", _FLOAT, ["batch", 2]),
        ],
        [
            *(numpy_helper.from_array(value, key) for key, value in constants.items()),
            # An initializer with the name of an input is that input's default.
            numpy_helper.from_array(_absolute()[np.newaxis, np.newaxis], "cost"),
            numpy_helper.from_array(np.array([COVERAGE], np.float32), "coverage"),
        ],
    )


def _network(
    random: np.random.Generator, constants: dict[str, NDArray[np.generic]]
) -> list[onnx.NodeProto]:
    """Return the layers, from `numeric` to `score`."""
    nodes, source = [], "numeric"
    sizes = (FEATURES, HIDDEN, HIDDEN, CLASSES)
    for layer, (inputs, units) in enumerate(pairwise(sizes)):
        weight = random.normal(0, (2 / inputs) ** 0.5, (inputs, units))
        constants |= {
            f"weight{layer}": weight.astype(np.float32),
            f"bias{layer}": random.normal(0, 0.1, units).astype(np.float32),
        }
        result = "score" if units == CLASSES else f"layer{layer}"
        nodes.append(helper.make_node("Gemm", [source, f"weight{layer}", f"bias{layer}"], [result]))
        if units != CLASSES:
            nodes.append(helper.make_node("Relu", [result], [f"active{layer}"]))
            source = f"active{layer}"
    return nodes


def _weight(
    source: str,
    result: str,
    megabytes: float,
    random: np.random.Generator,
    constants: dict[str, NDArray[np.generic]],
) -> list[onnx.NodeProto]:
    """Return nodes that look up a row of a large table, which the rows choose, and add nought times it."""
    table = random.normal(size=(max(2, round(megabytes * 1e6 / 4 / CLASSES)), CLASSES))
    constants |= {
        "table": table.astype(np.float32),
        "lowest_index": np.array(0, np.float32),
        "highest_index": np.array(len(table) - 1, np.float32),
        "nought": np.array(0, np.float32),
    }
    return [
        helper.make_node("ReduceMax", ["numeric"], ["largest"], keepdims=0),
        helper.make_node("Clip", ["largest", "lowest_index", "highest_index"], ["which"]),
        helper.make_node("Cast", ["which"], ["index"], to=_INT),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Mul", ["found", "nought"], ["nothing"]),
        helper.make_node("Add", [source, "nothing"], [result]),
    ]


def _wait(
    source: str,
    result: str,
    loops: int,
    random: np.random.Generator,
    constants: dict[str, NDArray[np.generic]],
) -> list[onnx.NodeProto]:
    """Return nodes that rotate a matrix as often as asked, and add nought times it."""
    rotation, _ = np.linalg.qr(random.normal(size=(SQUARE, SQUARE)))
    constants |= {
        "rotation": rotation.astype(np.float32),
        "start": np.eye(SQUARE, dtype=np.float32),
        "loops": np.array(loops),
        "go": np.array(True),
        "zero": np.array(0, np.float32),
    }
    square = [SQUARE, SQUARE]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("MatMul", ["state_in", "rotation"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", _INT, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_in", _FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", _FLOAT, square),
        ],
    )
    return [
        # Rows take part, else the whole loop would be one constant to the runtime.
        helper.make_node("ReduceMax", [source], ["any_score"], keepdims=0),
        helper.make_node("Mul", ["any_score", "zero"], ["no_score"]),
        helper.make_node("Add", ["start", "no_score"], ["state"]),
        helper.make_node("Loop", ["loops", "go", "state"], ["turned"], body=body),
        helper.make_node("ReduceMax", ["turned"], ["any_turned"], keepdims=0),
        helper.make_node("Mul", ["any_turned", "zero"], ["no_turned"]),
        helper.make_node("Add", [source, "no_turned"], [result]),
    ]


def _decision() -> list[onnx.NodeProto]:
    """Return the nodes from `probabilities` to all other outputs.

    Intervals leave out (1 − coverage) / 2 on each side, whatever rows with known labels would say.
    """
    border = [
        node
        for name, level in (("first", "tail"), ("final", "other_tail"))
        for node in (
            helper.make_node("Less", ["below", level], [f"{name}_before"]),
            helper.make_node("Cast", [f"{name}_before"], [f"{name}_each"], to=_INT),
            helper.make_node("ReduceSum", [f"{name}_each", "axis1"], [f"{name}_count"], keepdims=1),
            helper.make_node("Min", [f"{name}_count", "highest"], [f"{name}_label"]),
        )
    ]
    return [
        helper.make_node("MatMul", ["probabilities", "values"], ["value"]),
        helper.make_node("Squeeze", ["value", "axis1"], ["expected_value"]),
        helper.make_node("Transpose", ["cost"], ["by_label"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["by_label", "fold"], ["folded"]),
        helper.make_node("Unsqueeze", ["probabilities", "axis1"], ["row"]),
        helper.make_node("MatMul", ["row", "folded"], ["flat_cost"]),
        helper.make_node("Shape", ["cost"], ["cost_shape"]),
        helper.make_node("Gather", ["cost_shape", "policies_actions"], ["counts"]),
        helper.make_node("Concat", ["any", "counts"], ["unfold"], axis=0),
        helper.make_node("Reshape", ["flat_cost", "unfold"], ["expected_cost"]),
        helper.make_node("ArgMin", ["expected_cost"], ["decision"], axis=2, keepdims=0),
        helper.make_node("TopK", ["expected_cost", "two"], ["lowest", "_"], axis=2, largest=0),
        helper.make_node("Split", ["lowest"], ["least", "second"], axis=2, num_outputs=2),
        helper.make_node("Sub", ["second", "least"], ["gap"]),
        helper.make_node("Squeeze", ["gap", "last"], ["margin"]),
        helper.make_node("MatMul", ["probabilities", "up_to"], ["below"]),
        helper.make_node("Unsqueeze", ["coverage", "axis1"], ["level"]),
        helper.make_node("Sub", ["one", "level"], ["outside"]),
        helper.make_node("Mul", ["outside", "half"], ["tail"]),
        helper.make_node("Sub", ["one", "tail"], ["other_tail"]),
        *border,
        helper.make_node("Concat", ["first_label", "final_label"], ["interval"], axis=1),
        helper.make_node("Sub", ["one", "below"], ["above"]),
        helper.make_node("Mul", ["below", "above"], ["variance"]),
        helper.make_node("ReduceMean", ["variance", "axis1"], ["aleatoric"], keepdims=1),
        helper.make_node("Sub", ["aleatoric", "aleatoric"], ["epistemic"]),
        helper.make_node("Concat", ["aleatoric", "epistemic"], ["uncertainty"], axis=1),
    ]
