"""Real artifacts, made without TensorFlow, and fixtures of real servers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from servers import Process, Running, run_server

from serving import manifest as schema
from serving import seal

from .categorical_artifact import make_cars

LABELS = ("awful", "poor", "fair", "good", "superb")
VALUES = (0.0, 1.0, 2.0, 4.0, 8.0)
K = len(LABELS)
ACTIONS = ("page", "queue", "ignore")
ABSOLUTE = np.abs(np.subtract.outer(np.arange(K), np.arange(K))).astype(np.float32)
TRIAGE = np.array([[9, 3, 0], [5, 2, 1], [2, 1, 2], [1, 1, 5], [0, 2, 9]], np.float32)
IMAGE = schema.Input(name="image", dtype="uint8", shape=(8, 8, 1), ranges=((0, 16),))
NUMERIC = schema.Input(
    name="numeric",
    dtype="float32",
    shape=(4,),
    features=("acidity", "sugar", "alcohol", "pH"),
    ranges=((0, 0), (-1, 1), (-1, 1), (-1, 1)),
)


@dataclass(frozen=True)
class Made:
    """An artifact and what a float64 NumPy check needs to know of it."""

    path: Path
    manifest: schema.Manifest
    weight: np.ndarray  # (features, K)
    bias: np.ndarray  # (K,)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Softmax of the linear scores, `(rows, K)`, in float64."""
        score = rows.reshape(len(rows), -1).astype(np.float64) @ self.weight + self.bias
        unnormalised = np.exp(score - score.max(axis=1, keepdims=True))
        return unnormalised / unnormalised.sum(axis=1, keepdims=True)


def describe(spec: schema.Input, name: str, **changes: Any) -> schema.Manifest:
    """The manifest of a test artifact."""
    content = {
        "name": name,
        "labels": LABELS,
        "values": VALUES,
        "inputs": (spec,),
        "profiles": {
            "absolute": schema.Profile(actions=LABELS, cost=ABSOLUTE.tolist()),
            "triage": schema.Profile(actions=ACTIONS, cost=TRIAGE.tolist()),
        },
        "default_profile": "absolute",
        "members": (
            schema.Member(
                loss=schema.TrainedWith(name="cross_entropy"),
                head=schema.TrainedWith(name="softmax"),
                proper=True,
                run_id="run",
            ),
        ),
        "interval": schema.Interval(coverage=0.8, rows=99),
        "provenance": schema.Provenance(
            data_fingerprint="0" * 64,
            git_commit="unknown",
            versions={},
            created=datetime.now(UTC),
        ),
    }
    return schema.Manifest(**{**content, **changes})


def graph_of(spec: schema.Input, weight: np.ndarray, bias: np.ndarray, slow: bool) -> onnx.GraphProto:
    """The contract's graph over a linear model; a slow one loops as often as its first feature says.

    Its intervals leave out (1 − coverage)/2 on each side, whatever rows with known labels would say.
    """
    constants = {
        "weight": weight,
        "bias": bias,
        "values": np.array(VALUES, np.float32)[:, np.newaxis],
        "fold": np.array([0, K, -1]),
        "axis1": np.array([1]),
        "last": np.array([2]),
        "policies_actions": np.array([1, 3]),
        "any": np.array([-1]),
        "two": np.array([2]),
        "up_to": np.triu(np.ones((K, K), np.float32)),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "almost_all": np.array([K - 1]),
    }
    nodes = [
        helper.make_node("Cast", [spec.name], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["cast"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["score"]),
        helper.make_node("Softmax", ["score"], ["probabilities"], axis=1),
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
        *(
            node
            for name, border in (("first", "tail"), ("last_one", "other_tail"))
            for node in (
                helper.make_node("Less", ["below", border], [f"{name}_before"]),
                helper.make_node("Cast", [f"{name}_before"], [f"{name}_count"], to=TensorProto.INT64),
                helper.make_node("ReduceSum", [f"{name}_count", "axis1"], [f"{name}_any"], keepdims=1),
                helper.make_node("Min", [f"{name}_any", "almost_all"], [f"{name}_label"]),
            )
        ),
        helper.make_node("Concat", ["first_label", "last_one_label"], ["interval"], axis=1),
        helper.make_node("Sub", ["one", "below"], ["above"]),
        helper.make_node("Mul", ["below", "above"], ["variance"]),
        helper.make_node("ReduceMean", ["variance", "axis1"], ["aleatoric"], keepdims=1),
        helper.make_node("Sub", ["aleatoric", "aleatoric"], ["epistemic"]),
        helper.make_node("Concat", ["aleatoric", "epistemic"], ["uncertainty"], axis=1),
    ]
    if slow:
        constants |= {"square": np.eye(64, dtype=np.float32), "first": np.array([0]), "go": np.array(True)}
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go_in"], ["go_out"]),
                helper.make_node("MatMul", ["state_in", "square"], ["state_out"]),
            ],
            "body",
            [
                helper.make_tensor_value_info("step", TensorProto.INT64, []),
                helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
                helper.make_tensor_value_info("state_in", TensorProto.FLOAT, [64, 64]),
            ],
            [
                helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
                helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [64, 64]),
            ],
        )
        nodes[2:3] = [
            helper.make_node("ReduceMax", ["flat"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["times"], to=TensorProto.INT64),
            helper.make_node("Loop", ["times", "go", "square"], ["looped"], body=body),
            helper.make_node("ReduceSum", ["looped"], ["trace"], keepdims=0),
            helper.make_node("Sub", ["trace", "trace"], ["zero"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["raw_score"]),
            helper.make_node("Add", ["raw_score", "zero"], ["score"]),
        ]
    numbers = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    f32, i64 = TensorProto.FLOAT, TensorProto.INT64
    return helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(spec.name, numbers[spec.dtype], ["batch", *spec.shape]),
            helper.make_tensor_value_info("cost", f32, ["cost_rows", "policies", K, "actions"]),
            helper.make_tensor_value_info("coverage", f32, ["coverage_rows"]),
        ],
        [
            helper.make_tensor_value_info("probabilities", f32, ["batch", K]),
            helper.make_tensor_value_info("expected_value", f32, ["batch"]),
            helper.make_tensor_value_info("expected_cost", f32, ["batch", "policies", "actions"]),
            helper.make_tensor_value_info("decision", i64, ["batch", "policies"]),
            helper.make_tensor_value_info("margin", f32, ["batch", "policies"]),
            helper.make_tensor_value_info("interval", i64, ["batch", 2]),
            helper.make_tensor_value_info("uncertainty", f32, ["batch", 2]),
        ],
        [
            *(numpy_helper.from_array(value, name) for name, value in constants.items()),
            numpy_helper.from_array(ABSOLUTE[np.newaxis, np.newaxis], "cost"),
            numpy_helper.from_array(np.array([0.8], np.float32), "coverage"),
        ],
    )


