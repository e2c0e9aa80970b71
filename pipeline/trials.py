"""One trial from its training to its scores, kept in a nested MLflow run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline import calibrate, costs, metrics, train
from pipeline.calibrate import Calibrated
from pipeline.calibration import Distortion
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.ensemble import Member
from pipeline.report import figures, reliability, tables
from pipeline.sweep import Trial
from pipeline.tracking.runs import Experiment, Run

BACKUPS = Path(".ordinal", "trainings")
"""Where trainings that were cut off wait, in the working folder, as MLflow's own store is."""


@dataclass(frozen=True)
class Tried:
    """A finished trial: its calibrated scores on the validation part, and where its network lies."""

    trial: Trial
    run_id: str
    metrics: dict[str, float]
    seconds: float
    model: Path
    undone: Distortion
    epochs: int  # until the one that was kept
    class_weights: NDArray[np.float64] | None

    def member(self, passes: int) -> Member:
        """Return its network, loaded."""
        network = keras.saving.load_model(self.model, compile=False)
        return Member(network, passes, self.trial.seed, self.undone)


def run(
    trial: Trial, config: Config, data: Dataset, experiment: Experiment, parent: Run, workspace: Path
) -> Tried:
    """Train once, score on validation, and keep all of it in an MLflow run below `parent`.

    Raises Diverged where the training did; its run ends FAILED.
    """
    tags = {"kind": "trial", "loss": trial.loss.name, "head": trial.head.name}
    with experiment.run(trial.title, tags, parent) as run:
        loss = trial.build_loss(config, data)
        run.params(tables.trial_parameters(config, data, trial, loss))
        settings = (config.model, config.search, trial.seed)
        fitted = train.fit(data, loss, trial.head, *settings, backup=_backup(config, trial, "fit"))
        member = calibrate.member(fitted, loss, config.model.passes, trial.seed, data)
        calibrated = calibrate.calibrate([member], data)
        y = data.y[data.parts.validation]
        profile = default_profile(config, data)
        scores = score(calibrated.after, profile, data)
        run.curves(fitted.curves)
        run.metrics({f"validation/{name}": value for name, value in scores.items()})
        log_calibration(run, calibrated, config, data, trial.title)
        run.params({"calibration.undone": ", ".join(member.undone.parts) or "nothing"})
        run.metrics({"seconds": fitted.seconds, "best_epoch": fitted.best_epoch})
        decision = costs.decide(calibrated.after, profile.cost)
        counts = metrics.confusion_matrix(y, decision, data.labels.count, len(profile.actions))
        title = f"{trial.title}, validation, {config.decision.profile} cost"
        run.figure(figures.confusion(counts, data.labels.names, profile.actions, title), "confusion.png")
        run.figure(figures.curves(fitted.curves, fitted.best_epoch, trial.title), "curves.png")
        path = workspace / f"trial-{trial.number}.keras"
        fitted.model.save(path)
        run.file(path, "model")
        return Tried(
            trial,
            run.id,
            scores,
            fitted.seconds,
            path,
            member.undone,
            fitted.best_epoch + 1,
            fitted.class_weights,
        )


def refit(tried: Tried, member: Member, config: Config, whole: Dataset) -> Member:
    """Return the network of a trial trained anew on the training part of `whole`, for as long as was best.

    What is undone of it, and its dropout masks, stay as they are.
    """
    trial = tried.trial
    loss = trial.build_loss(config, whole)
    network = train.refit(
        whole,
        loss,
        trial.head,
        config.model,
        config.search,
        trial.seed,
        tried.epochs,
        class_weights=tried.class_weights,
        backup=_backup(config, trial, "refit"),
    )
    return replace(member, model=network)


def _backup(config: Config, trial: Trial, what: str) -> Path:
    """Return the folder in which a long training waits for being run again, should it be cut off."""
    return BACKUPS / config.name / f"trial-{trial.number}-{what}"


def log_calibration(run: Run, calibrated: Calibrated, config: Config, data: Dataset, title: str) -> None:
    """Keep what calibration has made of the validation rows, as numbers and as a picture."""
    y, labels = data.y[data.parts.validation], data.labels
    before = score(calibrated.before, default_profile(config, data), data)
    run.metrics({f"uncalibrated/{name}": value for name, value in before.items()})
    run.params({"calibration.method": calibrated.scaling.method})
    run.metrics({"temperature": calibrated.scaling.temperature})
    picture = reliability.picture(y, calibrated.before, calibrated.after, labels, f"{title}, validation")
    run.figure(picture, "reliability.png")
    run.table(reliability.rows(y, calibrated.before, calibrated.after, labels), "reliability.csv")


def default_profile(config: Config, data: Dataset) -> costs.Profile:
    """Return the profile that the config decides by."""
    found = costs.profiles(config.decision, data.labels.topology, data.labels.names)
    return found[config.decision.profile]


def score(p: NDArray[np.floating], profile: costs.Profile, data: Dataset) -> dict[str, float]:
    """Return the scores of validation rows, `(rows, K)`."""
    y, topology = data.y[data.parts.validation], data.labels.topology
    return metrics.score(y, p, profile.cost, topology, own_actions=not profile.decides_labels)
