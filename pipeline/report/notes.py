"""What pages in MLflow begin with, in Markdown: of an experiment, a trial, a retraining, a version."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.evaluate import Evaluation
from pipeline.gate import Verdict
from pipeline.sweep.tried import Tried
from pipeline.tracking import links
from pipeline.tracking.runs import Run, Used

_TYPES = {"numeric": "double", "categorical": "string", "image": "binary"}


def experiment(config: Config) -> str:
    """Return what the experiment of a model is."""
    return (
        f"Retrainings of [{config.name}]({links.model(config.name)}). Each run `retrain {config.name}` "
        "holds its trials as nested runs, the verdict on its candidate, and the report, `report.html`. "
        "Trials are compared by `validation/realised_cost`; `test/…` are the metrics of the exported file."
    )


def trial(tried: Tried, profile: str, run: Run, parent_id: str) -> str:
    """Return what a trial was, and what it reached."""
    scores = tried.metrics
    return (
        f"{tried.trial.title}, {len(tried.curves['loss'])} epochs, of which the "
        f"{_ordinal(tried.best_epoch + 1)} was kept. On validation rows, calibrated "
        f"({tried.calibration.method}): realised cost {scores['realised_cost']:.4f} ({profile}), "
        f"accuracy {scores['accuracy']:.3f}, RPS {scores['rps']:.4f}, NLL {scores['nll']:.4f}. "
        f"A trial of [this retraining]({links.run(run.experiment_id, parent_id)})."
    )


def candidate(run: Run) -> str:
    """Return what a version is while the gate has not spoken."""
    return f"Not judged yet. [Run]({links.run(run.experiment_id, run.id)})"


def version(verdict: Verdict, choice: str, evaluation: Evaluation, run: Run) -> str:
    """Return what a version is: where its report is, what the gate says of it, and what it reached."""
    scores = evaluation.metrics
    lines = [
        f"[**Report**]({links.report(run.experiment_id, run.id)}) · "
        f"[Run]({links.run(run.experiment_id, run.id)})",
        f"The gate {'lets it pass' if verdict.passed else 'does not let it pass'}:",
        "\n".join(f"- {reason}" for reason in verdict.reasons),
        f"Chosen for the {choice}.",
        f"On test rows: realised cost {scores['realised_cost']:.4f}, accuracy {scores['accuracy']:.3f}, "
        f"MAE {scores['mae']:.4f}, RPS {scores['rps']:.4f}, NLL {scores['nll']:.4f}.",
    ]
    return "\n\n".join(lines)


def retraining(
    number: int, champion: int | None, name: str, verdict: Verdict, tables: str, run: Run
) -> str:
    """Return what came of a retraining, and below it its tables."""
    which = f"[{name} version {number}]({links.version(name, number)})"
    others = f"version {champion} stays" if champion else "there is none"
    came = "is the champion" if champion == number else f"does not become the champion, {others}"
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    report = f"[**Report**]({links.report(run.experiment_id, run.id)})"
    return "\n\n".join([f"{report} · {which} {came}:", reasons, tables])


def used(config: Config, data: Dataset) -> Used:
    """Return what MLflow shows of a data set."""
    columns = {name: _TYPES[spec.name] for spec in data.inputs for name in spec.features or (spec.name,)}
    return Used(
        name=Path(config.data.source).name,
        digest=data.fingerprint[:36],
        source=config.data.source,
        columns={**columns, config.data.label or "label": "string"},
        rows={part: len(rows) for part, rows in vars(data.parts).items()},
    )


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
