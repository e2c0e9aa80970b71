"""What a reply holds: chosen outputs, cost of every action, abstention, costs of each row, intervals."""

import itertools

import grpc
import numpy as np
import oracle
import pytest
from onnx import TensorProto, helper

from serving.client import Client, Policy
from serving.errors import InvalidRequest
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

LOOSE = 1e-5
ALL = ("probabilities", "expected_value", "decision", "action_costs", "interval", "uncertainty")
ROWS = np.random.default_rng(11).normal(size=(9, 4)).astype(np.float32)
SUBSETS = [subset for size in range(len(ALL) + 1) for subset in itertools.combinations(ALL, size)]


@pytest.fixture(scope="module")
def client(running):
    """A client of the shared server."""
    with Client(running.address) as client:
        yield client


@pytest.fixture(scope="module")
def stub(running):
    """The generated stub, of the shared server."""
    with grpc.insecure_channel(running.address) as channel:
        yield ordinal_pb2_grpc.OrdinalServiceStub(channel)


def wire_request(outputs, policies=("absolute", "triage")):
    """A request with these outputs, as a message."""
    return wire.PredictRequest(
        model="wine",
        tensor=wire.Tensor(dtype=wire.FLOAT32, shape=ROWS.shape, data=ROWS.tobytes()),
        policies=[wire.Policy(profile=name) for name in policies],
        outputs=outputs,
    )


@pytest.mark.parametrize("subset", SUBSETS, ids=" ".join)
def test_a_reply_holds_what_was_asked_for(stub, subset):
    """Each subset of outputs brings those fields and no other; none is all but action costs."""
    reply = stub.Predict(wire_request([name.upper() for name in subset]), timeout=20)
    wanted = set(subset) or set(ALL) - {"action_costs"}
    always = {"model", "version", "rows", "labels", "provider"}
    held = {field.name for field, _ in reply.ListFields()} - always
    of_policies = {"decision", "action_costs"}
    assert held == (wanted - of_policies) | ({"decisions"} if wanted & of_policies else set())
    assert reply.rows == len(ROWS)
    assert len(reply.labels) == 5
    for decision, actions in zip(reply.decisions, (5, 3), strict=False):
        parts = {"policy", "actions"}
        parts |= {"action", "expected_cost", "margin"} if "decision" in wanted else set()
        parts |= {"action_costs"} & wanted
        assert {field.name for field, _ in decision.ListFields()} == parts
        assert len(decision.actions) == actions
        assert len(decision.action_costs) == (len(ROWS) * actions if "action_costs" in wanted else 0)
    assert len(reply.decisions) == (2 if wanted & of_policies else 0)


def test_outputs_do_not_change_each_other(stub):
    """What is asked for alone equals what is asked for with all else, and twice is once."""
    every = stub.Predict(wire_request([name.upper() for name in ALL]), timeout=20)
    for name in ALL:
        alone = stub.Predict(wire_request([name.upper()] * 2), timeout=20)
        for field, value in alone.ListFields():
            if name not in ("decision", "action_costs") or field.name != "decisions":
                assert value == getattr(every, field.name)
        for one, other in zip(alone.decisions, every.decisions, strict=False):
            for field, value in one.ListFields():
                assert value == getattr(other, field.name)


@pytest.mark.parametrize("name", ALL)
def test_the_client_has_nothing_in_place_of_what_was_left_out(client, name):
    """Arrays are empty and parts are None where they were not asked for, and the repr can still be read."""
    answer = client.predict(ROWS, "wine", policies=["triage"], outputs=[name])
    assert len(answer) == answer.rows == len(ROWS)
    assert answer.probabilities.shape == ((9, 5) if name == "probabilities" else (0, 5))
    assert answer.expected_value.shape == ((9,) if name == "expected_value" else (0,))
    assert len(answer.most_probable) == (9 if name == "probabilities" else 0)
    assert (answer.interval is None) == (name != "interval")
    assert (answer.uncertainty is None) == (name != "uncertainty")
    assert answer.resultant is None
    assert list(answer.decisions) == (["triage"] if name in ("decision", "action_costs") else [])
    for decision in answer.decisions.values():
        rows = 9 if name == "decision" else 0
        assert decision.action.shape == decision.expected_cost.shape == decision.margin.shape == (rows,)
        assert len(decision.chosen) == rows
        assert (decision.action_costs is None) == (name == "decision")
    shown = repr(answer)
    assert shown.startswith("Prediction(wine version 0, 9 rows: ")
    assert ("no probabilities" in shown) == (name != "probabilities")
    assert ("Decision('triage': " in shown) == (name in ("decision", "action_costs"))
    assert ("Interval(0.8: " in shown) == (name == "interval")
    assert ("Uncertainty(0." in shown) == (name == "uncertainty")
    assert "[" not in shown


