"""What is asked of Prefect, and told to it, about the runs of one deployment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import OrchestrationResult, filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import FlowRunResponse, SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.runtime import flow_run
from prefect.states import Cancelled, Crashed, Pending, Scheduled

from pipeline.errors import PipelineError

VERDICTS = 20
"""Rows of the table that shows the last ones."""

_ALIVE = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


@contextmanager
def answered(url: str) -> Iterator[None]:
    """Turn what Prefect's client raises within into one sentence.

    Raises PipelineError where the server does not answer as it should.
    """
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PipelineError(f"the Prefect server at {url} does not answer: {reason}") from error


class FlowRuns:
    """The runs of one deployment."""

    def __init__(self, client: SyncPrefectClient, deployment: UUID) -> None:
        self._client = client
        self.deployment = deployment
        """Its id, which is another one where it was deleted and made anew."""

    def due(self) -> list[FlowRunResponse]:
        """Return those that should have begun by now and have not, the oldest first."""
        now = datetime.now(UTC)
        found = self._client.get_scheduled_flow_runs_for_deployments([self.deployment], now)
        return sorted(found, key=lambda run: run.next_scheduled_start_time or now)

    def next(self) -> datetime | None:
        """Return when the next one begins, as far as Prefect knows by now."""
        found = self._read([StateType.SCHEDULED], FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, 1)
        return found[0].next_scheduled_start_time if found else None

    def alive(self) -> list[FlowRun]:
        """Return those that Prefect takes to have a process."""
        return self._read(_ALIVE, FlowRunSort.EXPECTED_START_TIME_ASC, 200)

    def state(self, run: UUID) -> State[Any] | None:
        """Return the state of one; None where Prefect has forgotten it."""
        try:
            return self._client.read_flow_run(run).state
        except ObjectNotFound:
            return None

    def claim(self, run: UUID) -> bool:
        """Take one that is due; False where somebody else has, or it was deleted."""
        try:
            answer: OrchestrationResult[Any] = self._client.set_flow_run_state(run, Pending())
        except ObjectNotFound:
            return False
        return answer.status == SetStateStatus.ACCEPT

    def cancel(self, run: UUID, why: str) -> None:
        """End one that has no process; nothing where it was deleted."""
        with suppress(ObjectNotFound):
            self._client.set_flow_run_state(run, Cancelled(message=why), force=True)

    def crash(self, run: UUID, why: str) -> None:
        """End one whose process has died; nothing where it was deleted."""
        with suppress(ObjectNotFound):
            self._client.set_flow_run_state(run, Crashed(message=why), force=True)

    def add(self, why: str) -> FlowRun:
        """Have one that is due now, with the deployment's parameters as they are now."""
        return self._client.create_flow_run_from_deployment(self.deployment, state=Scheduled(message=why))

    def _read(self, types: Sequence[StateType], sort: FlowRunSort, limit: int) -> list[FlowRun]:
        return self._client.read_flow_runs(
            flow_run_filter=_of(self.deployment, types), sort=sort, limit=limit
        )


def verdicts(state: State[Any]) -> list[dict[str, Any]]:
    """Return rows about the last runs of the deployment of this run; it ends with the state."""
    with get_client(sync_client=True) as client:
        this = client.read_flow_run(UUID(str(flow_run.id)))
        rows = [_row(this, state)]
        if this.deployment_id is not None:
            over = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
            last = client.read_flow_runs(
                flow_run_filter=_of(this.deployment_id, over),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                limit=VERDICTS - 1,
            )
            rows += [_row(run, run.state) for run in last if run.state is not None]
    return rows


def _row(run: FlowRun, state: State[Any]) -> dict[str, Any]:
    began = run.start_time or run.expected_start_time
    return {
        "began": began.strftime("%Y-%m-%d %H:%M:%S UTC") if began else "",
        "run": run.name,
        "ended": state.name,
        "verdict": state.message or "",
    }


def _of(deployment: UUID, types: Sequence[StateType]) -> filters.FlowRunFilter:
    return filters.FlowRunFilter(
        deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment]),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=list(types))),
    )
