"""The retraining flow: plain functions of the other files, as Prefect tasks. No maths here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from pipeline import candidate, evaluate, promotion
from pipeline.config import Config
from pipeline.evaluate import Evaluation
from pipeline.gate import Verdict
from pipeline.infra_validation import CHALLENGER
from pipeline.promotion import Golden
from pipeline.promotion.lock import whoami
from pipeline.report import data as data_report
from pipeline.report import figures, tables
from pipeline.report import trial as trial_report
from pipeline.run_folder import is_alive
from pipeline.session import Session, opened
from pipeline.sweep import Trial
from pipeline.sweep.sweep import Sweep, briefly
from pipeline.sweep.tried import Tried
from pipeline.sweep.workers import Lease
from pipeline.tracking import registry
from pipeline.tracking.runs import FOLDER, Run
from serving.artifact import Artifact


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
    champion: int | None
    reasons: list[str]
    chosen: str
    metrics: dict[str, float]


@flow(name="retrain", flow_run_name="{config.name}")
def retrain(config: Config) -> Retrained:
    """Train every trial, export and register the best, and make it champion if the gate lets it pass."""
    log = get_run_logger()
    with opened(config) as session:
        folder, experiment = session.folder, session.experiment
        load_data(session)
        mine = session.tags[FOLDER]  # nothing of this process runs yet
        for run_id in experiment.close_left(lambda other: other != mine and is_alive(other)):
            log.warning("run %s was left by a process that has ended: KILLED", run_id)
        for done in promotion.reconcile(experiment.uri, config.name):
            log.warning("put right: %s", done)
        tags = {"kind": "retrain", **session.tags, "prefect.flow_run_id": str(flow_run.id)}
        with experiment.run(f"retrain {config.name}", tags, resume=folder.run_id) as run:
            folder.note(run_id=run.id)
            begin(session, run)
            tried = search(session, run)
            chosen = tried[: config.search.ensemble]
            artifact = export_best(chosen, session, run)
            evaluation = evaluate_artifact(artifact, session, run)
            report = describe(tried, chosen, artifact, evaluation, session, run)
            version, kept = register(artifact, report, session, run)
            with tempfile.TemporaryDirectory(prefix="ordinal-") as scratch:
                verdict = judge(kept, version, session, run, Path(scratch))
                verdict, champion = promote(kept, version, verdict, session, run, Path(scratch))
        folder.finish()
    return Retrained(
        run_id=run.id,
        experiment_id=experiment.id,
        flow_run_id=str(flow_run.id),
        tracking_uri=experiment.uri,
        model=config.name,
        version=version,
        artifact=str(kept),
        promoted=champion == version,
        champion=champion,
        reasons=verdict.reasons,
        chosen=tables.choice(tried, chosen, config.decision.profile),
        metrics=evaluation.metrics,
    )


@task(name="load data", cache_policy=NO_CACHE)
def load_data(session: Session) -> None:
    """Say what was read, checked and split."""
    data, log = session.data, get_run_logger()
    parts = ", ".join(f"{len(rows)} {part}" for part, rows in vars(data.parts).items())
    log.info("%d rows, %d labels; %s", len(data.y), data.labels.count, parts)
    for note in data.notes:
        log.warning("data: %s", note)
    if session.folder.resumed:
        log.warning("going on with the run in %s, whose process has ended", session.folder.path)


@task(name="begin", cache_policy=NO_CACHE)
def begin(session: Session, run: Run) -> None:
    """Keep what is learned from: parameters, tables of labels and columns, which rows are seen."""
    data = session.data
    run.params(tables.parameters(session.config, data))
    run.table(data_report.label_rows(data), "data/labels.csv")
    if data.columns:
        run.table(data_report.column_rows(data), "data/columns.csv")
    run.file(session.folder.keep_seen(data), str(candidate.SEEN.parent))


def search(session: Session, run: Run) -> list[Tried]:
    """Do the trials, as many at a time as there are workers; return those that ended well, best first."""
    log, sweep = get_run_logger(), Sweep(session, run)
    if sweep.found:
        log.info("%d trials were done before", len(sweep.found))
    waiting = []
    try:
        for trial, lease in sweep.trials():
            waiting.append(run_trial.submit(trial, lease, sweep))
            # Also where Prefect ends the task before it begins.
            waiting[-1].add_done_callback(lease.give)
        for future in waiting:
            future.result()
    except BaseException:
        session.workers.close()  # Prefect waits for its threads, and they for the workers
        raise
    tried = sweep.best  # where there is none, the same command tries again what was not ended
    session.folder.note(searched=True)
    log.info("best of %d: %s", len(tried), tried[0].trial.title)
    return tried


@task(name="trial", task_run_name="{trial.title}", cache_policy=NO_CACHE)
def run_trial(trial: Trial, lease: Lease, sweep: Sweep) -> None:
    """Train once, score on validation, and keep all of it in a nested MLflow run."""
    sweep.do(trial, lease, get_run_logger())


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
    trial_report.log_calibration(run, calibration, config, session.data, "champion")
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
    """Write what the run's page in MLflow says, and the same for Prefect."""
    manifest = Artifact(path, "cpu").manifest
    report = "\n\n".join(
        [
            tables.comparison([(t.trial.title, t.metrics, t.seconds, t in chosen) for t in tried]),
            tables.trust(manifest.calibration, evaluation),
            data_report.page(session.data),
        ]
    )
    run.tags({"mlflow.note.content": report})
    create_markdown_artifact(report, key="trials", description=f"Trials of {manifest.name}")
    return report


