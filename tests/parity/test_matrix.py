"""Oracle = Keras = ONNX = gRPC over every loss, every head, both topologies, tables and images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from parity import answers
from parity.answers import ALL, Costs, Wanted
from parity.cases import FEATURES, Case, Workshop
from parity.plans import MORE_PLANS, PLANS
from servers import run_server

from pipeline import heads, losses
from serving.client import Client, Policy

BATCHES = {1: slice(5, 6), 3: slice(6, 9), 512: slice(0, 512)}
ACTIONS = ("page", "queue", "ignore")
COVERAGE = 0.8
cases = pytest.mark.parametrize("name", [plan.name for plan in PLANS])


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Every artifact by name."""
    workshop = Workshop(tmp_path_factory.mktemp("matrix"))
    return {plan.name: workshop.make(plan) for plan in PLANS}


@pytest.fixture(scope="module")
def client(matrix: dict[str, Case]) -> Iterator[Client]:
    """A client of one real server that serves all of them."""
    with (
        run_server(*(case.exported.path for case in matrix.values())) as server,
        Client(server.address) as client,
    ):
        yield client


class Asked(dict[str, Wanted]):
    """What the oracle says to 512 rows of each artifact under `_costs`, once it is asked."""

    def __init__(self, matrix: dict[str, Case]) -> None:
        self._matrix = matrix

    def __missing__(self, name: str) -> Wanted:
        case = self._matrix[name]
        self[name] = case.wanted(case.rows, _costs(case), COVERAGE)
        return self[name]


@pytest.fixture(scope="module")
def oracle(matrix: dict[str, Case]) -> Asked:
    """The oracle's answers, shared by the tests."""
    return Asked(matrix)


def _costs(case: Case) -> dict[str, NDArray[np.float32]]:
    """A profile, actions that are no labels, a profile with abstention, a matrix for each row."""
    random = np.random.default_rng(0)
    classes = len(case.manifest.labels)
    absolute, wary = (np.array(case.manifest.profiles[name].cost) for name in ("absolute", "asymmetric"))
    costs = {
        "absolute": absolute,
        "triage": random.integers(0, 9, (classes, 3)),
        "wary": np.column_stack([wary, np.full(classes, 0.75)]),
        "by_row": random.uniform(0, 9, (512, classes, 2)),
    }
    return {name: cost.astype(np.float32) for name, cost in costs.items()}


def _of(costs: Costs, rows: slice) -> Costs:
    return {name: cost[rows] if cost.ndim == 3 else cost for name, cost in costs.items()}


def _policies(costs: Costs) -> list[str | Policy]:
    return [
        "absolute",
        Policy("triage", costs["triage"], ACTIONS),
        Policy("wary", profile="asymmetric", abstain_cost=0.75),
        *([Policy("by_row", costs["by_row"], ("act", "wait"))] if "by_row" in costs else []),
    ]


@pytest.mark.parametrize("batch", BATCHES)
@cases
def test_one_answer_four_ways(
    name: str, batch: int, matrix: dict[str, Case], oracle: Asked, client: Client
) -> None:
    """Four policies in one request, all outputs: the oracle's from Keras, from the file, over the wire."""
    case, place = matrix[name], BATCHES[batch]
    rows, costs, wanted = case.rows[place], _of(_costs(case), place), oracle[name].of(place)
    answers.check(case.keras(rows, costs, COVERAGE), wanted)
    answers.check(case.onnx(rows, costs, COVERAGE), wanted)
    reply = client.predict(rows, name, policies=_policies(costs), coverage=COVERAGE, outputs=ALL)
    assert list(reply.decisions) == list(costs)
    answers.check(answers.of_reply(reply), wanted)


@cases
def test_a_stream_gives_the_same_answers(
    name: str, matrix: dict[str, Case], oracle: Asked, client: Client
) -> None:
    """Batches of 1, 3 and 512 rows on one stream, answered in order."""
    case = matrix[name]
    costs = {policy: cost for policy, cost in _costs(case).items() if cost.ndim == 2}
    replies = client.predict_stream(
        [case.rows[place] for place in BATCHES.values()],
        name,
        policies=_policies(costs),
        coverage=COVERAGE,
        outputs=ALL,
    )
    for place, reply in zip(BATCHES.values(), replies, strict=True):
        assert list(reply.decisions) == list(costs)
        answers.check(answers.of_reply(reply), oracle[name].of(place))


