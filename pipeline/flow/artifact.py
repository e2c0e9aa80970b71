"""From the best trials to a registered version: the middle of a retraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import candidate, evaluate
from pipeline.artifact_key import artifact_key
from pipeline.evaluate import Evaluation
from pipeline.flow.shown import show
from pipeline.infra_validation import CHALLENGER
from pipeline.report import data as data_report
from pipeline.report import figures, notes, tables
from pipeline.report import trial as trial_report
from pipeline.session import Session
from pipeline.sweep.sweep import briefly
from pipeline.sweep.tried import Tried
from pipeline.tracking import registry
from pipeline.tracking.runs import Run
from serving.artifact import Artifact


@task(name="export", cache_policy=NO_CACHE)
def export_best(chosen: Sequence[Tried], session: Session, run: Run) -> Path:
    """Calibrate the chosen trials together, write the artifact, and check it against Keras.

    Nothing goes on where they differ.
    """
    log, config = get_run_logger(), session.config
    path = session.folder.candidate
    if path.is_file():
        log.info("the artifact was written before")
        return path
    if len(chosen) < config.search.ensemble:
        log.warning(
            "an ensemble of %d, not %d: no more trials ended well", len(chosen), config.search.ensemble
        )
    calibration, difference = candidate.export(chosen, session, log.warning)
    trial_report.log_calibration(run, calibration, config, session.data, "candidate")
    session.folder.keep_calibration(calibration)
    candidate.keep(session)
    log.info("exported %.1f KiB; equals Keras within %.1g", path.stat().st_size / 1024, difference)
    return path


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate_artifact(path: Path, session: Session, run: Run) -> Evaluation:
    """Score the exported file on the test part."""
    artifact = Artifact(path, "cpu")
    evaluation = evaluate.evaluate(artifact, session.data)
    run.metrics({f"test/{name}": value for name, value in evaluation.metrics.items()})
    manifest = artifact.manifest
    labels, actions = manifest.labels, manifest.profiles[manifest.default_profile].actions
    run.table(
        [{"label": label, **own} for label, own in zip(labels, evaluation.by_class, strict=True)],
        "classes.csv",
    )
    run.table(tables.cost_rows(evaluation.costs), "costs.csv")
    run.table([vars(coverage) for coverage in evaluation.coverages], "intervals.csv")
    title = f"candidate, test, {manifest.default_profile} cost"
    run.figure(figures.confusion(evaluation.confusion, labels, actions, title), "confusion.png")
    run.table(tables.confusion_rows(evaluation.confusion, labels, actions), "confusion.csv")
    run.figure(figures.costs(evaluation.costs, "candidate, test: what decisions cost"), "costs.png")
    get_run_logger().info("test: %s", briefly(evaluation.metrics))
    return evaluation


@task(name="describe", cache_policy=NO_CACHE)
def describe(
    tried: Sequence[Tried],
    chosen: Sequence[Tried],
    path: Path,
    evaluation: Evaluation,
    session: Session,
    run: Run,
) -> str:
    """Write the tables that the run's page in MLflow shows, and Prefect too."""
    manifest = Artifact(path, "cpu").manifest
    page = "\n\n".join(
        [
            tables.comparison([(t.trial.title, t.metrics, t.seconds, t in chosen) for t in tried]),
            tables.trust(manifest.calibration, evaluation),
            data_report.page(session.data),
        ]
    )
    run.note(page)
    show(page, artifact_key("trials", manifest.name), f"Trials of {manifest.name}")
    return page


@task(name="register", cache_policy=NO_CACHE)
def register(path: Path, session: Session, run: Run) -> tuple[int, Path]:
    """Log the artifact as a model, load what MLflow keeps of it, and only then register that, once."""
    uri, name, log = session.experiment.uri, session.config.name, get_run_logger()
    manifest = Artifact(path, "cpu").manifest
    logged = registry.log(session.experiment, run, path, manifest)
    Artifact(logged.path, "cpu")  # the seal must have survived
    version = registry.registered(uri, name, run.id)
    if version is None:
        version = registry.register(uri, logged, name, notes.candidate(run), {})
        log.info("registered %s version %d", name, version)
    else:
        log.info("%s version %d was registered before", name, version)
        registry.relink(uri, logged, name, version)
    registry.set_alias(uri, name, CHALLENGER, version)
    return version, logged.path