def test_the_repr_of_action_costs_alone_shows_something(client):
    """A decision without its actions does not look like one without rows."""
    answer = client.predict(ROWS, "wine", policies=["triage"], outputs=["action_costs"])
    assert repr(answer.decisions["triage"]) != "Decision('triage': )"


def test_the_cost_of_every_action_is_that_of_the_oracle(client, wine):
    """Each policy has the expected costs of its own actions, of which the decision's is least."""
    own = np.random.default_rng(3).uniform(0, 5, (5, 7)).astype(np.float32)
    names = [f"action {number}" for number in range(7)]
    policies = ["triage", Policy("own", own, names), "absolute", Policy("out", own, names, abstain_cost=2)]
    answer = client.predict(ROWS, "wine", policies=policies, outputs=["decision", "action_costs"])
    profiles = wine.manifest.profiles
    costs = {
        "triage": profiles["triage"].cost,
        "own": own,
        "absolute": profiles["absolute"].cost,
        "out": np.concatenate([own, np.full((5, 1), 2)], axis=1),
    }
    assert list(answer.decisions) == list(costs)
    for name, cost in costs.items():
        decision = answer.decisions[name]
        assert decision.action_costs.shape == (len(ROWS), len(decision.actions))
        assert decision.action_costs.dtype == np.float32
        expected = [oracle.expected_costs(p, cost) for p in wine.probabilities(ROWS)]
        np.testing.assert_allclose(decision.action_costs, expected, atol=LOOSE)
        np.testing.assert_array_equal(decision.action_costs.min(axis=1), decision.expected_cost)
        np.testing.assert_array_equal(decision.action_costs.argmin(axis=1), decision.action)
        runner_up = np.sort(decision.action_costs, axis=1)[:, 1]
        np.testing.assert_allclose(decision.margin, runner_up - decision.expected_cost, atol=LOOSE)


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_each_row_may_have_costs_of_its_own(client, wine, rows):
    """Costs (rows, K, A) decide each row by its own matrix, beside policies with one for all."""
    random = np.random.default_rng(rows)
    sent = random.normal(size=(rows, 4)).astype(np.float32)
    each = random.uniform(0, 5, (rows, 5, 3)).astype(np.float32)
    both = random.uniform(0, 5, (rows, 5, 2)).astype(np.float32)
    answer = client.predict(
        sent,
        "wine",
        policies=[
            Policy("each", each, ["a", "b", "c"]),
            "triage",
            Policy("both", both, ["x", "y"], abstain_cost=1.25),
        ],
        outputs=["decision", "action_costs"],
    )
    triage = wine.manifest.profiles["triage"].cost
    for row, p in enumerate(wine.probabilities(sent)):
        priced = np.concatenate([both[row], np.full((5, 1), 1.25)], axis=1)
        for name, cost in (("each", each[row]), ("triage", triage), ("both", priced)):
            decision = answer.decisions[name]
            np.testing.assert_allclose(
                decision.action_costs[row], oracle.expected_costs(p, cost), atol=LOOSE
            )
            best, margin = oracle.decision(p, cost)
            assert decision.margin[row] == pytest.approx(margin, abs=LOOSE)
            if margin > LOOSE:
                assert decision.action[row] == best
    assert answer.decisions["both"].actions == ("x", "y", "abstain")


def test_the_same_costs_for_each_row_are_those_for_all(client):
    """A matrix repeated for each row decides as the matrix itself."""
    cost = np.random.default_rng(8).uniform(0, 5, (5, 4)).astype(np.float32)
    names = list("abcd")
    one = client.predict(ROWS, "wine", policies=[Policy("p", cost, names)]).decisions["p"]
    each = np.broadcast_to(cost, (len(ROWS), 5, 4))
    many = client.predict(ROWS, "wine", policies=[Policy("p", each, names)]).decisions["p"]
    assert many.chosen == one.chosen
    np.testing.assert_allclose(many.expected_cost, one.expected_cost, atol=LOOSE)


