"""The flow: which task comes after which."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from pipeline import promotion
from pipeline.config import Config
from pipeline.flow.artifact import describe, evaluate_artifact, export_best, register
from pipeline.flow.trials import begin, load_data, search
from pipeline.flow.verdict import Outcome, conclude, judge, promote
from pipeline.report import tables
from pipeline.run_folder import is_alive
from pipeline.session import opened
from pipeline.tracking import store
from pipeline.tracking.runs import FOLDER


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
            page = describe(tried, chosen, artifact, evaluation, session, run)
            version, kept = register(artifact, session, run)
            with tempfile.TemporaryDirectory(prefix="ordinal-") as scratch:
                verdict = judge(kept, version, session, run, Path(scratch))
                verdict, champion = promote(kept, version, verdict, session, run, Path(scratch))
            outcome = Outcome(version, kept, evaluation, verdict, champion)
            conclude(outcome, tried, chosen, page, session, run)
        folder.finish()
    return Retrained(
        run_id=run.id,
        experiment_id=experiment.id,
        flow_run_id=str(flow_run.id),
        tracking_uri=store.shown(experiment.uri),
        model=config.name,
        version=version,
        artifact=str(kept),
        promoted=champion == version,
        champion=champion,
        reasons=verdict.reasons,
        chosen=tables.choice(tried, chosen, config.decision.profile),
        metrics=evaluation.metrics,
    )
