"""What is kept of a trial in its MLflow run: curves, scores, calibration, pictures, the network."""

from __future__ import annotations

from pipeline import costs, metrics
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.report import figures, notes, reliability
from pipeline.scores import default_profile, score
from pipeline.sweep.tried import Calibration, Tried
from pipeline.tracking.runs import Run


def log(run: Run, parent: Run, tried: Tried, config: Config, data: Dataset) -> None:
    """Keep all that a training reached, of the trials of a retraining's run `parent`."""
    profile, title = default_profile(config, data), tried.trial.title
    undone = ", ".join(part for part, array in tried.undone.items() if array is not None)
    run.curves(tried.curves)
    run.metrics(
        {
            **{f"validation/{name}": value for name, value in tried.metrics.items()},
            "seconds": tried.seconds,
            "best_epoch": tried.best_epoch,
        }
    )
    run.params({"calibration.undone": undone or "nothing"})
    run.note(notes.trial(tried, config.decision.profile, run, parent.id))
    run.used(notes.used(config, data))
    log_calibration(run, tried.calibration, config, data, title)
    decision = costs.decide(tried.calibration.after, profile.cost)
    y = data.y[data.parts.validation]
    counts = metrics.confusion_matrix(y, decision, data.labels.count, len(profile.actions))
    told = f"{title}, validation, {config.decision.profile} cost"
    run.figure(figures.confusion(counts, data.labels.names, profile.actions, told), "confusion.png")
    run.figure(figures.curves(tried.curves, tried.best_epoch, title), "curves.png")
    run.file(tried.path, "model")


def log_calibration(run: Run, calibration: Calibration, config: Config, data: Dataset, title: str) -> None:
    """Keep what calibration has made of the validation rows, as numbers and as a picture."""
    y, labels = data.y[data.parts.validation], data.labels
    before, after = calibration.before, calibration.after
    scores = score(before, default_profile(config, data), data)
    run.metrics(
        {
            **{f"uncalibrated/{name}": value for name, value in scores.items()},
            "temperature": calibration.temperature,
        }
    )
    run.params({"calibration.method": calibration.method})
    run.figure(reliability.picture(y, before, after, labels, f"{title}, validation"), "reliability.png")
    run.table(reliability.rows(y, before, after, labels), "reliability.csv")
