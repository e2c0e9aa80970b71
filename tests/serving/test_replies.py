"""Replies made as bytes are the messages that they should be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.artifact import Answer, Artifact
from serving.encoding import packed, varint
from serving.policies import Rule
from serving.replies import outputs_of, prediction
from serving.repository import as_served
from serving.resolve import Resolved
from serving.wire import ordinal_pb2 as wire


@pytest.fixture(scope="module")
def served(wine):
    """A loaded model of five labels."""
    return as_served(Resolved(wine.path, "wine", "3"), Artifact(wine.path, "cpu"))


def answer_of(rows, labels, policies, actions, cyclic):
    """A random answer, as a graph gives it: padded costs, decisions by them."""
    random = np.random.default_rng(rows)
    cost = random.uniform(0, 5, (rows, policies, max(actions))).astype(np.float32)
    for policy, own in enumerate(actions):
        cost[:, policy, own:] = 1e30
    return Answer(
        random.random((rows, labels), np.float32),
        random.random(rows, np.float32),
        cost,
        cost.argmin(axis=2),
        random.random((rows, policies), np.float32),
        random.integers(0, labels, (rows, 2)),
        random.random((rows, 2), np.float32),
        random.random(rows, np.float32) if cyclic else None,
    )


@pytest.mark.parametrize("rows", [1, 2, 127, 300])
@pytest.mark.parametrize(("labels", "actions"), [(5, (5,)), (5, (3, 130)), (300, (300,)), (2, (2, 2, 3))])
@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize(
    "outputs",
    [[], [wire.DECISION], [wire.ACTION_COSTS, wire.INTERVAL], [wire.UNCERTAINTY], list(range(1, 7))],
)
@pytest.mark.parametrize("coverage", [None, 0.75])
def test_a_reply_is_its_message(served, rows, labels, actions, cyclic, outputs, coverage):
    """Field by field what the answer says, also twice, when what lies between the numbers is known."""
    request = wire.PredictRequest(request_id="id", outputs=outputs, coverage=coverage)
    asked = outputs_of(request)
    rules = [
        Rule(f"rule {n}", tuple(f"action {a}" for a in range(own)), np.zeros((labels, own), np.float32))
        for n, own in enumerate(actions)
    ]
    answer = answer_of(rows, labels, len(actions), actions, cyclic)
    served.heads.clear()
    for _ in range(2):
        reply = wire.PredictResponse.FromString(prediction(request, served, rules, asked, answer))
        assert (reply.request_id, reply.model, reply.version, reply.rows) == ("id", "wine", "3", rows)
        assert tuple(reply.labels) == served.artifact.manifest.labels
        assert reply.provider == "CPUExecutionProvider"
        check(reply, answer, rules, asked, coverage or 0.8)


def check(reply, answer, rules, outputs, coverage):
    """A message has what was asked for, and nothing else."""
    floats = {
        "probabilities": (wire.PROBABILITIES, answer.probabilities),
        "expected_value": (wire.EXPECTED_VALUE, answer.expected_value),
        "resultant": (wire.EXPECTED_VALUE, answer.resultant),
    }
    for name, (output, numbers) in floats.items():
        expected = [] if output not in outputs or numbers is None else numbers.ravel()
        np.testing.assert_array_equal(np.float32(getattr(reply, name)), expected)
    decided, costed = wire.DECISION in outputs, wire.ACTION_COSTS in outputs
    assert len(reply.decisions) == (len(rules) if decided or costed else 0)
    for index, (decision, rule) in enumerate(zip(reply.decisions, rules, strict=False)):
        assert (decision.policy, tuple(decision.actions)) == (rule.name, rule.actions)
        cost, action = answer.expected_cost[:, index], answer.decision[:, index]
        own = cost[:, : len(rule.actions)]
        np.testing.assert_array_equal(decision.action, action if decided else [])
        best = cost[np.arange(len(action)), action]
        np.testing.assert_array_equal(np.float32(decision.expected_cost), best if decided else [])
        np.testing.assert_array_equal(
            np.float32(decision.margin), answer.margin[:, index] if decided else []
        )
        np.testing.assert_array_equal(np.float32(decision.action_costs), own.ravel() if costed else [])
    assert reply.HasField("interval") is (wire.INTERVAL in outputs)
    if reply.HasField("interval"):
        assert reply.interval.coverage == coverage
        np.testing.assert_array_equal(reply.interval.lower, answer.interval[:, 0])
        np.testing.assert_array_equal(reply.interval.upper, answer.interval[:, 1])
    assert reply.HasField("uncertainty") is (wire.UNCERTAINTY in outputs)
    if reply.HasField("uncertainty"):
        np.testing.assert_array_equal(np.float32(reply.uncertainty.aleatoric), answer.uncertainty[:, 0])
        np.testing.assert_array_equal(np.float32(reply.uncertainty.epistemic), answer.uncertainty[:, 1])


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20))
def test_integers_are_packed_as_protobuf_does(numbers):
    """As a field of a message, and one by one."""
    message = wire.Interval(lower=numbers).SerializeToString()
    content = packed(np.array(numbers), max(numbers) + 1)
    assert message == bytes([2 << 3 | 2]) + varint(len(content)) + content
    assert b"".join(map(varint, numbers)) == content
