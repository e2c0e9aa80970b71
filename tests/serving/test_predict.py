"""Answers over the wire against a slow float64 check of our own."""

import json

import numpy as np
import pytest

from serving.client import Client, Policy

LOOSE = 1e-5


@pytest.fixture
def client(running):
    """A client of the shared server."""
    with Client(running.address) as client:
        yield client


def check(made, rows, cost, decision):
    """Compare one decision with expected costs computed element by element."""
    for row, probabilities in enumerate(made.probabilities(rows)):
        expected = [
            sum(probabilities[k] * float(cost[k][a]) for k in range(len(cost))) for a in range(len(cost[0]))
        ]
        lowest, runner_up = sorted(expected)[:2]
        assert decision.expected_cost[row] == pytest.approx(lowest, abs=LOOSE)
        assert decision.margin[row] == pytest.approx(runner_up - lowest, abs=LOOSE)
        if runner_up - lowest > LOOSE:
            assert decision.action[row] == expected.index(lowest)


@pytest.mark.parametrize("rows", [1, 3, 257])
@pytest.mark.parametrize("model", ["wine", "digits"])
def test_answers_equal_the_oracle(client, wine, digits, model, rows):
    """Probabilities, expected values and decisions of several policies equal a float64 NumPy check."""
    random = np.random.default_rng(rows)
    if model == "wine":
        made, sent = wine, random.normal(size=(rows, 4)).astype(np.float32)
    else:
        made, sent = digits, random.integers(0, 17, (rows, 8, 8, 1), dtype=np.uint8)
    own = random.uniform(0, 5, (5, 7)).astype(np.float32)
    policies = ["absolute", Policy("own", own, [f"action {a}" for a in range(7)]), "triage"]

    answer = client.predict(sent, model, policies=policies)

    probabilities = made.probabilities(sent)
    np.testing.assert_allclose(answer.probabilities, probabilities, atol=LOOSE)
    np.testing.assert_allclose(
        answer.expected_value, probabilities @ np.array(made.manifest.values), atol=8 * LOOSE
    )
    assert list(answer.decisions) == ["absolute", "own", "triage"]
    profiles = made.manifest.profiles
    check(made, sent, profiles["absolute"].cost, answer.decisions["absolute"])
    check(made, sent, own, answer.decisions["own"])
    check(made, sent, profiles["triage"].cost, answer.decisions["triage"])


def test_no_policy_means_the_default_profile(client):
    """Without policies one decision comes back: that of the model's default profile."""
    rows = np.ones((2, 4), np.float32)
    default = client.predict(rows, "wine")
    named = client.predict(rows, "wine", policies=["absolute"])
    assert list(default.decisions) == ["absolute"]
    assert default.decisions["absolute"].actions == default.labels
    np.testing.assert_array_equal(
        default.decisions["absolute"].expected_cost, named.decisions["absolute"].expected_cost
    )


def test_answer_does_not_depend_on_the_other_policies(client):
    """Padding a policy to the width of another changes nothing in its decision."""
    rows = np.random.default_rng(5).normal(size=(20, 4)).astype(np.float32)
    alone = client.predict(rows, "wine", policies=["triage"]).decisions["triage"]
    beside = client.predict(rows, "wine", policies=["absolute", "triage"]).decisions["triage"]
    np.testing.assert_array_equal(alone.action, beside.action)
    np.testing.assert_allclose(alone.expected_cost, beside.expected_cost, atol=LOOSE)
    np.testing.assert_allclose(alone.margin, beside.margin, atol=LOOSE)


def test_a_tie_goes_to_the_lowest_index(client):
    """Two actions of the same cost: the first is decided, with margin 0."""
    column = np.array([1, 2, 3, 4, 5], np.float32)
    cost = np.stack([column + 1, column, column, column], axis=1)
    tie = client.predict(
        np.ones((3, 4)), "wine", policies=[Policy("tie", cost, ["dear", "first", "second", "third"])]
    ).decisions["tie"]
    assert tie.chosen == ["first"] * 3
    assert tie.margin.tolist() == [0, 0, 0]


def test_costs_without_actions_are_about_the_labels(client, wine):
    """A cost matrix that names no actions decides among the labels."""
    zero_one = 1 - np.eye(5)
    answer = client.predict(np.ones((1, 4)), "wine", policies=[Policy("mode", zero_one)])
    assert answer.decisions["mode"].actions == wine.manifest.labels
    assert answer.decisions["mode"].chosen == answer.most_probable


def test_values_and_data_say_the_same(running):
    """Numbers as `values` are answered as the same numbers as `data`."""
    import grpc

    from serving.wire import ordinal_pb2 as wire
    from serving.wire import ordinal_pb2_grpc

    rows = np.arange(8, dtype=np.float32).reshape(2, 4) / 8
    with grpc.insecure_channel(running.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        answers = [
            stub.Predict(
                wire.PredictRequest(
                    model="wine", tensor=wire.Tensor(dtype=wire.FLOAT32, shape=[2, 4], **elements)
                )
            )
            for elements in ({"data": rows.tobytes()}, {"values": rows.ravel().tolist()})
        ]
    assert answers[0] == answers[1]
    assert answers[0].rows == 2


def test_every_reply_tells_who_answered(client):
    """Model, version, provider and the request's id come back with each answer."""
    answer = client.predict(np.zeros((1, 4)), "wine", request_id="α-17")
    assert (answer.model, answer.version, answer.provider) == ("wine", "0", "CPUExecutionProvider")
    assert answer.request_id == "α-17"


def test_missing_values_pass_where_the_manifest_allows_them(make, serving_of, tmp_path, wine):
    """NaN reaches the graph of a model that allows it, while infinity is still refused."""
    from serving.errors import InvalidRequest

    spec = wine.manifest.inputs[0].model_copy(update={"missing": wine.manifest.inputs[0].features})
    made = make(tmp_path / "m.onnx", spec)
    with serving_of(made.path) as server, Client(server.address) as client:
        assert client.model().inputs[0].missing == spec.features
        assert np.isnan(client.predict([[0.0, np.nan, 0.0, 0.0]]).probabilities).all()
        with pytest.raises(InvalidRequest, match="or NaN where a value is missing; got inf at row 0"):
            client.predict([[0.0, np.nan, np.inf, 0.0]])


def test_get_model_describes_the_artifact(client, wine):
    """GetModel tells what the manifest says, and what runs it."""
    info = client.model("wine")
    assert (info.name, info.version, info.aliases) == ("wine", "0", ())
    assert info.labels == wine.manifest.labels
    assert info.values.tolist() == list(wine.manifest.values)
    assert (info.topology, info.period, info.default_profile) == ("linear", 0.0, "absolute")
    (spec,) = info.inputs
    assert (spec.name, spec.dtype, spec.shape) == ("numeric", "float32", (4,))
    assert spec.features == wine.manifest.inputs[0].features
    assert info.profiles["triage"].actions == ("page", "queue", "ignore")
    assert info.profiles["triage"].cost.tolist() == [list(r) for r in wine.manifest.profiles["triage"].cost]
    assert (info.loss, info.head, info.proper, info.run_id) == ("cross_entropy", "softmax", True, "run")
    assert len(info.digest) == 64
    assert info.manifest == json.loads(wine.manifest.to_json())