@pytest.mark.parametrize("name", [plan.name for plan in PLANS if plan.data == "table"])
def test_a_table_gives_the_same_answers(
    name: str, matrix: dict[str, Case], oracle: Asked, client: Client
) -> None:
    """Columns by name, in another order than the features have."""
    case, place = matrix[name], BATCHES[3]
    columns = {feature: case.rows[place, at] for at, feature in reversed([*enumerate(FEATURES)])}
    costs = _of(_costs(case), place)
    reply = client.predict(columns, name, policies=_policies(costs), coverage=COVERAGE, outputs=ALL)
    answers.check(answers.of_reply(reply), oracle[name].of(place))


@cases
def test_what_is_left_out_is_the_models_own(name: str, matrix: dict[str, Case], client: Client) -> None:
    """Neither policy nor coverage: the default profile decides, at the manifest's coverage."""
    case = matrix[name]
    rows = case.rows[BATCHES[3]]
    costs = {"absolute": _costs(case)["absolute"]}
    wanted = case.wanted(rows, costs, case.manifest.interval.coverage)
    answers.check(answers.of_graph(case.artifact.run({case.manifest.inputs[0].name: rows}), costs), wanted)
    answers.check(answers.of_reply(client.predict(rows, name, outputs=ALL)), wanted)


@cases
def test_calibration_scores_are_the_oracles(name: str, matrix: dict[str, Case]) -> None:
    """What thresholds are chosen from are the scores of the calibration rows' true labels."""
    case = matrix[name]
    conformal = case.exported.conformal
    rows = case.data.parts.calibration
    means = case.passes(case.data.features[rows]).mean(axis=1).tolist()
    wanted = sorted(
        answers.scores(p, case.topology, conformal)[y]
        for p, y in zip(means, case.data.y[rows], strict=True)
        if answers.settled(p, case.topology, conformal)
    )
    assert len(means) - 3 <= len(wanted) <= len(means) == len(conformal.calibration)
    left = iter(conformal.calibration)  # in their order, each one for one of those that are wanted
    assert all(any(abs(one - score) <= answers.TOLERANCE for one in left) for score in wanted)


def test_nothing_is_left_out(matrix: dict[str, Case]) -> None:
    """Every class of losses, on a ring of those that may be there, every head, all that follows them."""
    manifests = [case.manifest for case in matrix.values()]
    members = [member for manifest in manifests for member in manifest.members]
    named = {one.members[0][0] for one in (*PLANS, *MORE_PLANS)}
    assert named == set(losses.NAMES)
    assert {losses.method(one.loss.name).loss for one in members} == {one.loss for one in losses.METHODS}
    assert {member.head.name for member in members} == set(heads.NAMES)
    on_rings = [manifest for manifest in manifests if manifest.topology.kind == "cyclic"]
    of_rings = {losses.method(one.loss.name).loss for manifest in on_rings for one in manifest.members}
    assert of_rings == {method.loss for method in losses.METHODS if method.ring}
    assert {str(one.head.parameters.get("link")) for one in members} == {"None", "probit", "cloglog"}
    for some in (manifests, on_rings):
        assert {one.calibration.method for one in some} == {"none", "temperature", "vector"}
        assert {one.interval.kind for one in some} == {"central", "greedy"}
        assert {one.passes > 1 for one in some} == {len(one.members) > 1 for one in some} == {True, False}
        undone = {part for one in some for member in one.members for part in member.undone}
        assert undone == {"soft_labels", "class_weights"}
    assert {one.inputs[0].name for one in manifests} == {"numeric", "image"}
    assert {one.inputs[0].dtype for one in manifests} == {"float32", "uint8"}


def test_most_rows_are_no_ties(oracle: Asked, matrix: dict[str, Case]) -> None:
    """Nearly all decisions and intervals are compared: a tie is the exception."""
    decisions, intervals = [], []
    for name in matrix:
        wanted = oracle[name]
        decisions += [one.margin > answers.TOLERANCE for one in wanted.decisions.values()]
        intervals += [ends is not None for ends in wanted.interval]
    assert np.mean(decisions) > 0.99
    assert np.mean(intervals) > 0.95
