"""All that `ordinal-pipeline schedule` does, from its lock to its loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pipeline.config import Config
from pipeline.schedule import deployment, held
from pipeline.schedule.deployment import Deployment, Served
from pipeline.schedule.flow_runs import FlowRuns, answered
from pipeline.schedule.served import Loop
from pipeline.schedule.server import PrefectServer

_RETRIES = 2
"""Of a request; by default it is tried for a minute, and nobody looks after the run meanwhile."""


def serve(
    settings: Config,
    config: Path,
    changes: tuple[str, ...],
    *,
    cron: str,
    timezone: str,
    port: int,
    now: bool,
    say: Callable[[str], object],
) -> NoReturn:
    """Serve a model's schedule until an exception passes, of which an order to end is one.

    Args:
        settings: The config, as it is now; each run reads it anew.
        config: Its file.
        changes: Made to it, `key=value`.
        cron: When.
        timezone: Of that.
        port: Of our Prefect server, where none is set.
        now: Have a run at once.
        say: Is given what happens, a line at a time.

    Raises:
        InputError: The schedule is none, or something else is on the port.
        PipelineError: Somebody else serves it, or has taken it, or Prefect does not answer.
    """
    deployment.check(cron, timezone)
    with held.schedule(settings.name), PrefectServer(port, say) as server:
        served = Served(settings.name, config, changes, cron, timezone, server.url)
        with get_client(sync_client=True) as client:
            with answered(server.url):
                made = Deployment(client, served, settings)
                say(f"{settings.name} is retrained at {cron!r} {timezone}; Prefect: {server.ui}")
                loop = Loop(served, made, FlowRuns(client, made.id), say)
                loop.recover(now)
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: _RETRIES}):
                loop.forever()
