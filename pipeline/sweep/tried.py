"""What is told of a training. Nothing here needs Keras: it is read where none is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sweep.trial import Trial

COST = "realised_cost"
"""The curve, of validation alone, that tells what least-cost decisions cost, without any calibration."""


@dataclass(frozen=True)
class Begun:
    """A training begins.

    Attributes:
        parameters: By the names that they have in MLflow.
    """

    parameters: dict[str, Any]


@dataclass(frozen=True)
class Reached:
    """A training has come so far.

    Attributes:
        epoch: How many are done.
        cost: Realised, of validation rows, without calibration.
    """

    epoch: int
    cost: float


@dataclass(frozen=True)
class Said:
    """Something that somebody should know, of a training whose process has no terminal.

    Attributes:
        text: In words.
    """

    text: str


@dataclass(frozen=True)
class Calibration:
    """What calibration made of the probabilities of validation rows.

    Attributes:
        method: "none", "temperature" or "vector".
        temperature: 1 where nothing was scaled.
        before: `(rows, K)`, what the networks say.
        after: `(rows, K)`, each row by a scaling that was fitted without it.
    """

    method: str
    temperature: float
    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """A training that ended well.

    Attributes:
        trial: Which.
        metrics: Of the validation part, calibrated.
        seconds: Of training.
        curves: One number an epoch.
        best_epoch: Which epoch's weights were kept, from 0.
        calibration: Of its network alone.
        path: Where its network lies.
        undone: What training does to probabilities and calibration undoes, the fields of a `Distortion`.
        class_weights: `(K,)`, what rows of each label counted for; None where all counted alike.
        run_id: Of its run in MLflow.
    """

    trial: Trial
    metrics: dict[str, float]
    seconds: float
    curves: dict[str, list[float]]
    best_epoch: int
    calibration: Calibration
    path: Path
    undone: Mapping[str, NDArray[np.float64] | None]
    class_weights: NDArray[np.float64] | None
    run_id: str = ""


@dataclass(frozen=True)
class Drawn:
    """A trial that has begun.

    Attributes:
        trial: Which.
        drawn: What the study drew for it.
    """

    trial: Trial
    drawn: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A trial that has ended, well or not.

    Attributes:
        looks: Realised validation cost at the epochs at which somebody looked.
        tried: What it reached; None where it diverged or was pruned.
        failure: What became of it then, in words.
        pruned: Whether it was.
    """

    looks: dict[int, float]
    tried: Tried | None
    failure: str = ""
    pruned: bool = False
