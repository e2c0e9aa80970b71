"""The gate, the alias, and the report on all of it: the end of a retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import candidate, promotion
from pipeline.artifact_key import artifact_key
from pipeline.errors import InputError, StoreError
from pipeline.evaluate import Evaluation
from pipeline.flow.shown import show
from pipeline.gate import Verdict
from pipeline.promotion import Golden
from pipeline.promotion.lock import whoami
from pipeline.report import notes, pictures
from pipeline.report import page as report
from pipeline.report.tables import choice
from pipeline.report.tested import Tested
from pipeline.session import Session
from pipeline.sweep.tried import Tried
from pipeline.tracking import links, registry
from pipeline.tracking.runs import Run
from serving.artifact import Artifact


@dataclass(frozen=True)
class Outcome:
    """What a retraining has come to.

    Attributes:
        version: Of the candidate.
        path: Of its artifact.
        evaluation: Of that on test rows.
        verdict: The last.
        champion: Which version is the champion now.
    """

    version: int
    path: Path
    evaluation: Evaluation
    verdict: Verdict
    champion: int | None


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
    show(page, artifact_key("verdict", name), f"The gate's verdict on {name}")
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
    try:
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
    except InputError as error:  # of a store that answered when the run began: the config is right
        raise StoreError(str(error)) from error
    for note in moved.notes:
        log.warning("put right: %s", note)
    log.info("models:/%s@champion is version %s", config.name, moved.champion)
    return verdicts[-1], moved.champion


@task(name="report", cache_policy=NO_CACHE)
def conclude(
    outcome: Outcome,
    tried: Sequence[Tried],
    chosen: Sequence[Tried],
    tables: str,
    session: Session,
    run: Run,
) -> None:
    """The pages of run and version begin with what came of it; the report is kept with the run."""
    name, verdict, evaluation = session.config.name, outcome.verdict, outcome.evaluation
    run.note(notes.retraining(outcome.version, outcome.champion, name, verdict, tables, run))
    why = choice(tried, chosen, session.config.decision.profile)
    registry.describe(
        session.experiment.uri, name, outcome.version, notes.version(verdict, why, evaluation, run)
    )
    try:
        keep_report(outcome, tried, chosen, session, run)
    except Exception as error:  # noqa: BLE001 - the champion may have moved: no page is worth a failed run
        reason = f"{type(error).__name__}: {error}"
        get_run_logger().warning("the report, or a picture of it, is missing: %s", reason, exc_info=True)
        run.tags({"report.failed": reason[:4000]})


def keep_report(
    outcome: Outcome, tried: Sequence[Tried], chosen: Sequence[Tried], session: Session, run: Run
) -> None:
    """Keep the page, and those figures of it as pictures that no earlier task has kept."""
    artifact, evaluation = Artifact(outcome.path, "cpu"), outcome.evaluation
    tested = Tested.of(artifact, evaluation, session.data, session.config, outcome.verdict)
    page = report.build(
        manifest=artifact.manifest,
        tested=tested,
        evaluation=evaluation,
        data=session.data,
        tried=tried,
        chosen=chosen,
        calibration=session.folder.calibration,
        verdict=outcome.verdict,
        version=outcome.version,
        champion=outcome.champion,
    )
    run.text(page, links.REPORT)
    mean = evaluation.metrics["realised_cost"]
    drawn = {
        "trials": pictures.trials(tried, chosen, "trials, validation"),
        "slices": pictures.slices(tested.columns, mean, "candidate, test: slices"),
        "intervals": pictures.intervals(evaluation.coverages, tested.bands, "candidate, test: intervals"),
    }
    for name, figure in drawn.items():
        run.figure(figure, f"{name}.png")
