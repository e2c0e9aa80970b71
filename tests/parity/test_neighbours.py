"""A row's answer does not depend on its neighbours: those of its batch, and those of other requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from numpy.typing import NDArray
from parity import answers
from parity.answers import ALL, Costs
from parity.cases import FEATURES, Case, Workshop
from parity.plans import PLANS
from servers import run_server

from serving import batching
from serving.artifact import Answer, Artifact
from serving.batching import Question
from serving.client import Client, Policy
from serving.errors import InvalidRequest

NAMES = ("line-rps", "several-passes", "ring", "image-passes")
PLACES = (0, 255, 511)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """A plain artifact, a stochastic one, a ring, and one of images."""
    workshop = Workshop(tmp_path_factory.mktemp("neighbours"))
    return {plan.name: workshop.make(plan) for plan in PLANS if plan.name in NAMES}


@pytest.fixture(scope="module")
def client(cases: dict[str, Case]) -> Iterator[Client]:
    """A client of one real server, which joins as many rows as there are."""
    paths = [case.exported.path for case in cases.values()]
    with run_server(*paths, batch="on", max_batch_rows=4096) as server, Client(server.address) as client:
        yield client


def _costs(case: Case, rows: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Two policies, each with a matrix for each row."""
    random = np.random.default_rng(seed)
    classes = len(case.manifest.labels)
    return {
        "real": random.uniform(0, 9, (rows, classes, 4)).astype(np.float32),
        "whole": random.integers(0, 9, (rows, classes, 3)).astype(np.float32),
    }


def _policies(costs: Costs) -> list[Policy]:
    return [
        Policy(name, cost, [f"action {a}" for a in range(cost.shape[-1])]) for name, cost in costs.items()
    ]


def _one(costs: Costs, row: int) -> Costs:
    return {name: cost[row : row + 1] for name, cost in costs.items()}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_and_among_others(
    name: str, place: int, cases: dict[str, Case], client: Client
) -> None:
    """First, in the middle and last of 512 rows that have other costs and coverages, as it is alone."""
    case = cases[name]
    costs = _costs(case, 512, seed=place)
    levels = np.random.default_rng(place).uniform(0.05, 0.95, 512).astype(np.float32)
    own, row, level = _one(costs, place), case.rows[place : place + 1], float(levels[place])
    wanted = case.wanted(row, own, level)
    answers.check(case.onnx(row, own, level), wanted)
    (spec,) = case.manifest.inputs
    among = case.artifact.run({spec.name: case.rows}, answers.stacked(costs), levels)
    answers.check(answers.of_graph(among.of(slice(place, place + 1)), own), wanted)
    for rows, asked, at in ((row, own, 0), (case.rows, costs, place)):
        reply = client.predict(rows, name, policies=_policies(asked), coverage=level, outputs=ALL)
        answers.check(answers.of_reply(reply).of(slice(at, at + 1)), wanted)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "image-passes"])
def test_neighbours_that_overflow_harm_nobody(name: str, cases: dict[str, Case]) -> None:
    """Rows so large that the network's answer to them is no number leave the others as they are."""
    case = cases[name]
    rows = case.rows.copy()
    rows[1::2] = np.where(rows[1::2] > 0, 3e38, -3e38)
    costs = {policy: cost[0] for policy, cost in _costs(case, 1, seed=0).items()}
    (spec,) = case.manifest.inputs
    answer = case.artifact.run({spec.name: rows}, answers.stacked(costs), np.array([0.8], np.float32))
    whole = Answer(*(None if one is None else one[::2] for one in answer))
    answers.check(answers.of_graph(whole, costs), case.wanted(rows[::2], costs, 0.8))


