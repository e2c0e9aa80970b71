"""The `ordinal-pipeline` command."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipeline import environment
from pipeline.config import load_config
from pipeline.errors import InputError, PipelineError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From rows with ordered labels to a registered model that decides.",
)


@app.callback()
def _pipeline() -> None:
    """Keeps `retrain` a command of its own while it is the only one."""


@app.command()
def retrain(
    config: Annotated[Path, typer.Argument(help="The TOML file of the model.", show_default=False)],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as search.epochs=50."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on the standard output.")
    ] = False,
) -> None:
    """Train every trial, export the best, register it and make it the champion.

    Experiments go to MLflow, the run itself to Prefect. Ends with status 2 where the config or the
    data is wrong, and nothing is registered then.

    Example: ordinal-pipeline retrain examples/digits.toml --set search.epochs=20
    """
    environment.prepare()
    from pipeline.data import load

    # Whatever may be wrong with the input is found here, before a server is started; the flow does the
    # same again, since a schedule runs it without this command.
    settings = load_config(config, tuple(changes or ()))
    data = load(settings)
    _say(f"{settings.name}: {len(data.y)} rows, {data.labels.count} labels; loading TensorFlow …")
    gpus = environment.import_tensorflow()
    from pipeline import sweep

    trials = sweep.plan(settings, data)
    from pipeline.tracking.runs import Experiment

    Experiment(settings.tracking.uri, settings.tracking.experiment or settings.name)
    _say(f"{len(trials)} trials on {f'{gpus} GPUs' if gpus else 'the CPU'}; starting Prefect …")
    from pipeline import flow

    result = flow.retrain(settings)
    _say(
        f"{result.model} version {result.version} is the champion: {'; '.join(result.reasons)}\n"
        f"serve it: ordinal-serving serve models:/{result.model}@champion"
    )
    if as_json:
        known = {name: value if isfinite(value) else None for name, value in result.metrics.items()}
        typer.echo(json.dumps({**asdict(result), "metrics": known}))  # JSON has no NaN


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _fail(error: Exception, status: int) -> NoReturn:
    _say(f"ordinal-pipeline: {error}")
    sys.exit(status)


def main() -> None:
    """Run the command; expected errors are one sentence and an exit status, never a traceback."""
    try:
        app()
    except InputError as error:
        _fail(error, 2)
    except PipelineError as error:
        _fail(error, 1)


if __name__ == "__main__":
    main()
