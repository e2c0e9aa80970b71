"""Read the rows, and try what the config says: the first tasks of a retraining."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import candidate
from pipeline.report import data as data_report
from pipeline.report import notes, tables
from pipeline.session import Session
from pipeline.sweep import Trial
from pipeline.sweep.sweep import Sweep
from pipeline.sweep.tried import Tried
from pipeline.sweep.workers import Lease, Places
from pipeline.tracking.runs import Run


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
    if session.cluster is not None:
        from pipeline.flow import on_ray  # nothing of Ray is imported where it is not asked for

        on_ray.check(session.cluster)


@task(name="begin", cache_policy=NO_CACHE)
def begin(session: Session, run: Run) -> None:
    """Keep what is learned from: parameters, tables of labels and columns, which rows are seen."""
    data = session.data
    run.params(tables.parameters(session.config, data))
    run.table(data_report.label_rows(data), "data/labels.csv")
    if data.columns:
        run.table(data_report.column_rows(data), "data/columns.csv")
    run.file(session.folder.keep_seen(data), str(candidate.SEEN.parent))
    run.used(notes.used(session.config, data))


def search(session: Session, run: Run) -> list[Tried]:
    """Do the trials, as many at a time as there are workers; return those that ended well, best first."""
    log, sweep = get_run_logger(), Sweep(session, run)
    if sweep.found:
        log.info("%d trials were done before", len(sweep.found))
    waiting = []
    with _places(session) as places:
        try:
            for trial, lease in sweep.trials(places):
                waiting.append(run_trial.submit(trial, lease, sweep))
                # Also where Prefect ends the task before it begins.
                waiting[-1].add_done_callback(lease.give)
            for future in waiting:
                future.result()
        except BaseException:
            places.close()  # Prefect waits for its threads, and they for the places
            raise
    tried = sweep.best  # where there is none, the same command tries again what was not ended
    session.folder.note(searched=True)
    log.info("best of %d: %s", len(tried), tried[0].trial.title)
    return tried


@contextmanager
def _places(session: Session) -> Iterator[Places]:
    """Have places to train at: the session's processes, or nodes of its cluster."""
    if session.cluster is None:
        yield session.workers
        return
    from pipeline.flow import on_ray  # nothing of Ray is imported where it is not asked for

    get_run_logger().info(
        "trials on %s, %d at a time", session.cluster.described, session.cluster.at_a_time
    )
    with on_ray.nodes(session) as places:
        yield places


@task(name="trial", task_run_name="{trial.title}", cache_policy=NO_CACHE)
def run_trial(trial: Trial, lease: Lease, sweep: Sweep) -> None:
    """Train once, score on validation, and keep all of it in a nested MLflow run."""
    sweep.do(trial, lease, get_run_logger())
