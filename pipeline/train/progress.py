"""Where a training is: all of it that its variables do not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = list[NDArray[np.generic]]


@dataclass
class Progress:
    """Epochs that are done, and which of them was best.

    Attributes:
        epoch: How many are done.
        best: The lowest score yet.
        best_epoch: Whose it is, from 0.
        waited: Epochs since then.
        seconds: How long it took.
        curves: One number an epoch.
        kept: Weights of the best epoch; none before there is one.
    """

    epoch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    kept: Weights = field(default_factory=list)

    def add(self, numbers: Mapping[str, float]) -> None:
        """Count an epoch with its numbers."""
        for name, number in numbers.items():
            self.curves.setdefault(name, []).append(number)
        self.epoch += 1

    def judge(self, score: float, weights: Callable[[], Weights]) -> None:
        """Keep the weights of the epoch that was just counted where its score is the lowest yet."""
        self.waited += 1
        if score < self.best:
            self.best, self.best_epoch, self.waited = score, self.epoch - 1, 0
            self.kept = weights()

    @property
    def numbers(self) -> dict[str, Any]:
        """All but the weights."""
        return {name: value for name, value in vars(self).items() if name != "kept"}
