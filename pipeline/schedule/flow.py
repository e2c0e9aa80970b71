"""One scheduled retraining as a Prefect flow, whose last state says in its message what came of it.

It runs wherever Prefect runs it: from `ordinal-pipeline schedule`, or on a work pool (prefect.yaml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Flow, State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Completed, Failed

from pipeline import environment, notify
from pipeline.artifact_key import artifact_key
from pipeline.config import load_config, told_of
from pipeline.errors import PipelineError
from pipeline.schedule import flow_runs, held

NAME = "scheduled retrain"
_WAIT = 5.0  # seconds that the process of a run which was ended may take to be gone


def _crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - by name
    """Tell of a process that has died on a work pool; `ordinal-pipeline schedule` does that itself."""
    parameters = flow_run.parameters or {}
    changes = tuple(parameters.get("changes") or ())
    notify.failed(Path(parameters.get("config") or ""), changes, state.message or "its process has died")


@flow(name=NAME, on_crashed=[_crashed])
def scheduled(config: str, changes: list[str] | None = None) -> State[None]:
    """Retrain a model as its config says now; never two of one model at once in one folder.

    Args:
        config: The TOML file of the model.
        changes: Of its keys, such as search.epochs=50.
    """
    environment.prepare()
    log, path, changed = get_run_logger(), Path(config), tuple(changes or ())
    name, _ = told_of(path, changed)
    with held.run(name, str(flow_run.id), _WAIT) as holder:
        if holder is not None:
            return Cancelled(message=f"skipped: run {holder} of {name} is still going on")
        try:
            with notify.watching(path, changed, log.warning) as ended:
                settings = load_config(path, changed)
                from pipeline.flow import retrain  # what may be wrong with the config is found before

                result = retrain.fn(settings)
                ended(result)
        except Exception as error:  # whatever it is, the run has failed, and says why
            log.error("%s", notify.sentence(error), exc_info=not isinstance(error, PipelineError))
            return _kept(name, Failed(message=notify.sentence(error)))
        return _kept(name, Completed(message=notify.verdict(result)))


def _kept(name: str, state: State[None]) -> State[None]:
    """Show the last verdicts as a table, this one first."""
    try:
        name = deployment.name or name  # which it has also where the config cannot be read
        create_table_artifact(
            table=flow_runs.verdicts(state),
            key=artifact_key("verdicts", name),
            description=f"What came of the last scheduled retrainings of **{name}**, the newest first.",
        )
    except Exception as error:  # noqa: BLE001 - the verdict stands without a table
        get_run_logger().warning("the table of verdicts was not made: %s", error)
    return state
