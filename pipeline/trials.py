"""One trial from its training to its scores. Nothing is kept here but the network: see `report.trial`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from pipeline import calibrate, train
from pipeline.calibration import Distortion
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.ensemble import Member
from pipeline.report.tables import trial_parameters
from pipeline.scores import default_profile, score
from pipeline.sweep.planning import build_loss
from pipeline.sweep.trial import Trial
from pipeline.sweep.tried import Tried


def parameters(trial: Trial, config: Config, data: Dataset) -> dict[str, Any]:
    """Return the parameters of a trial, by the names that they have in MLflow."""
    return trial_parameters(trial.applied(config), data, trial, build_loss(trial.loss, config, data))


def run(
    trial: Trial,
    config: Config,
    data: Dataset,
    path: Path,
    *,
    told: Callable[[train.Progress], None] | None = None,
    backup: Path | None = None,
) -> Tried:
    """Train once, calibrate, score on validation rows, and write the network to `path`.

    Raises Diverged where the training did, and what `told` raises after an epoch.
    """
    own = trial.applied(config)
    loss = build_loss(trial.loss, config, data)
    profile = default_profile(config, data)
    fitted = train.fit(
        data,
        loss,
        trial.head,
        own.model,
        own.search,
        trial.seed,
        cost=profile.cost,
        told=told,
        backup=backup,
    )
    member = calibrate.member(fitted, loss, own.model.passes, trial.seed, data)
    calibrated = calibrate.calibrate([member], data)
    unfinished = path.with_suffix(".part.keras")
    fitted.model.save(unfinished)
    unfinished.replace(path)
    return Tried(
        trial=trial,
        metrics=score(calibrated.after, profile, data),
        seconds=fitted.seconds,
        curves=fitted.curves,
        best_epoch=fitted.best_epoch,
        calibration=calibrated.described,
        path=path,
        undone=vars(member.undone),
        class_weights=fitted.class_weights,
    )


def member(tried: Tried, passes: int) -> Member:
    """Return the network of a trial, loaded."""
    network = keras.saving.load_model(tried.path, compile=False)
    return Member(network, passes, tried.trial.seed, Distortion(**tried.undone))


def refit(
    tried: Tried, member: Member, config: Config, whole: Dataset, backup: Path | None = None
) -> Member:
    """Return the network of a trial trained anew on the training part of `whole`, for as long as was best.

    What is undone of it, and its dropout masks, stay as they are.
    """
    trial = tried.trial
    own = trial.applied(config)
    network = train.refit(
        whole,
        build_loss(trial.loss, config, whole),
        trial.head,
        own.model,
        own.search,
        trial.seed,
        tried.best_epoch + 1,
        class_weights=tried.class_weights,
        backup=backup,
    )
    return replace(member, model=network)
