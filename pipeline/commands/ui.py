"""The command that opens both UIs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pipeline import environment
from pipeline.commands.registry import TrackingUri


def ui(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="The TOML file of a model: opens its experiment, in the store that it names.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingUri = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of MLflow's UI.")] = 5000,
    prefect_port: Annotated[
        int, typer.Option("--prefect-port", min=1, max=65535, help="Of Prefect's UI.")
    ] = 4200,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the pages in a browser.")
    ] = True,
) -> None:
    """Open the UIs of MLflow and Prefect, on the stores that retrain uses.

    MLflow shows experiments, runs, registered models and the report on each candidate;
    Prefect shows runs, schedules and verdicts. Both are served on this machine alone,
    until Ctrl-C. A store that is a server, and a Prefect server that runs already, are
    used as they are.

    Example: ordinal-pipeline ui wine.toml
    """
    environment.prepare()
    from pipeline.config import load_config
    from pipeline.schedule.server import PrefectServer
    from pipeline.tracking import links, store
    from pipeline.tracking.runs import Experiment
    from pipeline.tracking.ui import MlflowServer

    experiment = ""
    if config is not None:
        settings = load_config(config)
        tracking_uri = tracking_uri or settings.tracking.uri
        experiment = settings.tracking.experiment or settings.name
    store.hurry()
    environment.keep_interrupts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as Ctrl-C does, by ending both
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        mlflow = stack.enter_context(MlflowServer(tracking_uri, port))
        _say("starting MLflow and Prefect …")
        prefect = stack.enter_context(PrefectServer(prefect_port, _say))
        mlflow.wait()
        page = "#/experiments"
        if experiment and (found := Experiment.find(mlflow.uri, experiment)):
            page = links.experiment(found.id)
        pages = {"MLflow": f"{mlflow.url}/{page}", "Prefect": prefect.ui}
        for name, url in pages.items():
            _say(f"{name:8}{url}")
        _say("Ctrl-C ends both")
        if browser and _has_screen():
            for url in pages.values():
                webbrowser.open(url)
        while True:
            time.sleep(1)
            mlflow.check()


def _has_screen() -> bool:
    """Whether a browser has where to open; else one for the terminal would."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _say(text: str) -> None:
    typer.echo(text, err=True)
