"""The schedule as Prefect knows it: one deployment a model, found by its name."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.server.schemas.schedules import CronSchedule
from prefect.types.entrypoint import EntrypointType

from pipeline.artifact_key import artifact_key
from pipeline.config import Config
from pipeline.errors import InputError, PipelineError, nearest
from pipeline.schedule.flow import NAME, scheduled

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

_GONE = timedelta(seconds=60)
"""Who has not asked for runs for so long does not serve them any more."""
_TAG = "served from "
"""Begins the tag that says who serves a deployment; all others are its users'."""


class ServedElsewhere(PipelineError):
    """Another process serves the deployment."""


@dataclass(frozen=True)
class Served:
    """What is retrained, and when.

    Attributes:
        name: Of the model.
        config: The TOML file.
        changes: Made to it, `key=value`.
        cron: When.
        timezone: Of that.
        url: Of Prefect's API.
    """

    name: str
    config: Path
    changes: tuple[str, ...]
    cron: str
    timezone: str
    url: str


def check(cron: str, timezone: str) -> None:
    """Raise InputError where the schedule is none."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # of a name that is none, and of one that is a folder
        raise _no_zone(timezone) from None
    try:
        if len(cron.split()) != 5:  # seconds, years and @daily are no part of what is documented
            raise ValueError
        first(cron, timezone)
    except ValueError:
        raise InputError(
            f"--cron {cron!r}: must be minute, hour, day of month, month and day of week, on a date that "
            "exists, such as '0 3 * * *' for each night at three, or '*/30 8-17 * * 1-5'"
        ) from None


def first(cron: str, timezone: str) -> datetime:
    """Return when the schedule is due next; raises ValueError where it is none, or never due."""
    (date,) = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(1))
    return date


class Deployment:
    """The deployment of a model, as this process serves it."""

    def __init__(self, client: SyncPrefectClient, served: Served, settings: Config) -> None:
        """Make or change it.

        Raises ServedElsewhere where another machine, or another folder, serves it.
        """
        self._client = client
        self._served = served
        self._settings = settings
        self._place = f"{_TAG}{socket.gethostname()}:{Path.cwd()}"
        self._tag = f"{self._place} ({uuid4().hex[:8]})"  # machines in containers may have all in common
        self.id = self._made()

    def trouble(self) -> str:
        """Return why it has no runs to come, if it has none; where it was deleted, it is made anew.

        Raises ServedElsewhere where another process has taken it.
        """
        try:
            found = self._client.read_deployment(self.id)
        except ObjectNotFound:
            self.id = self._made()
            return "the deployment was deleted in Prefect: it is made anew"
        if others := [tag for tag in found.tags if tag.startswith(_TAG) and tag != self._tag]:
            raise ServedElsewhere(f"the schedule of {self._served.name!r} is now {others[0]}: it ends here")
        if found.paused or not any(one.active for one in found.schedules):
            return "the schedule is paused in Prefect's UI: nothing runs until it is resumed"
        return ""

    def _made(self) -> UUID:
        served, kept = self._served, []
        with suppress(ObjectNotFound):
            found = self._client.read_deployment_by_name(f"{NAME}/{served.name}")
            asked = found.last_polled
            others = [tag for tag in found.tags if tag.startswith(_TAG) and not self._is_here(tag)]
            if others and asked is not None and datetime.now(UTC) - asked < _GONE:
                raise ServedElsewhere(
                    f"the schedule of {served.name!r} is {others[0]}; end that one first, or try again in "
                    "a minute if it has ended"
                )
            kept = [tag for tag in found.tags if not tag.startswith(_TAG)]
        made = cast(
            "RunnerDeployment",  # and no coroutine, outside of an event loop
            scheduled.to_deployment(
                name=served.name,
                schedule=Cron(served.cron, timezone=served.timezone),
                parameters={"config": str(served.config), "changes": list(served.changes)},
                description=_page(served, self._settings),
                tags=[*kept, self._tag],
                entrypoint_type=EntrypointType.MODULE_PATH,
            ),
        )
        return UUID(str(made.apply()))

    def _is_here(self, tag: str) -> bool:
        """Whether a process of this machine and folder has set it, whose lock is ours now."""
        return tag.rpartition(" (")[0] == self._place


def _page(served: Served, settings: Config) -> str:
    """Return what the deployment's page says, in Markdown."""
    changed = "".join(f" `--set {change}`" for change in served.changes)
    experiment = settings.tracking.experiment or settings.name
    table = artifact_key("verdicts", served.name)
    return "\n".join(
        [
            f"Retrains **{served.name}**; the candidate becomes champion where the gate lets it pass.",
            "",
            "| | |",
            "|---|---|",
            f"| config | `{served.config}`{changed}, read anew for each run |",
            f"| folder | `{Path.cwd()}` on {socket.gethostname()} |",
            f"| when | `{served.cron}`, {served.timezone} |",
            f"| verdicts | the message of each run; all of them: artifact `{table}` |",
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
