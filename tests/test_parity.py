"""One answer, four ways: the slow oracle, Keras, the ONNX file, and the reply that came over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import oracle
import pytest
from numpy.typing import NDArray
from servers import run_server
from trained import Exported, train_and_export

from pipeline.config import Config
from pipeline.data import Dataset, load
from pipeline.export.graph import answering, topology_of
from serving.artifact import Artifact
from serving.client import Client, Policy
from serving.manifest import PADDING

TRIAGE = np.random.default_rng(0).integers(0, 9, (10, 3)).astype(np.float32)
ACTIONS = ("page", "queue", "ignore")


@pytest.fixture(scope="module")
def client(exported: Exported) -> Iterator[Client]:
    """A client of a real server that serves the trained artifact."""
    with run_server(exported.path) as server, Client(server.address) as client:
        yield client


@pytest.mark.parametrize("batch", [1, 3, 257])
def test_oracle_keras_onnx_and_grpc_agree(
    batch: int, exported: Exported, data: Dataset, client: Client
) -> None:
    """Three policies, one with actions that are not labels: the same numbers and decisions everywhere."""
    rows = data.features[data.parts.test][np.arange(batch) % len(data.parts.test)]
    names = ("absolute", "asymmetric", "triage")
    costs = [np.array(exported.manifest.profiles[name].cost) for name in names[:2]] + [TRIAGE]

    p = _probabilities(exported, rows)
    padded = np.full((1, 3, 10, 10), PADDING, np.float32)
    for policy, cost in enumerate(costs):
        padded[0, policy, :, : cost.shape[1]] = cost
    topology = topology_of(exported.manifest)
    ask = answering(exported.model, exported.manifest.inputs[0], topology, exported.conformal)
    keras = ask(rows, padded, np.array([0.9], np.float32))
    onnx = Artifact(exported.path, "cpu").run({"image": rows}, padded)
    reply = client.predict(rows, policies=["absolute", "asymmetric", Policy("triage", TRIAGE, ACTIONS)])

    for probabilities in (keras["probabilities"].numpy(), onnx.probabilities, reply.probabilities):
        np.testing.assert_allclose(probabilities, p, atol=1e-5)
    values = [oracle.expected_value(row, exported.manifest.values) for row in p]
    for expected in (keras["expected_value"].numpy(), onnx.expected_value, reply.expected_value):
        np.testing.assert_allclose(expected, values, atol=1e-4)
    for policy, (name, cost) in enumerate(zip(names, costs, strict=True)):
        wanted = [oracle.decision(row, cost) for row in p]
        margins = np.array([margin for _, margin in wanted])
        clear = margins > 1e-5
        decided = np.array([decision for decision, _ in wanted])
        for actual, margin in (
            (keras["decision"].numpy()[:, policy], keras["margin"].numpy()[:, policy]),
            (onnx.decision[:, policy], onnx.margin[:, policy]),
            (reply.decisions[name].action, reply.decisions[name].margin),
        ):
            np.testing.assert_array_equal(actual[clear], decided[clear])
            np.testing.assert_allclose(margin, margins, atol=1e-4)
        least = [min(oracle.expected_costs(row, cost)) for row in p]
        np.testing.assert_allclose(reply.decisions[name].expected_cost, least, atol=1e-4)
    assert reply.decisions["triage"].actions == ACTIONS
    assert set(reply.decisions["triage"].chosen) <= set(ACTIONS)


def test_the_default_policy_is_the_models_own(exported: Exported, data: Dataset, client: Client) -> None:
    """A request without policies is decided by the default profile."""
    rows = data.features[:9]
    reply = client.predict(rows)
    assert list(reply.decisions) == [exported.manifest.default_profile]
    assert reply.decisions["absolute"].action.tolist() == [oracle.median(p) for p in reply.probabilities]


def test_the_service_describes_what_was_trained(exported: Exported, client: Client) -> None:
    """`GetModel` tells labels, loss, profiles and provider as the manifest has them."""
    model = client.model("digits")
    assert model.labels == exported.manifest.labels
    assert (model.loss, model.head, model.proper) == ("expected_value", "softmax", True)
    assert set(model.profiles) == {"zero_one", "absolute", "quadratic", "asymmetric"}
    assert model.provider == "CPUExecutionProvider"


def _probabilities(exported: Exported, rows: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The network written out in float64 NumPy: scale, two dense layers, softmax."""
    (network,) = (layer for layer in exported.model.layers if layer.get_weights())
    hidden, logits = (layer for layer in network.layers if layer.get_weights())
    x = rows.reshape(len(rows), -1).astype(np.float64) / 16
    w, b = (weight.astype(np.float64) for weight in hidden.get_weights())
    x = np.maximum(x @ w + b, 0)
    w, b = (weight.astype(np.float64) for weight in logits.get_weights())
    z = x @ w + b
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Exported]:
    """Digits on a ring, 9 next to 0, trained and exported."""
    config = Config.model_validate(
        {
            "name": "ring",
            "data": {"source": "digits", "topology": "cyclic"},
            "model": {"hidden": [16]},
            "search": {"epochs": 6, "learning_rate": 0.01, "losses": ["rps"], "trials": 1},
            "decision": {"profile": "cyclic"},
        }
    )
    data = load(config)
    return data, train_and_export(config, data, tmp_path_factory.mktemp("ring"))


@pytest.mark.parametrize("batch", [1, 3, 257])
def test_a_ring_gives_one_answer_four_ways(batch: int, ring: tuple[Dataset, Exported]) -> None:
    """Circular mean, resultant length and the decision round the ring: oracle = Keras = ONNX = gRPC."""
    data, exported = ring
    rows = data.features[data.parts.test][np.arange(batch) % len(data.parts.test)]
    cost = np.array(exported.manifest.profiles["cyclic"].cost, np.float32)
    topology = topology_of(exported.manifest)
    p = _probabilities(exported, rows)
    ask = answering(exported.model, exported.manifest.inputs[0], topology, exported.conformal)
    outputs = ask(rows, cost[None, None], np.array([0.9], np.float32))
    onnx = Artifact(exported.path, "cpu").run({"image": rows})
    with run_server(exported.path) as server, Client(server.address) as client:
        reply = client.predict(rows, policies=["cyclic"])
        info = client.model("ring")
    assert (info.topology, info.period) == ("cyclic", 10.0)
    wanted = [oracle.circular_mean(row, topology.values, 10.0) for row in p]
    decided = [oracle.decision(row, cost.tolist()) for row in p]
    clear = np.array([margin for _, margin in decided]) > 1e-5
    for value, length, action in (
        (
            outputs["expected_value"].numpy(),
            outputs["resultant"].numpy(),
            outputs["decision"].numpy()[:, 0],
        ),
        (onnx.expected_value, onnx.resultant, onnx.decision[:, 0]),
        (reply.expected_value, reply.resultant, reply.decisions["cyclic"].action),
    ):
        np.testing.assert_allclose(length, [r for _, r in wanted], atol=1e-5)
        apart = np.mod(value - np.array([v for v, _ in wanted]), 10.0)
        assert (np.minimum(apart, 10 - apart) * length < 1e-4).all()
        np.testing.assert_array_equal(action[clear], np.array([a for a, _ in decided])[clear])


def test_linear_labels_have_no_resultant(data: Dataset, client: Client) -> None:
    """A reply about labels on a line leaves it out."""
    assert client.predict(data.features[:2]).resultant is None