def make_artifact(
    path: Path,
    spec: schema.Input = NUMERIC,
    *,
    name: str = "wine",
    seed: int = 0,
    slow: bool = False,
    described: str | None = None,
    edit: Callable[[onnx.GraphProto], None] | None = None,
    sealed: bool = True,
    **changes: Any,
) -> Made:
    """An artifact; `changes` go into the manifest, `described` is its JSON, `edit` alters the graph."""
    if slow:  # what was seen in training takes milliseconds as well, so that its runs have threads
        spec = spec.model_copy(update={"ranges": ((0, 4000), *spec.ranges[1:])})
    random = np.random.default_rng(seed)
    weight = random.normal(0, 0.3, (int(np.prod(spec.shape)), K)).astype(np.float32)
    bias = random.normal(0, 0.3, K).astype(np.float32)
    manifest = describe(spec, name, **changes)
    graph = graph_of(spec, weight, bias, slow)
    if edit is not None:
        edit(graph)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    text = manifest.to_json() if described is None else described
    helper.set_model_props(model, {schema.KEY: text, **({seal.KEY: seal.BLANK} if sealed else {})})
    content = model.SerializeToString()
    path.write_bytes(seal.seal(content) if sealed else content)
    return Made(path, manifest, weight, bias)


@pytest.fixture(scope="session")
def make() -> Callable[..., Made]:
    """`make_artifact`, for tests that need an artifact of their own."""
    return make_artifact


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An artifact for tables: float32, 4 features, no missing values."""
    return make_artifact(tmp_path_factory.mktemp("wine") / "wine.onnx")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An artifact for images: uint8, 8 × 8 × 1."""
    return make_artifact(tmp_path_factory.mktemp("digits") / "digits.onnx", IMAGE, name="digits", seed=1)


@pytest.fixture(scope="session")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An artifact for tables of numbers and categories, some of which may be missing."""
    return make_cars(make_artifact, tmp_path_factory.mktemp("cars") / "cars.onnx")


@pytest.fixture(scope="session")
def serving_of() -> Callable[..., contextlib.AbstractContextManager[Running]]:
    """`run_server`, for tests that need a server of their own."""
    return run_server


@pytest.fixture(scope="session")
def running(wine: Made, digits: Made, cars: Made) -> Iterator[Running]:
    """A server of all three artifacts that all tests share."""
    with run_server(wine.path, digits.path, cars.path) as server:
        yield server


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Start service processes; what still runs when the test ends is killed."""
    started: list[Process] = []

    def start(*arguments: str | Path, env: dict[str, str] | None = None) -> Process:
        started.append(Process(*arguments, env=env))
        return started[-1]

    yield start
    for one in started:
        one.popen.kill()
        one.popen.wait()
        assert one.popen.stderr is not None
        one.popen.stderr.close()


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `ordinal-serving` with arguments to its end."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "serving", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(env or {})},
        )

    return run
