"""What is drawn for a trial, and when one is pruned."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import Config
from pipeline.sweep import Pair, Trial
from pipeline.sweep.study import LEAST_ENDED, State, Study


def _config(**search: Any) -> Config:
    return Config.model_validate({"name": "t", "data": {"source": "digits"}, "search": search})


def _pairs(config: Config) -> list[Pair]:
    return [Pair(loss, head) for loss in config.search.losses for head in config.search.heads]


RANGED = {
    "losses": ["rps", {"name": "cdw_ce", "alpha": {"low": 1.0, "high": 5.0}}],
    "trials": 30,
    "space": {
        "dropout": {"low": 0.0, "high": 0.5},
        "hidden": {"choices": [[8], [16, 16]]},
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "batch_size": {"low": 16, "high": 256},
    },
}


def _cost(trial: Trial) -> float:
    """Return a cost that is least for one loss and little dropout."""
    return dict(trial.settings)["dropout"] + (0.3 if trial.loss.name == "rps" else 0.0)


def _run(config: Config, numbers: range, study: Study | None = None) -> list[Trial]:
    study = study or Study(config, _pairs(config))
    done = []
    for number in numbers:
        trial = study.draw(number)
        study.end(number, State.COMPLETE, _cost(trial))
        done.append(trial)
    return done


def test_a_grid_is_every_pair_with_the_next_seed() -> None:
    """Without ranges nothing is drawn: pairs in turn, and each round has its own seed."""
    config = _config(losses=["rps", "cross_entropy"], trials=5, seed=7)
    study = Study(config, _pairs(config))
    trials = [study.draw(number) for number in range(5)]
    assert [(t.loss.name, t.seed) for t in trials] == [
        ("rps", 7),
        ("cross_entropy", 7),
        ("rps", 8),
        ("cross_entropy", 8),
        ("rps", 9),
    ]
    assert trials[0].applied(config) == config


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_pair_comes_once_before_any_is_drawn(sampler: str) -> None:
    """The first trials are one of each loss; all that has a range is within it."""
    config = _config(**RANGED, sampler=sampler)
    trials = _run(config, range(12))
    assert [t.loss.name for t in trials[:2]] == ["rps", "cdw_ce"]
    for trial in trials:
        own = trial.applied(config)
        assert 0 <= own.model.dropout <= 0.5
        assert own.model.hidden in ((8,), (16, 16))
        assert 1e-4 <= own.search.learning_rate <= 1e-1
        assert own.search.batch_size in range(16, 257)
        if trial.loss.name == "cdw_ce":
            assert 1 <= trial.loss.parameters["alpha"] <= 5
    assert len({t.applied(config).search.learning_rate for t in trials}) == 12
    assert "dropout=" in trials[0].title


def test_the_estimator_goes_where_it_was_cheap() -> None:
    """After as many random trials, those drawn by tpe are cheaper on average."""
    config = _config(**RANGED)
    trials = _run(config, range(30))
    late, early = trials[15:], trials[:8]
    assert sum(map(_cost, late)) / len(late) < sum(map(_cost, early)) / len(early)


@pytest.mark.parametrize("stopped", [1, 3, 9])
def test_a_study_that_is_told_again_goes_on_as_the_first_would_have(stopped: int) -> None:
    """Another process that knows what was drawn, and what came of it, draws the same trials after that."""
    config = _config(**RANGED)
    whole = _run(config, range(12))
    first = Study(config, _pairs(config))
    _run(config, range(stopped), first)
    second = Study(config, _pairs(config))
    for number in range(stopped):
        second.redraw(whole[number], first.drawn_for(number))
        second.end(number, State.COMPLETE, _cost(whole[number]))
    assert _run(config, range(stopped, 12), second) == whole[stopped:]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_a_gap_is_filled_with_another_training(sampler: str) -> None:
    """A trial that was not begun when others after it had ended has a seed that none of them has."""
    config = _config(trials=8, sampler=sampler)
    first = Study(config, _pairs(config))
    trials = [first.draw(number) for number in range(4)]
    second = Study(config, _pairs(config))
    for trial in (trials[0], trials[1], trials[3]):
        second.redraw(trial, first.drawn_for(trial.number))
    rest = [second.draw(number) for number in (2, 4, 5)]
    seeds = [trial.seed for trial in (trials[0], trials[1], trials[3], *rest)]
    assert len(set(seeds)) == 6
    if sampler == "grid":
        assert rest[0] == trials[2]


def test_the_same_choice_again_has_the_next_seed() -> None:
    """With a handful of choices a trial may be drawn again, and is then another training."""
    config = _config(trials=20, space={"hidden": {"choices": [[8], [16]]}}, sampler="random")
    study = Study(config, _pairs(config))
    trials = [study.draw(number) for number in range(20)]
    assert len({(t.settings[0][1][0], t.seed) for t in trials}) == 20


def test_only_the_worse_half_is_pruned_and_not_too_early() -> None:
    """Five trials must have ended and `patience` epochs have passed; then a trial above the median ends."""
    config = _config(trials=10, patience=4)
    study = Study(config, _pairs(config))
    for number in range(LEAST_ENDED):
        study.draw(number)
        for epoch in range(10):
            assert not study.is_unpromising(number, epoch, number)
        study.end(number, State.COMPLETE, number)
    median = (LEAST_ENDED - 1) / 2
    for number, cost, verdict in ((5, median + 0.1, True), (6, median - 0.1, False)):
        study.draw(number)
        assert [study.is_unpromising(number, epoch, cost) for epoch in (0, 3)] == [False, False]
        assert study.is_unpromising(number, 4, cost) == verdict
        study.end(number, State.PRUNED)


def test_nothing_is_pruned_where_nobody_wants_it() -> None:
    """With pruning = "none" the worst trial goes on."""
    config = _config(trials=10, patience=1, pruning="none")
    study = Study(config, _pairs(config))
    for number in range(7):
        study.draw(number)
        assert not any(study.is_unpromising(number, epoch, number) for epoch in range(5))
        study.end(number, State.COMPLETE, number)