@pytest.mark.parametrize("price", [0.0, 0.9, 1.1, 1.3, 100.0])
@pytest.mark.parametrize("profile", ["absolute", "triage"])
def test_abstention_is_chosen_where_it_costs_least(client, wine, profile, price):
    """A profile or own costs with `abstain_cost` abstain on just those rows where all else costs more."""
    known = wine.manifest.profiles[profile]
    policies = [
        Policy("by profile", profile=profile, abstain_cost=price),
        Policy("by cost", np.array(known.cost), known.actions, abstain_cost=price),
    ]
    answer = client.predict(ROWS, "wine", policies=policies)
    for decision in answer.decisions.values():
        assert decision.actions == (*known.actions, "abstain")
        for row, p in enumerate(wine.probabilities(ROWS)):
            costs = [*oracle.expected_costs(p, known.cost), price]
            lowest, second = sorted(costs)[:2]
            assert decision.expected_cost[row] == pytest.approx(lowest, abs=LOOSE)
            if second - lowest > LOOSE:
                assert decision.chosen[row] == decision.actions[costs.index(lowest)]
        assert price > 0 or decision.chosen == ["abstain"] * len(ROWS)
        assert price < 100 or "abstain" not in decision.chosen


@pytest.mark.parametrize("profile", ["absolute", "triage"])
def test_a_price_in_the_middle_tells_rows_apart(client, wine, profile):
    """Of rows whose lowest expected costs differ, those above the price abstain."""
    cost = wine.manifest.profiles[profile].cost
    lowest = np.array([min(oracle.expected_costs(p, cost)) for p in wine.probabilities(ROWS)])
    low, high = np.sort(lowest)[4:6]
    assert high - low > LOOSE
    price = (low + high) / 2
    answer = client.predict(ROWS, "wine", policies=[Policy("p", profile=profile, abstain_cost=price)])
    assert [action == "abstain" for action in answer.decisions["p"].chosen] == (lowest > price).tolist()


def test_abstention_loses_ties(client):
    """It is the last action, and a tie goes to the first of the lowest."""
    same = np.full((5, 2), 0.75)
    answer = client.predict(
        ROWS,
        "wine",
        policies=[
            Policy("tie", same, ["first", "second"], abstain_cost=0.75),
            Policy("zero", same * 0, ["first", "second"], abstain_cost=0),
            Policy("cheaper", same, ["first", "second"], abstain_cost=0.5),
        ],
    )
    for name in ("tie", "zero"):
        assert answer.decisions[name].chosen == ["first"] * len(ROWS)
        assert answer.decisions[name].margin.tolist() == [0] * len(ROWS)
    assert answer.decisions["cheaper"].chosen == ["abstain"] * len(ROWS)


def test_one_action_and_abstention_are_two(client):
    """An own policy of a single action may have an abstention beside it."""
    cost = np.array([[0], [1], [2], [3], [4]])
    answer = client.predict(ROWS, "wine", policies=[Policy("act", cost, ["act"], abstain_cost=1.5)])
    assert answer.decisions["act"].actions == ("act", "abstain")
    assert set(answer.decisions["act"].chosen) == {"act", "abstain"}


def test_a_profile_under_several_names(client):
    """The same profile may decide at several prices of abstention, each under a name of its own."""
    policies = ["absolute", *(Policy(f"at {p}", profile="absolute", abstain_cost=p) for p in (0.5, 1.2, 9))]
    answer = client.predict(ROWS, "wine", policies=policies)
    assert list(answer.decisions) == ["absolute", "at 0.5", "at 1.2", "at 9"]
    counts = [decision.chosen.count("abstain") for decision in answer.decisions.values()]
    assert counts[0] == counts[3] == 0
    assert counts[1] >= counts[2]
    assert answer.decisions["at 9"].chosen == answer.decisions["absolute"].chosen


def test_a_policy_without_a_name_has_that_of_its_rule(stub):
    """A profile's name, or "cost"."""
    request = wire_request(["DECISION"], ["triage"])
    request.policies.add(cost=wire.CostMatrix(cost=[1.0] * 25))
    reply = stub.Predict(request, timeout=20)
    assert [decision.policy for decision in reply.decisions] == ["triage", "cost"]


def expected_interval(p, coverage):
    """The test artifact's interval: (1 − coverage)/2 left out on each side."""
    below = np.cumsum(p)
    tail = (1 - coverage) / 2
    return min((below < tail).sum(), 4), min((below < 1 - tail).sum(), 4)


