"""A file that may not be served is refused with the reason, and never takes a running service down."""

import json
import re

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto, helper, numpy_helper

from serving.client import Client
from serving.errors import ArtifactError
from serving.seal import check_seal

CASES = {
    "missing": "cannot be read: No such file",
    "a folder": "cannot be read: Is a directory",
    "empty": "no artifact of this product, or one that was cut short: it carries no 'ordinal_sha256' seal",
    "text": "no artifact of this product, or one that was cut short",
    "unsealed": "no artifact of this product, or one that was cut short",
    "cut short": "no artifact of this product, or one that was cut short",
    "first half": "no artifact of this product, or one that was cut short",
    "changed byte": "does not agree with its seal",
    "other digest": "does not agree with its seal",
    "unknown schema version": "schema version 99; this version of ordinal understands 1",
    "manifest is no JSON": "manifest: Invalid JSON",
    "labels do not fit": "2 labels but 5 values",
    "labels do not fit the graph": "names 4 labels, the graph's probabilities are ['batch', 5]",
    "other input": "its manifest names ['image']",
    "input of another type": "input 'numeric' is tensor(double) ['batch', 4], must be",
    "input of another shape": "is tensor(float) ['batch', 4], must be tensor(float) ['batch', 3]",
    "no optional cost": "the graph has no optional input 'cost'",
    "no optional coverage": "the graph has no optional input 'coverage'",
    "cost is not optional": "the graph wants inputs ['cost', 'numeric'], its manifest names ['numeric']",
    "missing output": "the graph has no output 'margin'",
    "output of another type": "output 'margin' is tensor(double) ['batch', 'policies'], must be",
    "probabilities do not sum to 1": "must be non-negative and sum to 1, got [0.",
    "NaN": "must be non-negative and sum to 1, got [nan",
    "first run fails": "a first run fails: ",
    "graph without sense": "onnxruntime cannot load it: ",
}


def node_of(graph, output):
    """The node that makes a tensor."""
    return next(node for node in graph.node if output in node.output)


def drop(entries, name):
    """Remove the entry of a name."""
    entries.remove(next(entry for entry in entries if entry.name == name))


def as_double(graph):
    """Make the margin a float64."""
    node_of(graph, "margin").output[0] = "margin_32"
    graph.node.append(helper.make_node("Cast", ["margin_32"], ["margin"], to=TensorProto.DOUBLE))
    output = next(output for output in graph.output if output.name == "margin")
    output.type.tensor_type.elem_type = TensorProto.DOUBLE


def not_normalised(graph):
    """Make each probability one of its own, so that they do not sum to 1."""
    softmax = node_of(graph, "probabilities")
    softmax.op_type = "Sigmoid"
    del softmax.attribute[:]


def constant(graph, name, value):
    """Give a constant another value."""
    old = next(entry for entry in graph.initializer if entry.name == name)
    old.CopyFrom(numpy_helper.from_array(np.array(value, numpy_helper.to_array(old).dtype), name))


EDITS = {
    "input of another type": lambda graph: setattr(
        graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE
    ),
    "no optional cost": lambda graph: drop(graph.input, "cost"),
    "no optional coverage": lambda graph: drop(graph.input, "coverage"),
    "cost is not optional": lambda graph: drop(graph.initializer, "cost"),
    "missing output": lambda graph: drop(graph.output, "margin"),
    "output of another type": as_double,
    "probabilities do not sum to 1": not_normalised,
    "NaN": lambda graph: constant(graph, "bias", [np.nan, 0, 0, 0, 0]),
    "first run fails": lambda graph: constant(graph, "any", [7]),  # batches of one row reshaped to 7
    "graph without sense": lambda graph: setattr(graph.node[0], "op_type", "NoSuchOperator"),
}

DESCRIBED = {
    "unknown schema version": {"schema_version": 99},
    "labels do not fit": {"labels": ["a", "b"]},
    "labels do not fit the graph": {
        "labels": ["a", "b", "c", "d"],
        "values": [0, 1, 2, 3],
        "profiles": {"absolute": {"actions": ["no", "yes"], "cost": [[0, 1]] * 4}},
    },
    "other input": {
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [8, 8, 1], "ranges": [[0, 16]]}]
    },
    "input of another shape": {
        "inputs": [
            {
                "name": "numeric",
                "dtype": "float32",
                "shape": [3],
                "features": ["acidity", "sugar", "alcohol"],
                "ranges": [[0, 1]] * 3,
            }
        ]
    },
}


