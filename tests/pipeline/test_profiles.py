"""Cost profiles of one's own: what fits the labels, what is decided, and what decisions cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from trained import Exported, described, train_and_export

from pipeline import metrics
from pipeline.config import Config, Decision
from pipeline.costs import Profile, profiles
from pipeline.data import Dataset
from pipeline.errors import InputError
from pipeline.evaluate import Evaluation, evaluate
from pipeline.report import figures, tables
from pipeline.sweep import planning
from pipeline.topology import Topology
from serving.artifact import Artifact

LABELS = ("low", "middle", "high")
TRIAGE = {
    "actions": ["page", "queue", "ignore"],
    "cost": [[9.0 - k, abs(k - 4.0), 2.0 * k] for k in range(10)],
    "abstain": 1.5,
}


def _profile(**given: Any) -> Profile:
    """The profile `own` of a config, for three labels."""
    decision = Decision.model_validate({"profiles": {"own": given}})
    return profiles(decision, Topology.of(range(3)), LABELS)["own"]


def test_an_abstention_is_one_more_action() -> None:
    """It comes last and costs the same whatever the true label."""
    profile = _profile(actions=["yes", "no"], cost=[[0, 5], [1, 1], [5, 0]], abstain=0.5)
    assert profile.actions == ("yes", "no", "abstain")
    assert profile.cost.tolist() == [[0, 5, 0.5], [1, 1, 0.5], [5, 0, 0.5]]
    assert not profile.decides_labels


@pytest.mark.parametrize("given", [{}, {"actions": LABELS}])
def test_actions_may_be_the_labels(given: dict[str, Any]) -> None:
    """Left out or written out; with an abstention there is one that is no label."""
    profile = _profile(cost=np.eye(3).tolist(), **given)
    assert profile.actions == LABELS
    assert profile.decides_labels
    assert not _profile(cost=np.eye(3).tolist(), abstain=1, **given).decides_labels


def test_as_many_actions_as_labels_need_not_be_labels() -> None:
    """What they are called decides; the labels in another order are actions too."""
    assert not _profile(actions=["a", "b", "c"], cost=np.eye(3).tolist()).decides_labels
    assert not _profile(actions=LABELS[::-1], cost=np.eye(3).tolist()).decides_labels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cost": [[0, 1, 1], [1, 0, 1]]}, r"cost must have a row for each of the 3 labels, it has 2"),
        (
            {"cost": [[0, 1]] * 3},
            r"must have 3 entries where the actions are the labels, they have 2; name",
        ),
        (
            {"actions": ["act", "abstain"], "cost": [[0, 1]] * 3, "abstain": 1},
            r"abstain adds an action 'abstain', but there is one in \['act', 'abstain'\]; rename",
        ),
        ({"actions": ["a", "b"], "cost": [[0, 1e30]] * 3}, r"is 1e\+30, must be below 1e\+30"),
        ({"cost": np.eye(3).tolist(), "abstain": 1e31}, r"is 1e\+31, must be below 1e\+30"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    """The sentence names the profile, what must hold and what came."""
    with pytest.raises(InputError, match=rf"^decision.*own.*{message}"):
        _profile(**given)


@pytest.fixture(scope="module")
def triage(config: Config) -> Config:
    """The digits under costs of three actions and an abstention."""
    decision = Decision.model_validate({"profile": "triage", "profiles": {"triage": TRIAGE}})
    return config.model_copy(update={"decision": decision})


@pytest.fixture(scope="module")
def decided(triage: Config, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network trained on the digits, and its artifact."""
    return train_and_export(triage, data, tmp_path_factory.mktemp("triage"))


@pytest.fixture(scope="module")
def evaluation(decided: Exported, data: Dataset) -> Evaluation:
    """Of the artifact, on the test part."""
    return evaluate(Artifact(decided.path, "cpu"), data)


def _decisions(decided: Exported, data: Dataset) -> list[int]:
    rows = {"image": data.features[data.parts.test]}
    return Artifact(decided.path, "cpu").run(rows).decision[:, 0].tolist()


def test_the_artifact_decides_for_its_own_actions(decided: Exported, data: Dataset) -> None:
    """Left without costs, the file takes the action that the slow twin takes, abstaining included."""
    profile = decided.manifest.profiles[decided.manifest.default_profile]
    assert profile.actions == ("page", "queue", "ignore", "abstain")
    answer = Artifact(decided.path, "cpu").run({"image": data.features[data.parts.test]})
    for p, cost, action in zip(answer.probabilities, answer.expected_cost, answer.decision, strict=True):
        wanted, margin = oracle.decision(p.tolist(), profile.cost)
        assert action[0] == wanted or margin < 1e-5
        assert cost[0].tolist() == pytest.approx(oracle.expected_costs(p.tolist(), profile.cost), abs=1e-5)