@pytest.mark.parametrize("coverage", [None, 0.01, 0.3, 0.5, 0.95, 0.999])
def test_the_interval_has_the_wanted_coverage(client, wine, coverage):
    """The interval is made by the request's coverage, or else the manifest's, and tells which."""
    answer = client.predict(ROWS, "wine", coverage=coverage)
    wanted = 0.8 if coverage is None else coverage
    assert answer.interval.coverage == wanted
    assert client.model("wine").coverage == wine.manifest.interval.coverage == 0.8
    expected = [expected_interval(p, wanted) for p in wine.probabilities(ROWS)]
    assert list(zip(answer.interval.lower, answer.interval.upper, strict=True)) == expected
    labels = wine.manifest.labels
    assert answer.interval.ends == [(labels[low], labels[high]) for low, high in expected]


@pytest.mark.parametrize("coverage", [1e-300, 1e-45, 1 - 1e-9, 1 - 2**-53])
def test_a_coverage_that_float32_cannot_tell_from_0_or_1_is_answered(client, coverage):
    """It lies between them, and is told as it was asked; the interval is still one."""
    answer = client.predict(ROWS, "wine", coverage=coverage)
    assert answer.interval.coverage == coverage
    assert (answer.interval.lower >= 0).all()
    assert (answer.interval.lower <= answer.interval.upper).all()
    assert (answer.interval.upper < 5).all()


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 2.0, np.nan])
def test_a_coverage_outside_is_refused(client, coverage):
    """Coverage lies between 0 and 1, also where no interval is asked for."""
    for outputs in ((), ("decision",)):
        with pytest.raises(InvalidRequest, match=r"^coverage: must lie between 0 and 1, got") as caught:
            client.predict(ROWS, "wine", coverage=coverage, outputs=outputs)
        assert caught.value.field == "coverage"


def test_uncertainty_is_that_of_the_oracle(client, wine):
    """Aleatoric is mean F(1 − F) over the K − 1 thresholds; a single pass has no epistemic part."""
    answer = client.predict(ROWS, "wine")
    # The test artifact means over all K labels, of which the last adds nothing.
    expected = [oracle.uncertainty([p], ring=False)[0] * 4 / 5 for p in wine.probabilities(ROWS)]
    np.testing.assert_allclose(answer.uncertainty.aleatoric, expected, atol=LOOSE)
    assert answer.uncertainty.epistemic.tolist() == [0] * len(ROWS)
    assert answer.uncertainty.aleatoric.dtype == np.float32


def test_the_resultant_comes_with_the_expected_value(make, serving_of, tmp_path):
    """Of cyclic labels a reply has both or neither."""

    def with_resultant(graph):
        graph.node.append(
            helper.make_node("ReduceMax", ["probabilities", "axis1"], ["resultant"], keepdims=0)
        )
        graph.output.append(helper.make_tensor_value_info("resultant", TensorProto.FLOAT, ["batch"]))

    ring = {"kind": "cyclic", "period": 16.0}
    made = make(tmp_path / "ring.onnx", edit=with_resultant, topology=ring)
    with serving_of(made.path) as server, Client(server.address) as client:
        whole = client.predict(ROWS)
        np.testing.assert_allclose(whole.resultant, made.probabilities(ROWS).max(axis=1), atol=LOOSE)
        assert client.predict(ROWS, outputs=["probabilities", "interval"]).resultant is None
        both = client.predict(ROWS, outputs=["expected_value"])
        np.testing.assert_array_equal(both.resultant, whole.resultant)
        assert both.probabilities.shape == (0, 5)


def test_reprs_are_readable(client):
    """Parts are told by name, five rows of each and how many more."""
    answer = client.predict(ROWS, "wine", policies=["triage"], coverage=0.5)
    lower, upper = answer.interval.ends[0]
    assert repr(answer.interval).startswith(f"Interval(0.5: {lower} … {upper}, ")
    assert repr(answer.interval).endswith(", … 4 more)")
    aleatoric = answer.uncertainty.aleatoric[0]
    assert repr(answer.uncertainty).startswith(f"Uncertainty({aleatoric:.3f} + 0.000, ")
    assert repr(answer.uncertainty).endswith(", … 4 more)")
    for part in (answer.interval, answer.uncertainty, *answer.decisions.values()):
        assert repr(part) in repr(answer)
