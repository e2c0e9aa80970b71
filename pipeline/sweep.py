"""What is tried: every loss on every head with one seed, then again with the next."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from pipeline import costs, heads, losses, models
from pipeline.config import Config, LossSpec
from pipeline.data import Dataset
from pipeline.errors import InputError


@dataclass(frozen=True)
class Trial:
    """One training to be done."""

    number: int
    loss: LossSpec
    head: str
    seed: int

    @property
    def title(self) -> str:
        """Short and readable: `expected_value(lam=0.1), seed 0`."""
        given = ", ".join(f"{name}={value}" for name, value in self.loss.parameters.items())
        head = "" if self.head == "softmax" else f" on {self.head}"
        return f"{self.loss.name}{f'({given})' if given else ''}{head}, seed {self.seed}"

    def build_loss(self, data: Dataset) -> keras.losses.Loss:
        """Return the loss for the labels of `data`."""
        return losses.build(self.loss.name, self.loss.parameters, data.labels.values)


def plan(config: Config, data: Dataset) -> list[Trial]:
    """Return the trials of a config.

    Raises InputError for a loss, a parameter, a head, a backbone or a cost that cannot be, and where
    there are fewer trials than pairs of loss and head.
    """
    models.check(config.model, data.spec)
    costs.profiles(config.decision, data.labels.values)
    pairs = [(loss, head) for loss in config.search.losses for head in config.search.heads]
    if config.search.trials < len(pairs):
        raise InputError(
            f"search.trials is {config.search.trials}, "
            f"but there are {len(pairs)} pairs of loss and head to try"
        )
    trials = []
    for number in range(config.search.trials):
        round_, place = divmod(number, len(pairs))
        trials.append(Trial(number, *pairs[place], seed=config.search.seed + round_))
    for loss, head in pairs:
        heads.head(head)
        losses.build(loss.name, loss.parameters, data.labels.values)
    return trials