@task(name="register", cache_policy=NO_CACHE)
def register(path: Path, description: str, session: Session, run: Run) -> tuple[int, Path]:
    """Log the artifact as a model, load what MLflow keeps of it, and only then register that, once."""
    uri, name, log = session.experiment.uri, session.config.name, get_run_logger()
    manifest = Artifact(path, "cpu").manifest
    logged = registry.log(session.experiment, run, path, manifest)
    Artifact(logged.path, "cpu")  # the seal must have survived
    version = registry.registered(uri, name, run.id)
    if version is None:
        version = registry.register(uri, logged, name, description, {})
        log.info("registered %s version %d", name, version)
    else:
        log.info("%s version %d was registered before", name, version)
        registry.relink(uri, logged, name, version)
    registry.set_alias(uri, name, CHALLENGER, version)
    return version, logged.path


@task(name="judge", cache_policy=NO_CACHE)
def judge(path: Path, version: int, session: Session, run: Run, scratch: Path) -> Verdict:
    """Serve the candidate as it would be served, compare it with the champion, and keep the verdict."""
    champion = registry.champion(session.experiment.uri, session.config.name)
    kept = session.folder.verdict
    if kept is not None and champion == version:
        get_run_logger().info("it was promoted before")
        return kept
    measured = candidate.serve(path, version, session)
    verdict = candidate.judge(path, champion, measured, session, scratch)
    keep_verdict(verdict, version, session, run)
    return verdict


def keep_verdict(verdict: Verdict, version: int, session: Session, run: Run) -> None:
    """Keep a verdict and its reasons with the run, the version, and in Prefect."""
    name, log = session.config.name, get_run_logger()
    page = verdict.markdown(f"{name} version {version}")
    session.folder.keep_verdict(verdict)
    candidate.keep_verdict(verdict, page, version, session, run)
    create_markdown_artifact(page, key="verdict", description=f"The gate's verdict on {name}")
    for check in verdict.checks:
        if check.passed is False:
            log.warning("failed: %s", check.words)
        elif check.passed:
            log.info("passed: %s", check.words)


@task(name="promote", cache_policy=NO_CACHE)
def promote(
    path: Path, version: int, verdict: Verdict, session: Session, run: Run, scratch: Path
) -> tuple[Verdict, int | None]:
    """Make the version the champion where the verdict lets it pass, also against the latest champion.

    Returns the last verdict, and which version is the champion now.
    """
    uri, config, log = session.experiment.uri, session.config, get_run_logger()
    if not verdict.passed:
        champion = registry.champion(uri, config.name)
        log.warning("version %d stays challenger, the champion is %s", version, champion or "none")
        return verdict, champion
    verdicts = [verdict]

    def rejudge(champion: int | None) -> tuple[bool, str, str]:
        measured = [check for check in verdict.checks if check.name in candidate.MEASURED]
        again = candidate.judge(path, champion, measured, session, scratch)
        keep_verdict(again, version, session, run)
        verdicts.append(again)
        return again.passed, again.reasons[0], again.digest

    inputs = session.data.raw(session.data.parts.test[: candidate.GOLDEN])
    moved = promotion.promote(
        uri,
        config.name,
        version,
        why=verdict.reasons[0],
        who=f"retrain {run.id} of {whoami()}",
        digest=verdict.digest,
        judged_against=verdict.champion,
        rejudge=rejudge,
        golden=Golden(inputs, np.asarray(Artifact(path, "cpu").run(inputs).probabilities)),
    )
    for note in moved.notes:
        log.warning("put right: %s", note)
    log.info("models:/%s@champion is version %s", config.name, moved.champion)
    return verdicts[-1], moved.champion
