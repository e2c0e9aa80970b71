"""The command that retrains by the clock."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import environment
from pipeline.errors import InputError
from pipeline.schedule.server import PORT


def schedule(
    config: Annotated[Path, typer.Argument(help="The TOML file of the model.", show_default=False)],
    cron: Annotated[
        str,
        typer.Option(
            "--cron",
            metavar="CRON",
            help="When: minute, hour, day of month, month, day of week.",
            show_default=False,
        ),
    ],
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="Of that, such as Europe/Berlin.")
    ] = "UTC",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as search.epochs=50."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Have the first run at once.")] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port", min=1, max=65535, help="Of our Prefect server, where PREFECT_API_URL is not set."
        ),
    ] = PORT,
) -> None:
    """Retrain by the clock, one run at a time, until it is told to end.

    Each run reads the config anew. What becomes due while a run is going on is skipped; of runs
    that were missed one is made up for; a run that was cut off is gone on with when the same
    command is given again. Prefect shows the runs and what came of them: on the server of
    PREFECT_API_URL, or on one that is started here, for as long as this lasts. The section
    "notify" of the config says who is told of failures and new champions.

    Example: ordinal-pipeline schedule wine.toml --cron "0 3 * * *" --timezone Europe/Berlin
    """
    environment.prepare()
    changed = tuple(changes or ())
    _keep_secrets(changed)
    from pipeline.config import load_config
    from pipeline.schedule.serve import serve

    settings = load_config(config, changed)

    environment.keep_interrupts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        serve(settings, config, changed, cron=cron, timezone=timezone, port=port, now=now, say=_say)
    except (KeyboardInterrupt, SystemExit) as error:
        _say("ended: the same command goes on from here")
        raise typer.Exit(getattr(error, "code", 128 + signal.SIGINT)) from None


def _keep_secrets(changes: tuple[str, ...]) -> None:
    """Refuse what Prefect should not show: changes are parameters of its runs."""
    for change in changes:
        key, _, value = change.partition("=")
        key, webhook = key.strip(), "notify.webhook"
        told = key.split(".")[0] == "notify" and not (
            key == "notify.on" or (key == webhook and re.fullmatch(r"\s*(['\"]?)\$\w+\1\s*", value))
        )
        if told or re.search(r"://[^/].*@|[?&]password=", value):
            raise InputError(
                f"--set {key}: Prefect would show the secret in it; write it into the config"
                + (", or set it to the '$NAME' of an environment variable" if key == webhook else "")
            )


def _say(text: str) -> None:
    typer.echo(text, err=True)
