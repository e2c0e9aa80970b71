"""Scanned digits: one answer from the slow oracle, Keras, the ONNX file, and over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import oracle
import pytest
from parity import answers, networks
from parity.networks import Written
from servers import run_server
from trained import Exported, train_and_export

from pipeline.calibration import Scaling
from pipeline.config import Config, Named
from pipeline.data import Dataset, load
from pipeline.ensemble import Member
from pipeline.export.graph import answering, topology_of
from serving.artifact import Answer, Artifact
from serving.client import Client, Policy

TRIAGE = np.random.default_rng(0).integers(0, 9, (10, 3)).astype(np.float32)
ACTIONS = ("page", "queue", "ignore")


@pytest.fixture(scope="module")
def client(exported: Exported) -> Iterator[Client]:
    """A client of a real server that serves the trained artifact."""
    with run_server(exported.path) as server, Client(server.address) as client:
        yield client


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


@pytest.mark.parametrize("batch", [1, 3, 512])
def test_oracle_keras_onnx_and_grpc_agree(
    batch: int, exported: Exported, data: Dataset, client: Client
) -> None:
    """Three policies, one with actions that are not labels: the same numbers and decisions everywhere."""
    _agree(exported, data, batch, client, ["absolute", "asymmetric", Policy("triage", TRIAGE, ACTIONS)])


@pytest.mark.parametrize("batch", [1, 3, 512])
def test_a_ring_gives_one_answer_four_ways(batch: int, ring: tuple[Dataset, Exported]) -> None:
    """Circular mean, resultant length and the decision round the ring: oracle = Keras = ONNX = gRPC."""
    data, exported = ring
    with run_server(exported.path) as server, Client(server.address) as client:
        info = client.model("ring")
        _agree(exported, data, batch, client, ["cyclic"])
    assert (info.topology, info.period) == ("cyclic", 10.0)


def _agree(
    exported: Exported, data: Dataset, batch: int, client: Client, policies: list[str | Policy]
) -> None:
    """Compare all four on rows of the test part; the answers of Keras come from the exported function."""
    rows = data.features[data.parts.test][np.arange(batch) % len(data.parts.test)]
    profiles = exported.manifest.profiles
    costs = {
        one if isinstance(one, str) else one.name: np.asarray(
            profiles[one].cost if isinstance(one, str) else one.cost, np.float32
        )
        for one in policies
    }
    topology = topology_of(exported.manifest)
    (network,) = (layer for layer in exported.model.layers if layer.get_weights())
    written = Written(Member(network), Named(name="softmax"))
    passes = networks.passes([written], Scaling.none(topology.classes), rows)
    wanted = answers.wanted(passes, topology, exported.conformal, costs, 0.75)

    ask = answering(exported.model, exported.manifest.inputs, topology, exported.conformal)
    outputs = ask(rows, answers.stacked(costs), np.array([0.75], np.float32))
    keras = Answer(**{name: tensor.numpy() for name, tensor in outputs.items()})
    answers.check(answers.of_graph(keras, costs), wanted)
    onnx = Artifact(exported.path, "cpu").run(
        {"image": rows}, answers.stacked(costs), np.array([0.75], np.float32)
    )
    answers.check(answers.of_graph(onnx, costs), wanted)
    reply = client.predict(rows, policies=policies, coverage=0.75, outputs=answers.ALL)
    assert list(reply.decisions) == list(costs)
    answers.check(answers.of_reply(reply), wanted)
    for name, one in reply.decisions.items():
        assert one.actions == (ACTIONS if name == "triage" else exported.manifest.labels)


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


def test_linear_labels_have_no_resultant(data: Dataset, client: Client) -> None:
    """A reply about labels on a line leaves it out."""
    assert client.predict(data.features[:2]).resultant is None