def test_abstentions_cost_what_they_cost(decided: Exported, evaluation: Evaluation, data: Dataset) -> None:
    """The realised cost is the mean of the table's entries, and the share of abstentions is told."""
    cost = [[*row, TRIAGE["abstain"]] for row in TRIAGE["cost"]]  # type: ignore[misc]
    decisions = _decisions(decided, data)
    paid = [cost[y][action] for y, action in zip(data.y[data.parts.test], decisions, strict=True)]
    share = decisions.count(3) / len(decisions)
    assert 0 < share < 1
    assert evaluation.metrics["triage/abstained"] == evaluation.abstained["triage"] == pytest.approx(share)
    assert evaluation.metrics["triage/realised_cost"] == pytest.approx(sum(paid) / len(paid))
    assert list(evaluation.abstained) == ["triage"]


def test_the_default_profile_has_one_realised_cost(evaluation: Evaluation) -> None:
    """Under its own name and under that of the profile, the very number: that of the file's decisions."""
    for name in ("realised_cost", "expected_cost"):
        assert evaluation.metrics[name] == evaluation.metrics[f"triage/{name}"]
    assert evaluation.metrics["realised_cost"] != evaluation.metrics["absolute/realised_cost"]


def test_wider_profiles_leave_the_others_alone(
    decided: Exported, evaluation: Evaluation, data: Dataset
) -> None:
    """What fills up a narrower profile is never decided: all costs are as if each stood alone."""
    rows, y = data.features[data.parts.test], data.y[data.parts.test]
    for name, profile in decided.manifest.profiles.items():
        cost = np.array(profile.cost)
        alone = Artifact(decided.path, "cpu").run(
            {"image": rows}, cost[np.newaxis, np.newaxis].astype("f4")
        )
        realised = metrics.realised_cost(y, alone.decision[:, 0], cost)
        assert evaluation.metrics[f"{name}/realised_cost"] == pytest.approx(realised), name


def test_labels_are_still_scored(decided: Exported, evaluation: Evaluation, data: Dataset) -> None:
    """Beside actions that are no labels, errors of labels are those of the median."""
    rows, y = data.features[data.parts.test], data.y[data.parts.test]
    p = Artifact(decided.path, "cpu").run({"image": rows}).probabilities.tolist()
    errors = [abs(oracle.median(row) - true) for row, true in zip(p, y, strict=True)]
    assert evaluation.metrics["mae"] == pytest.approx(np.mean(errors), abs=0.01)


def test_the_confusion_has_actions_as_columns(
    decided: Exported, evaluation: Evaluation, data: Dataset
) -> None:
    """Counts, table and picture have ten labels and four actions."""
    actions = decided.manifest.profiles["triage"].actions
    counts = evaluation.confusion
    decisions = _decisions(decided, data)
    assert counts.shape == (10, 4)
    assert counts.sum(axis=0).tolist() == [decisions.count(action) for action in range(4)]
    assert counts.sum(axis=1).tolist() == np.bincount(data.y[data.parts.test]).tolist()
    rows = tables.confusion_rows(counts, decided.manifest.labels, actions)
    assert [row["true label"] for row in rows] == list(decided.manifest.labels)
    assert [row["decided abstain"] for row in rows] == counts[:, 3].tolist()
    axes = figures.confusion(counts, decided.manifest.labels, actions, "test").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(actions)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(decided.manifest.labels)


def test_parameters_name_the_profiles(triage: Config, data: Dataset) -> None:
    """A run is told their names; the matrices stand in the manifest."""
    logged = tables.parameters(triage, data)
    assert logged["decision.profiles"] == ["triage"]
    assert logged["decision.profile"] == "triage"
    assert described(triage, data).profiles["triage"].cost[9] == (0, 5, 18, 1.5)


@pytest.mark.parametrize("loss", ["expected_cost", {"name": "expected_cost", "cost": "triage"}])
def test_a_loss_of_costs_needs_labels_as_actions(loss: object, triage: Config, data: Dataset) -> None:
    """The default profile and one that is named are refused alike; another one can be given."""
    search = {"losses": [loss], "trials": 1}
    config = Config.model_validate({**triage.model_dump(), "search": search})
    message = (
        r"the actions of profile 'triage' are not the labels; .*\(allowed: zero_one, .*, or a matrix\)"
    )
    with pytest.raises(InputError, match=message):
        planning.plan(config, data)
    search = {"losses": [{"name": "expected_cost", "cost": "absolute"}], "trials": 1}
    assert planning.plan(Config.model_validate({**triage.model_dump(), "search": search}), data)


def test_a_loss_can_learn_a_profile_of_labels(data: Dataset) -> None:
    """A matrix of one's own with the labels as actions is what `expected_cost` weighs with."""
    cost = (1 - np.eye(10)).tolist()
    config = Config.model_validate(
        {
            "name": "t",
            "data": {"source": "digits"},
            "search": {"losses": ["expected_cost"], "trials": 1},
            "decision": {"profile": "own", "profiles": {"own": {"cost": cost}}},
        }
    )
    (trial,) = planning.plan(config, data)
    assert planning.build_loss(trial.loss, config, data).get_config()["cost"] == cost