def spoil(case, made, make, folder):
    """Write the bad file of a case; return its path."""
    path = folder / "bad.onnx"
    content = made.path.read_bytes()
    match case:
        case "missing":
            pass
        case "a folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("hello")
        case "unsealed":
            make(path, sealed=False)
        case "cut short":
            path.write_bytes(content[:-20])
        case "first half":
            path.write_bytes(content[: len(content) // 2])
        case "changed byte":
            path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        case "other digest":
            digest = check_seal(made.path).encode()
            path.write_bytes(content.replace(digest, digest[::-1]))
        case "manifest is no JSON":
            make(path, described="{")
        case _ if case in EDITS:
            make(path, edit=EDITS[case])
        case _:
            described = json.loads(made.manifest.to_json()) | DESCRIBED[case]
            make(path, described=json.dumps(described))
    return path


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_refused_with_the_reason(case, wine, make, tmp_path, capsys):
    """Exit status 2 and one sentence that names the file and what is wrong with it."""
    from serving.__main__ import main

    path = spoil(case, wine, make, tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(path), "--port", "0", "--device", "cpu"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.rstrip().splitlines()[-1]  # a message of onnxruntime ends in a newline
    assert said.startswith(f"ordinal-serving: {path}: ")
    assert CASES[case] in said


ROWS = np.random.default_rng(5).uniform(-1, 1, (3, 4)).astype(np.float32)


def assert_serves(address, made):
    """Health is SERVING, and what is answered are the model's own answers."""
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    with Client(address) as client:
        answer = client.predict(ROWS, made.manifest.name)
    np.testing.assert_allclose(answer.probabilities, made.probabilities(ROWS), atol=1e-5)


@pytest.fixture(scope="module")
def standing(serving_of, wine):
    """A server of `wine` that outlives every bad file."""
    with serving_of(wine.path) as server:
        yield server


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_never_takes_a_running_service_down(case, standing, wine, make, tmp_path):
    """It is refused with the same reason, and the model that was there goes on answering."""
    path = spoil(case, wine, make, tmp_path)
    with pytest.raises(ArtifactError, match=re.escape(CASES[case])):
        standing.do(standing.server.load([str(path)]))
    assert_serves(standing.address, wine)


def test_a_good_file_beside_a_bad_one_changes_nothing(standing, wine, make, tmp_path):
    """What is served is replaced as a whole or not at all."""
    good = make(tmp_path / "good.onnx", seed=9)
    bad = spoil("NaN", wine, make, tmp_path)
    with pytest.raises(ArtifactError, match=re.escape(CASES["NaN"])):
        standing.do(standing.server.load([str(good.path), str(bad)]))
    assert_serves(standing.address, wine)


def test_a_good_file_then_replaces_the_old_one(serving_of, wine, make, tmp_path):
    """After a refusal the service can still be given another model."""
    good = make(tmp_path / "good.onnx", seed=9)
    bad = spoil("cut short", wine, make, tmp_path)
    with serving_of(wine.path) as server:
        with pytest.raises(ArtifactError, match="cut short"):
            server.do(server.server.load([str(bad)]))
        server.do(server.server.load([str(good.path)]))
        assert_serves(server.address, good)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/nowhere/x.onnx"], "/nowhere/x.onnx: cannot be read: No such file or directory"),
        (["models:/wine"], "a registry address is models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["models:/wine/latest"], "where VERSION is a number"),
        (
            ["--tracking-uri", "sqlite:////nowhere/m.db", "models:/wine@champion"],
            "there is no file /nowhere/m.db",
        ),
    ],
)
def test_a_bad_start_is_one_sentence_and_status_2(command, arguments, reason):
    """The process of a service that cannot start ends without a traceback."""
    ended = command("serve", "--port", "0", *arguments)
    assert ended.returncode == 2
    assert reason in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_cuda_without_a_gpu_does_not_start(command, wine):
    """`--device cuda` never falls back to the CPU."""
    from pathlib import Path

    if any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has a GPU")
    ended = command("serve", wine.path, "--device", "cuda", "--port", "0")
    assert ended.returncode == 2
    assert "device 'cuda' was asked for, but" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_two_files_of_one_name_are_refused(wine, make, tmp_path):
    """Two different files cannot both be version 0 of a model; the same file twice is one."""
    from serving.repository import load
    from serving.resolve import Resolved

    other = make(tmp_path / "other.onnx", seed=9)
    with pytest.raises(ArtifactError, match="version 0 of 'wine' is already served from"):
        load([Resolved(wine.path), Resolved(other.path)], "cpu")
    assert len(list(load([Resolved(wine.path), Resolved(wine.path)], "cpu"))) == 1
