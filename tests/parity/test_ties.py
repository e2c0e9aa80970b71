"""Exact ties: probabilities that float32 has exactly, costs that are whole numbers.

Keras is left out, since TensorFlow's softmax is a bit off 1 even for a single label in a large batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import oracle
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from parity.answers import ALL, Said, of_reply
from parity.cases import LINE, RING, Case, Workshop
from servers import run_server

from serving.client import Client, Policy

MOST = 16  # probabilities are multiples of 1/16
NEVER = -200.0  # a logit whose probability is 0 in float32


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Artifacts whose features are the logits of one pass, or of two, whose mean is exact as well."""
    workshop = Workshop(tmp_path_factory.mktemp("ties"))
    return {
        "one": workshop.identity("one", LINE, "central"),
        "two": workshop.identity("two", RING, "greedy", passes=2),
    }


@pytest.fixture(scope="module")
def client(cases: dict[str, Case]) -> Iterator[Client]:
    """A client of a real server of both."""
    with (
        run_server(*(case.exported.path for case in cases.values())) as server,
        Client(server.address) as client,
    ):
        yield client


@dataclass(frozen=True)
class Exact:
    """Rows whose probabilities the file gives to the last bit, and these."""

    rows: NDArray[np.float32]  # (rows, S·K)
    p: NDArray[np.float64]  # (rows, K)

    def some(self, chosen: slice | NDArray[np.integer]) -> Exact:
        """Return some of them."""
        return Exact(self.rows[chosen], self.p[chosen])


@pytest.fixture(scope="module")
def exact(cases: dict[str, Case]) -> dict[str, Exact]:
    """Those of each artifact."""
    return {name: _exact(case) for name, case in cases.items()}


def _exact(case: Case) -> Exact:
    classes = len(case.manifest.labels)
    passes = case.manifest.inputs[0].shape[0] // classes
    p = _dyadic(classes)
    if passes == 2:
        p = np.concatenate([np.concatenate([p, p]), np.concatenate([p, np.roll(p, 7, axis=0)])], axis=1)
    rows = np.full(p.shape, NEVER, np.float32)
    rows[p > 0] = np.log(p[p > 0])
    mean = p.reshape(-1, passes, classes).mean(axis=1)
    cost = {"any": np.eye(classes, dtype=np.float32)}
    same = (case.onnx(rows, cost, 0.5).probabilities == mean).all(axis=1)
    return Exact(rows[same], mean[same])


def _dyadic(classes: int) -> NDArray[np.float64]:
    """Return all probabilities of halves, quarters, … sixteenths and zeros."""

    def shares(left: int, labels: int) -> Iterator[list[int]]:
        if labels == 0:
            if left == 0:
                yield []
            return
        for first in (0, 1, 2, 4, 8, 16):
            if first <= left:
                for others in shares(left - first, labels - 1):
                    yield [first, *others]

    return np.array([*shares(MOST, classes)]) / MOST


def _check(said: Said, p: NDArray[np.float64], cost: NDArray[np.float64]) -> None:
    np.testing.assert_array_equal(said.probabilities, p)
    wanted = [oracle.decision(row, cost.tolist()) for row in p.tolist()]
    made = said.decisions["whole"]
    np.testing.assert_array_equal(made.action, [action for action, _ in wanted])
    np.testing.assert_array_equal(made.margin, [margin for _, margin in wanted])
    np.testing.assert_array_equal(
        made.costs, [oracle.expected_costs(row, cost.tolist()) for row in p.tolist()]
    )


def test_many_rows_are_exact(exact: dict[str, Exact]) -> None:
    """Halves, quarters and so on, zeros, and all rows of one label, of two equal ones and of four."""
    for name, equal in (("one", 5 + 10 + 5), ("two", 6 + 15 + 15)):
        p = exact[name].p
        assert len(p) > 150
        assert (p * 2 * MOST == np.round(p * 2 * MOST)).all()
        assert ((p == 0) | (p == p.max(axis=1, keepdims=True))).all(axis=1).sum() >= equal


@pytest.mark.parametrize("name", ["one", "two"])
@settings(max_examples=40)
@given(data=st.data())
def test_ties_go_to_the_lowest_index(
    name: str,
    data: st.DataObject,
    cases: dict[str, Case],
    client: Client,
    exact: dict[str, Exact],
) -> None:
    """Costs, decisions and margins are the oracle's to the last bit, of the file and the service."""
    case, one = cases[name], exact[name]
    actions = data.draw(st.integers(2, 7))
    cost = data.draw(strategies.cost_matrices(one.p.shape[1], actions, whole=True))
    costs = {"whole": cost.astype(np.float32)}
    start = data.draw(st.integers(0, len(one.rows) - 1))
    some = one.some(slice(start, start + 64))
    _check(case.onnx(some.rows, costs, 0.5), some.p, cost)
    policy = Policy("whole", costs["whole"], [f"action {a}" for a in range(actions)])
    _check(of_reply(client.predict(some.rows, name, policies=[policy], outputs=ALL)), some.p, cost)


@pytest.mark.parametrize("batch", [1, 3, 512])
@pytest.mark.parametrize("name", ["one", "two"])
def test_tied_actions_have_a_margin_of_nothing(
    name: str,
    batch: int,
    cases: dict[str, Case],
    client: Client,
    exact: dict[str, Exact],
) -> None:
    """Of four actions the last three cost the same: the second is decided, its margin is 0."""
    one = exact[name]
    one = one.some(np.arange(batch) % len(one.rows))
    column = np.arange(one.p.shape[1]) + 1.0
    cost = np.stack([column + 1, column, column, column], axis=1)
    costs = {"whole": cost.astype(np.float32)}
    policy = Policy("whole", costs["whole"], ["dear", "first", "second", "third"])
    reply = of_reply(client.predict(one.rows, name, policies=[policy], outputs=ALL))
    for said in (cases[name].onnx(one.rows, costs, 0.5), reply):
        _check(said, one.p, cost)
        assert (said.decisions["whole"].action == 1).all()
        assert (said.decisions["whole"].margin == 0).all()
