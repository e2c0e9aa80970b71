"""What is drawn for the next trial, and which trial is not worth finishing: Optuna's part."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from pipeline.config import Config, Named, Range
from pipeline.sweep.trial import Pair, Trial

LEAST_ENDED = 5
"""Trials that must have ended before one is pruned."""
State = TrialState


class Study:
    """The trials of one run: each is drawn, told of while it trains, and ended.

    Each pair of loss and head comes once before anything is drawn. A draw depends on the seed, its number
    and the trials that have ended by then, and on no generator's past: a study that is told again what an
    earlier process saw goes on as that one would have.
    """

    def __init__(self, config: Config, pairs: Sequence[Pair]) -> None:
        self._search = config.search
        self._pairs = {str(pair): pair for pair in pairs}
        self._trials: dict[int, optuna.Trial] = {}
        self._drawn: Counter[str] = Counter()
        optuna.logging.set_verbosity(logging.WARNING)  # every trial is told of by those who run it
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if self._search.pruning == "median":
            pruner = optuna.pruners.MedianPruner(LEAST_ENDED, n_warmup_steps=self._search.patience)
        self._study = optuna.create_study(pruner=pruner)

    def draw(self, number: int) -> Trial:
        """Return a trial to be done: the one with this number, from 0."""
        known = {}
        if self._search.draws == "grid" or number < len(self._pairs):
            known["pair"] = list(self._pairs)[number % len(self._pairs)]
        chosen, settings = self._asked(number, known)
        same = repr((chosen, settings))
        # In a grid a round is a seed, whatever has been drawn by then.
        place = number // len(self._pairs) if self._search.draws == "grid" else self._drawn[same]
        self._drawn[same] += 1
        return Trial(number, chosen, self._search.seed + place, settings)

    def redraw(self, trial: Trial, drawn: Mapping[str, Any]) -> None:
        """Take up a trial that an earlier process drew, with `drawn_for` as it was there."""
        same = repr(self._asked(trial.number, dict(drawn)))
        self._drawn[same] = max(self._drawn[same], trial.seed - self._search.seed + 1)

    def _asked(self, number: int, known: dict[str, Any]) -> tuple[Pair, tuple[tuple[str, Any], ...]]:
        """Return what the sampler draws where it is not known."""
        self._study.sampler = self._sampler(number)
        self._study.enqueue_trial(known)
        one = self._trials[number] = self._study.ask()
        pair = self._pairs[one.suggest_categorical("pair", list(self._pairs))]
        chosen = Pair(
            _chosen(one, str(pair), pair.loss), _chosen(one, f"{pair} head", pair.head), pair.usual
        )
        ranges = self._search.space.ranges.items()
        return chosen, tuple((key, _suggested(one, key, values)) for key, values in ranges)

    def drawn_for(self, number: int) -> dict[str, Any]:
        """Return what was drawn for a trial, as `redraw` takes it."""
        return self._trials[number].params

    def is_unpromising(self, number: int, epoch: int, cost: float) -> bool:
        """Note the realised validation cost of an epoch; return whether the trial may be ended."""
        self._trials[number].report(cost, epoch)
        return self._trials[number].should_prune()

    def end(self, number: int, state: State, cost: float | None = None) -> None:
        """Note how a trial ended: COMPLETE with its realised validation cost, PRUNED or FAIL without."""
        self._study.tell(self._trials[number], cost, state)

    def _sampler(self, number: int) -> BaseSampler:
        seed = self._search.seed + number
        if self._search.draws != "tpe":
            return RandomSampler(seed)
        with warnings.catch_warnings():
            # Trials at the same time shall not all try the same; it is called experimental since 2021.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(
                seed=seed, n_startup_trials=max(LEAST_ENDED, len(self._pairs)), constant_liar=True
            )


def _chosen(trial: optuna.Trial, where: str, named: Named) -> Named:
    values = {key: _suggested(trial, f"{where}: {key}", values) for key, values in named.ranges.items()}
    return named.chosen(values) if values else named


def _suggested(trial: optuna.Trial, name: str, values: Range) -> Any:
    if values.choices:
        by_text = {str(choice): choice for choice in values.choices}  # Optuna's own are plain values
        return by_text[trial.suggest_categorical(name, list(by_text))]
    assert values.low is not None
    assert values.high is not None
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)
