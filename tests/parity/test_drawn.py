"""Rows, costs and coverages that Hypothesis makes: the file and the service answer as the oracle does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import oracle
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from parity import answers
from parity.answers import ALL, Costs
from parity.cases import LINE, RING, Case, Workshop
from parity.plans import PLANS
from servers import run_server

from serving.client import Client, Policy

IDENTITIES = {
    "line": (LINE, "central", 1),
    "line-passes": (LINE, "greedy", 2),
    "ring": (RING, "greedy", 1),
    "ring-passes": (RING, "central", 2),
}
TRAINED = {
    "several": arrays(np.float32, (3, 4), elements=st.floats(-4, 4, width=32)),
    "ring-image": arrays(np.float32, (2, 5, 5, 1), elements=st.floats(0, 1, width=32)),
    "image": arrays(np.uint8, (2, 5, 5, 1)),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Artifacts whose features are the logits of each pass, and some that were trained."""
    folder = tmp_path_factory.mktemp("drawn")
    identities, trained = Workshop(folder), Workshop(tmp_path_factory.mktemp("trained"))
    made = {name: identities.identity(name, *given) for name, given in IDENTITIES.items()}
    return made | {plan.name: trained.make(plan) for plan in PLANS if plan.name in TRAINED}


@pytest.fixture(scope="module")
def client(cases: dict[str, Case]) -> Iterator[Client]:
    """A client of one real server that serves all of them."""
    with (
        run_server(*(case.exported.path for case in cases.values())) as server,
        Client(server.address) as client,
    ):
        yield client


def _compare(
    case: Case, client: Client, rows: NDArray[np.generic], costs: Costs, levels: NDArray[np.float32]
) -> None:
    """Ask the file with a coverage for each row, and the service with the first of them."""
    answers.check(case.onnx(rows, costs, levels), case.wanted(rows, costs, levels))
    policies = [
        Policy(name, cost, [f"action {a}" for a in range(cost.shape[-1])]) for name, cost in costs.items()
    ]
    coverage = float(levels[0])
    reply = client.predict(rows, case.manifest.name, policies=policies, coverage=coverage, outputs=ALL)
    answers.check(answers.of_reply(reply), case.wanted(rows, costs, coverage))


@pytest.mark.parametrize("name", IDENTITIES)
@settings(max_examples=50)
@given(data=st.data())
def test_any_probabilities_costs_and_coverages(
    name: str, data: st.DataObject, cases: dict[str, Case], client: Client
) -> None:
    """One to three policies of any actions, for all rows or each row, on any point of the simplex."""
    case = cases[name]
    classes = len(case.manifest.labels)
    p = data.draw(strategies.pass_rows(classes, IDENTITIES[name][2]))
    rows = np.log(p).astype(np.float32).reshape(len(p), -1)
    costs = data.draw(strategies.policies(classes, len(p)))
    levels = np.array(
        data.draw(st.lists(strategies.coverages, min_size=len(p), max_size=len(p))), np.float32
    )
    _compare(case, client, rows, costs, levels)


@pytest.mark.parametrize("name", TRAINED)
@settings(max_examples=25)
@given(data=st.data())
def test_any_rows_of_a_trained_network(
    name: str, data: st.DataObject, cases: dict[str, Case], client: Client
) -> None:
    """The same of rows that go through a network: undone and scaled, images of both types."""
    rows = data.draw(TRAINED[name])
    costs = data.draw(strategies.policies(len(cases[name].manifest.labels), len(rows)))
    levels = np.full(len(rows), data.draw(strategies.coverages), np.float32)
    _compare(cases[name], client, rows, costs, levels)


@given(strategies.simplex_rows(count=5))
def test_built_in_costs_give_mode_median_and_rounded_mean(
    cases: dict[str, Case], client: Client, p: NDArray[np.float64]
) -> None:
    """Zero-one, absolute and squared costs on the simplex, by the file and over the wire, but for ties."""
    case = cases["line"]
    rows = np.log(p).astype(np.float32)
    names = ("zero_one", "absolute", "quadratic")
    costs = {name: np.array(case.manifest.profiles[name].cost, np.float32) for name in names}
    file = case.onnx(rows, costs, 0.5)
    reply = answers.of_reply(client.predict(rows, "line", policies=names, outputs=ALL))
    for row, q in enumerate(p.tolist()):
        first, second = sorted(q, reverse=True)[:2]
        mean = oracle.expected_value(q, range(len(q)))
        right = {
            "zero_one": (q.index(first), first - second),
            "absolute": (oracle.median(q), min(abs(below - 0.5) for below in np.cumsum(q))),
            "quadratic": (int(mean + 0.5), abs(mean + 0.5 - round(mean + 0.5))),
        }
        for name, (label, from_tie) in right.items():
            if from_tie > answers.TOLERANCE:
                assert file.decisions[name].action[row] == reply.decisions[name].action[row] == label, name