@pytest.mark.parametrize("name", NAMES)
def test_requests_that_are_joined_get_their_own_answers(name: str, cases: dict[str, Case]) -> None:
    """Of 1, 3, 40 and 7 rows, with costs for all or for each row, and a coverage of each request."""
    case = cases[name]
    (spec,) = case.manifest.inputs
    asked, questions, start = [], [], 0
    for number, size in enumerate((1, 3, 40, 7)):
        costs = _costs(case, size if number % 2 else 1, seed=number)
        rows, level = case.rows[start : start + size], 0.5 + number / 10
        start += size
        asked.append(
            (rows, {policy: cost if number % 2 else cost[0] for policy, cost in costs.items()}, level)
        )
        coverage = np.array([level], np.float32)
        questions.append(Question(case.artifact, {spec.name: rows}, answers.stacked(costs), coverage))
    whole = batching.joined(questions)
    answer = case.artifact.run(whole.rows, whole.cost, whole.coverage)
    parts = batching.parted(answer, [len(one) for one in questions])
    for (rows, costs, level), part in zip(asked, parts, strict=True):
        answers.check(answers.of_graph(part, costs), case.wanted(rows, costs, level))


@dataclass(frozen=True)
class Caller:
    """One of many who ask at once."""

    number: int
    case: Case

    @cached_property
    def _random(self) -> np.random.Generator:
        return np.random.default_rng(self.number)

    @cached_property
    def rows(self) -> NDArray[np.generic]:
        """Some rows, from one on."""
        start, size = self._random.integers(0, 400), int(self._random.choice([1, 3, 30]))
        return self.case.rows[start : start + size]

    @cached_property
    def coverage(self) -> float:
        """The caller's own."""
        return float(np.float32(self._random.uniform(0.1, 0.95)))

    @cached_property
    def costs(self) -> Costs:
        """One or two policies, for all rows or for each one."""
        costs = _costs(self.case, len(self.rows), self.number)
        if self.number % 3 == 0:
            costs = {policy: cost[0] for policy, cost in costs.items()}
        return {"whole": costs["whole"]} if self.number % 4 == 0 else costs

    def ask(self, client: Client) -> bool:
        """Ask and compare; return False where the request, every seventh, is malformed and was refused."""
        rows, policies = self.rows, _policies(self.costs)
        sent = rows
        if self.case.manifest.inputs[0].name == "numeric" and self.number % 2:
            sent = {feature: rows[:, at] for at, feature in reversed([*enumerate(FEATURES)])}
        if self.number % 7 == 0:
            wrong: Sequence[Policy] = [Policy("wrong", profile="nobody's")]
            if self.number % 2:
                wrong = [Policy("wrong", -np.ones_like(self.costs["whole"]), ["a", "b", "c"])]
            with pytest.raises(InvalidRequest, match=r"nobody's|every cost must be a number"):
                client.predict(sent, self.case.manifest.name, policies=[*policies, *wrong])
            return False
        reply = client.predict(
            sent,
            self.case.manifest.name,
            policies=policies,
            coverage=self.coverage,
            outputs=ALL,
            request_id=str(self.number),
            timeout=60,
        )
        assert (reply.request_id, len(reply)) == (str(self.number), len(rows))
        answers.check(answers.of_reply(reply), self.case.wanted(rows, self.costs, self.coverage))
        return True


def test_requests_at_once_get_what_each_gets_alone(
    cases: dict[str, Case], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other models, costs, coverages and counts of policies, some malformed: each has its own answer."""
    run, join, together = Artifact.run, batching.joined, []

    def slow(self: Artifact, *given: object) -> Answer:
        time.sleep(0.02)  # so that requests wait for each other
        return run(self, *given)

    def noted(questions: Sequence[Question]) -> Question:
        together.append({float(one.coverage[0]) for one in questions})
        return join(questions)

    monkeypatch.setattr(Artifact, "run", slow)
    monkeypatch.setattr(batching, "joined", noted)
    callers = [Caller(number, cases[NAMES[number // 2 % len(NAMES)]]) for number in range(112)]
    for caller in callers:
        assert caller.costs  # made before anybody asks
    with ThreadPoolExecutor(28) as threads:
        answered = [*threads.map(lambda caller: caller.ask(client), callers)]
    assert sum(answered) == 112 - 16
    assert max(map(len, together)) > 1  # requests of different coverages have shared a run
