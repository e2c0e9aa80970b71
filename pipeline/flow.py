"""The retraining flow: plain functions of the other files, as Prefect tasks. No maths here."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from pipeline import calibrate, ensemble, evaluate, sweep, trials
from pipeline.config import Config
from pipeline.data import Dataset, load
from pipeline.errors import Diverged, PipelineError
from pipeline.evaluate import Evaluation
from pipeline.export import describe, graph, verify
from pipeline.report import data as data_report
from pipeline.report import figures, tables
from pipeline.sweep import Trial
from pipeline.tracking import registry
from pipeline.tracking.runs import Experiment, Run
from pipeline.trials import Tried
from serving.artifact import Artifact
from serving.manifest import Manifest, rows_needed


@dataclass(frozen=True)
class Retrained:
    """What a run of the flow ends with; `ordinal-pipeline retrain --json` prints it."""

    run_id: str
    experiment_id: str
    flow_run_id: str
    tracking_uri: str
    model: str
    version: int
    artifact: str
    promoted: bool
    reasons: list[str]
    metrics: dict[str, float]


@flow(name="retrain", flow_run_name="{config.name}")
def retrain(config: Config) -> Retrained:
    """Train every trial, export the best by realised validation cost, register it, make it champion."""
    log = get_run_logger()
    data = load_data(config)
    planned = sweep.plan(config, data)
    experiment = Experiment(config.tracking.uri, config.tracking.experiment or config.name)
    with (
        experiment.run(f"retrain {config.name}", {"kind": "retrain"}) as run,
        tempfile.TemporaryDirectory(prefix="ordinal-") as scratch,
    ):
        run.params(tables.parameters(config, data))
        run.tags({"prefect.flow_run_id": str(flow_run.id)})
        run.table(data_report.label_rows(data), "data/labels.csv")
        if data.columns:
            run.table(data_report.column_rows(data), "data/columns.csv")
        every: list[Tried | None] = []
        began = time.monotonic()
        for trial in planned:
            spent = time.monotonic() - began
            if config.search.seconds is not None and spent > config.search.seconds:
                log.warning("%d of %d trials in %.0f s, no more begin", len(every), len(planned), spent)
                break
            every.append(run_trial(trial, len(planned), config, data, experiment, run, Path(scratch)))
        tried = [one for one in every if one is not None]
        if not tried:
            raise PipelineError(
                f"all {len(every)} trials diverged; a smaller search.learning_rate may help"
            )
        tried.sort(key=lambda t: (t.metrics["realised_cost"], t.metrics["nll"]))
        best, chosen = tried[0], tried[: config.search.ensemble]
        log.info("best of %d: %s, %s", len(tried), best.trial.title, _briefly(best.metrics))
        path, manifest = export_best(chosen, config, data, run, Path(scratch))
        evaluation = evaluate_artifact(path, data, run)
        report = "\n\n".join(
            [
                tables.comparison([(t.trial.title, t.metrics, t.seconds, t in chosen) for t in tried]),
                tables.trust(manifest.calibration, evaluation),
                data_report.page(data),
            ]
        )
        run.tags({"mlflow.note.content": report})
        create_markdown_artifact(report, key="trials", description=f"Trials of {config.name}")
        version, registered = register(experiment, run, path, manifest, report)
        promote(experiment, config.name, version)
        return Retrained(
            run_id=run.id,
            experiment_id=experiment.id,
            flow_run_id=str(flow_run.id),
            tracking_uri=experiment.uri,
            model=config.name,
            version=version,
            artifact=str(registered),
            promoted=True,
            reasons=[
                f"lowest realised validation cost of {len(tried)} trials: "
                f"{best.metrics['realised_cost']:.4f} ({config.decision.profile}), {best.trial.title}"
                + (f", with the next {len(chosen) - 1} in an ensemble" if len(chosen) > 1 else "")
            ],
            metrics=evaluation.metrics,
        )


@task(name="load data", cache_policy=NO_CACHE)
def load_data(config: Config) -> Dataset:
    """Read, check and split."""
    data = load(config)
    parts = ", ".join(f"{len(rows)} {part}" for part, rows in vars(data.parts).items())
    log = get_run_logger()
    log.info("%d rows, %d labels; %s", len(data.y), data.labels.count, parts)
    for note in data.notes:
        log.warning("data: %s", note)
    if config.unused:
        log.warning("not used yet: %s", ", ".join(config.unused))
    return data


@task(name="trial", task_run_name="{trial.title}", cache_policy=NO_CACHE)
def run_trial(
    trial: Trial,
    of: int,
    config: Config,
    data: Dataset,
    experiment: Experiment,
    parent: Run,
    workspace: Path,
) -> Tried | None:
    """Train once, score on validation, and keep all of it in a nested MLflow run.

    A training that diverges ends its run FAILED and returns None; the others go on.
    """
    log = get_run_logger()
    try:
        tried = trials.run(trial, config, data, experiment, parent, workspace)
        log.info(
            "trial %d of %d: %s (%.1f s)", trial.number + 1, of, _briefly(tried.metrics), tried.seconds
        )
        return tried
    except Diverged as error:
        log.warning("trial %d of %d failed: %s", trial.number + 1, of, error)
        return None


@task(name="export", cache_policy=NO_CACHE)
def export_best(
    chosen: Sequence[Tried], config: Config, data: Dataset, run: Run, workspace: Path
) -> tuple[Path, Manifest]:
    """Calibrate the chosen trials together, write the artifact, and check it against Keras.

    Nothing goes on where they differ.
    """
    log = get_run_logger()
    if len(chosen) < config.search.ensemble:
        log.warning(
            "an ensemble of %d, not %d: no more trials ended well", len(chosen), config.search.ensemble
        )
    members = [one.member(config.model.passes) for one in chosen]
    calibrated = calibrate.calibrate(members, data)
    trials.log_calibration(run, calibrated, config, data, "champion")
    model, seen = calibrated.model, data
    if config.search.refit:
        seen = data.refitting()
        log.info("training %d again on %d rows", len(chosen), len(seen.parts.train))
        model = ensemble.assemble(
            [trials.refit(one, member, config, seen) for one, member in zip(chosen, members, strict=True)],
            calibrated.scaling,
        )
    conformal = calibrate.conformal(model, config.decision.interval, seen)
    needed = rows_needed(config.decision.coverage)
    if len(conformal.calibration) < needed:
        log.warning(
            "%d calibration rows are too few for intervals of %g: each holds every label; %d are needed",
            len(conformal.calibration), config.decision.coverage, needed,
        )  # fmt: skip
    y = data.y[data.parts.validation]
    manifest = describe.describe(
        config,
        data,
        [describe.member(config, data, one.trial, one.run_id, one.undone) for one in chosen],
        describe.calibration(y, calibrated, data.labels.topology),
        seen if config.search.refit else None,
    )
    path = workspace / f"{manifest.name}.onnx"
    graph.export(model, conformal, manifest, path)
    rows = data.parts.validation
    difference = verify.verify(path, model, conformal, seen.features[rows], seen.raw(rows))
    log.info(
        "exported %.1f KiB; equals Keras within %.1g at batches of %s rows",
        path.stat().st_size / 1024, difference, ", ".join(map(str, verify.BATCHES)),
    )  # fmt: skip
    return path, manifest


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate_artifact(path: Path, data: Dataset, run: Run) -> Evaluation:
    """Score the exported file on the test part."""
    artifact = Artifact(path, "cpu")
    evaluation = evaluate.evaluate(artifact, data)
    run.metrics({f"test/{name}": value for name, value in evaluation.metrics.items()})
    manifest = artifact.manifest
    labels, actions = manifest.labels, manifest.profiles[manifest.default_profile].actions
    run.table(
        [{"label": label, **own} for label, own in zip(labels, evaluation.by_class, strict=True)],
        "classes.csv",
    )
    run.table(tables.cost_rows(evaluation.costs), "costs.csv")
    run.table([vars(coverage) for coverage in evaluation.coverages], "intervals.csv")
    title = f"champion, test, {manifest.default_profile} cost"
    run.figure(figures.confusion(evaluation.confusion, labels, actions, title), "confusion.png")
    run.table(tables.confusion_rows(evaluation.confusion, labels, actions), "confusion.csv")
    run.figure(figures.costs(evaluation.costs, "champion, test: what decisions cost"), "costs.png")
    get_run_logger().info("test: %s", _briefly(evaluation.metrics))
    return evaluation


@task(name="register", cache_policy=NO_CACHE)
def register(
    experiment: Experiment, run: Run, path: Path, manifest: Manifest, description: str
) -> tuple[int, Path]:
    """Log the artifact as a model, load what MLflow keeps of it, and only then register that."""
    logged = registry.log(experiment, run, path, manifest)
    Artifact(logged.path, "cpu")  # the seal must have survived
    version = registry.register(experiment, logged, manifest.name, description)
    get_run_logger().info("registered %s version %d", manifest.name, version)
    return version, logged.path


@task(name="promote", cache_policy=NO_CACHE)
def promote(experiment: Experiment, name: str, version: int) -> None:
    """Make the new version the champion."""
    registry.set_champion(experiment, name, version)
    get_run_logger().info("models:/%s@champion is now version %d", name, version)


def _briefly(
    scores: dict[str, float], names: Sequence[str] = ("realised_cost", "accuracy", "rps", "nll")
) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in names)
