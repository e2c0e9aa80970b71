"""The schedule as Prefect knows it: one deployment a model, found by its name."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.errors import InputError, PipelineError, nearest
from pipeline.schedule.flow import NAME, scheduled
from pipeline.schedule.flow_runs import verdicts_key
from pipeline.schedule.served import Served

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

_GONE = timedelta(seconds=60)
"""Who has not asked for runs for so long does not serve them any more."""


def check(cron: str, timezone: str) -> None:
    """Raise InputError where the schedule is none."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # of a name that is none, and of one that is a folder
        raise _no_zone(timezone) from None
    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValidationError:
        raise InputError(
            f"--cron {cron!r}: must be minute, hour, day of month, month and day of week, such as "
            "'0 3 * * *' for each night at three, or '*/30 8-17 * * 1-5'"
        ) from None


def deploy(client: SyncPrefectClient, served: Served, settings: Config) -> UUID:
    """Make or change the deployment of a model; return its id.

    Raises PipelineError where another machine, or another folder, serves it.
    """
    where = f"{socket.gethostname()}:{Path.cwd()}"
    try:
        found = client.read_deployment_by_name(f"{NAME}/{served.name}")
    except ObjectNotFound:
        pass
    else:
        asked = found.last_polled
        elsewhere = [tag for tag in found.tags if ":" in tag and tag != where]
        if elsewhere and asked is not None and datetime.now(UTC) - asked < _GONE:
            raise PipelineError(
                f"the schedule of {served.name!r} is served from {elsewhere[0]}; end that one first, or "
                "try again in a minute if it has ended"
            )
    made = cast(
        "RunnerDeployment",  # and no coroutine, outside of an event loop
        scheduled.to_deployment(
            name=served.name,
            schedule=Cron(served.cron, timezone=served.timezone),
            parameters={"config": str(served.config), "changes": list(served.changes)},
            description=_page(served, settings),
            tags=[where],
            entrypoint_type=EntrypointType.MODULE_PATH,
        ),
    )
    return UUID(str(made.apply()))


def _page(served: Served, settings: Config) -> str:
    """Return what the deployment's page says, in Markdown."""
    changed = "".join(f" `--set {change}`" for change in served.changes)
    experiment = settings.tracking.experiment or settings.name
    return "\n".join(
        [
            f"Retrains **{served.name}**; the candidate becomes champion where the gate lets it pass.",
            "",
            "| | |",
            "|---|---|",
            f"| config | `{served.config}`{changed}, read anew for each run |",
            f"| folder | `{Path.cwd()}` on {socket.gethostname()} |",
            f"| when | `{served.cron}`, {served.timezone} |",
            f"| verdicts | the message of each run; all of them: artifact `{verdicts_key(served.name)}` |",
            f"| trials, reports | MLflow, experiment `{experiment}` |",
            f"| champion | MLflow, model `{served.name}`, alias `champion` |",
            "",
            "One run at a time: what becomes due meanwhile is cancelled, and of runs that were missed one "
            "is made up for. A run that was cut off is gone on with.",
        ]
    )


def _no_zone(timezone: str) -> InputError:
    close = nearest(timezone, available_timezones()) or "; name one as in 'Europe/Berlin'"
    return InputError(f"--timezone {timezone!r}: no such time zone{close}")
