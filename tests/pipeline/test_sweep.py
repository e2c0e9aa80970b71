"""Which trials there are."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.errors import InputError
from pipeline.report.tables import trial_parameters
from pipeline.sweep import planning


def _config(search: dict[str, Any], **sections: object) -> Config:
    return Config.model_validate({"name": "t", "data": {"source": "digits"}, "search": search, **sections})


def test_each_round_is_every_loss_with_the_next_seed(data: Dataset) -> None:
    """Two losses and five trials: two whole rounds, and the first loss once more."""
    losses = ["cross_entropy", {"name": "distance_penalty", "weights": "quadratic"}]
    trials = planning.plan(_config({"losses": losses, "trials": 5, "seed": 7}), data)
    assert [(t.number, t.loss.name, t.seed) for t in trials] == [
        (0, "cross_entropy", 7),
        (1, "distance_penalty", 7),
        (2, "cross_entropy", 8),
        (3, "distance_penalty", 8),
        (4, "cross_entropy", 9),
    ]
    assert trials[1].title == "distance_penalty(weights=quadratic), seed 7"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"heads": ["sofmax"]}, r"no head is named 'sofmax'; did you mean 'softmax'\?"),
        (
            {"losses": ["cross_entropy", "expected_value"], "trials": 1},
            "trials is 1, but there are 2 pairs",
        ),
        ({"losses": ["cross_entropy", "unheard_of"]}, "no loss is named 'unheard_of'"),
    ],
)
def test_a_search_that_cannot_be_is_refused(data: Dataset, search: dict[str, Any], message: str) -> None:
    """An unknown head or loss, and a loss that would never be tried, are told before training."""
    with pytest.raises(InputError, match=message):
        planning.plan(_config(search), data)


def test_a_cnn_needs_images(table: object) -> None:
    """A backbone that cannot read the rows is told before training."""
    from pipeline.data import load

    config = Config.model_validate(
        {"name": "t", "data": {"source": str(table)}, "model": {"backbone": "cnn"}}
    )
    with pytest.raises(InputError, match="'cnn' needs images"):
        planning.plan(config, load(config))


def test_the_costs_of_a_loss_are_logged_by_name(data: Dataset) -> None:
    """The parameters of a trial name the profile that its loss has learned, not K × K numbers."""
    losses = ["expected_cost", {"name": "expected_cost", "cost": "quadratic", "lam": 1.0}]
    matrix = [[0.0 if i == j else 1.0 for j in range(10)] for i in range(10)]
    config = _config({"losses": [*losses, {"name": "expected_cost", "cost": matrix}], "trials": 3})
    trials = planning.plan(config, data)
    logged = [
        trial_parameters(config, data, one, planning.build_loss(one.loss, config, data)) for one in trials
    ]
    assert [one["loss.cost"] for one in logged] == ["absolute", "quadratic", "a matrix of the config"]
    assert [one["loss.lam"] for one in logged] == [0.5, 1.0, 0.5]
    assert not any(one["loss.proper"] for one in logged)
