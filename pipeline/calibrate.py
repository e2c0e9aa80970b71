"""From trained networks to calibrated ones, on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline import ensemble
from pipeline.calibration import (
    Distortion,
    Floats,
    Scaling,
    choose_scaling,
    choose_undone,
    mean_probabilities,
)
from pipeline.config import IntervalKind
from pipeline.conformal import Conformal
from pipeline.data import Dataset
from pipeline.ensemble import Member
from pipeline.sweep.tried import Calibration
from pipeline.train import Fitted


@dataclass(frozen=True)
class Calibrated:
    """Networks that answer together with probabilities to trust.

    Attributes:
        model: Rows to `(batch, S, K)` calibrated log-probabilities of each pass.
        scaling: What was fitted, on all validation rows.
        before: `(rows, K)`, of the validation rows: what the networks say.
        after: `(rows, K)`, of the same rows: what they say once calibrated, each row by a scaling that
            was fitted without it.
    """

    model: keras.Model
    scaling: Scaling
    before: Floats
    after: Floats

    @property
    def described(self) -> Calibration:
        """All but the model."""
        return Calibration(self.scaling.method, self.scaling.temperature, self.before, self.after)


def member(fitted: Fitted, loss: keras.losses.Loss, passes: int, seed: int, data: Dataset) -> Member:
    """Return a trained network with what is to be undone of its loss and its class weights.

    Args:
        fitted: The network.
        loss: What it was trained with; soft labels are its `matrix`.
        passes: S, of MC dropout; 1 is none.
        seed: Of the dropout masks.
        data: Whose validation rows tell what does no harm, `calibration.choose_undone`.
    """
    distortion = Distortion(getattr(loss, "matrix", None), fitted.class_weights)
    plain = Member(fitted.model, passes, seed)
    if not distortion.parts:
        return plain
    rows = data.parts.validation
    log_p = _answer([plain], data, rows)
    return replace(plain, undone=choose_undone(log_p, data.y[rows], distortion, data.labels.topology))


def calibrate(members: Sequence[Member], data: Dataset) -> Calibrated:
    """Return the members as one network whose passes are scaled alike, as fits the mean of them best.

    Args:
        members: The best first.
        data: Whose validation rows are fitted to.
    """
    rows = data.parts.validation
    raw = _answer([replace(one, undone=Distortion()) for one in members], data, rows)
    undone = _answer(members, data, rows) if any(one.undone.parts for one in members) else raw
    chosen = choose_scaling(undone, data.y[rows], data.labels.topology)
    return Calibrated(
        model=ensemble.assemble(members, chosen.scaling),
        scaling=chosen.scaling,
        before=mean_probabilities(raw),
        after=chosen.probabilities,
    )


def conformal(model: keras.Model, kind: IntervalKind, data: Dataset) -> Conformal:
    """Return what intervals of a calibrated model are made by; the calibration part serves this alone.

    Args:
        model: Rows to `(batch, S, K)` calibrated log-probabilities of each pass.
        kind: How intervals grow.
        data: Whose calibration rows say how far they must.
    """
    rows = data.parts.calibration
    p = mean_probabilities(ensemble.answer(model, data.features[rows]))
    return Conformal.fit(p, data.y[rows], data.labels.topology, kind)


def _answer(members: Sequence[Member], data: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the log-probabilities of each pass before any scaling, `(rows, S, K)`."""
    network = ensemble.assemble(members, Scaling.none(data.labels.count))
    return ensemble.answer(network, data.features[rows])
