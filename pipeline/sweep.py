"""What is tried: every loss on every head with one seed, then again with the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from pipeline import costs, heads, losses, models
from pipeline.config import Config, Named
from pipeline.data import Dataset
from pipeline.errors import InputError, choice


@dataclass(frozen=True)
class Trial:
    """One training to be done."""

    number: int
    loss: Named
    head: Named
    seed: int

    @property
    def title(self) -> str:
        """Short and readable: `expected_value(lam=0.1) on cumulative, seed 0`."""
        own = self.head.name in ("softmax", losses.method(self.loss.name).head) and not self.head.parameters
        return f"{self.loss}{'' if own else f' on {self.head}'}, seed {self.seed}"

    def build_loss(self, config: Config, data: Dataset) -> keras.losses.Loss:
        """Return the loss for the labels of `data` and the costs of `config`."""
        topology = data.labels.topology
        profiles = costs.profiles(config.decision, topology, data.labels.names)
        matrices = {name: one.cost if one.decides_labels else None for name, one in profiles.items()}
        return losses.build(
            self.loss.name, self.loss.parameters, topology, matrices, config.decision.profile
        )


def plan(config: Config, data: Dataset) -> list[Trial]:
    """Return the trials of a config.

    Raises InputError for a loss, a parameter, a head, a backbone or a cost that cannot be, and where
    there are fewer trials than pairs of loss and head.
    """
    models.check(config.model, data)
    pairs = [pair for loss in config.search.losses for pair in _on_heads(loss, config.search.heads)]
    if config.search.trials < len(pairs):
        raise InputError(
            f"search.trials is {config.search.trials}, "
            f"but there are {len(pairs)} pairs of loss and head to try"
        )
    trials = []
    for number in range(config.search.trials):
        round_, place = divmod(number, len(pairs))
        trials.append(Trial(number, *pairs[place], seed=config.search.seed + round_))
    kind = data.labels.topology.kind
    for head in config.search.heads:
        heads.check(head.name, head.parameters, kind)
    for trial in trials[: len(pairs)]:
        if losses.method(trial.loss.name).head:
            where = f"search.losses: {trial.loss.name}"
            heads.check(trial.head.name, trial.head.parameters, kind, where)
        trial.build_loss(config, data)
    return trials


def _on_heads(loss: Named, chosen: tuple[Named, ...]) -> list[tuple[Named, Named]]:
    """Return the loss on each head; a method that has a head of its own only on that.

    Parameters of the method that are not its loss's are its head's, as `link` of `cumulative_link`.
    """
    method = losses.method(loss.name)
    if not method.head:
        return [(loss, head) for head in chosen]
    for_loss, for_head = losses.parameters(method), heads.parameters(method.head)
    own: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in loss.parameters.items():
        if name not in (*for_loss, *for_head):
            raise choice(f"search.losses: {loss.name}", "parameter is named", name, [*for_loss, *for_head])
        (own if name in for_loss else rest)[name] = value
    return [(Named(name=loss.name, **own), Named(name=method.head, **rest))]
