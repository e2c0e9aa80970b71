"""The `ordinal-pipeline` command."""

from __future__ import annotations

import json
import sys
import tempfile
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


ConfigFile = Annotated[Path, typer.Argument(help="The TOML file of the model.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as search.epochs=50."),
]


@app.command()
def init(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A .csv, .tsv, .parquet or .npz file, a folder of images, or a name that is built in.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="CONFIG", help="Where to.", show_default="NAME.toml"),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="The column of the label.", show_default="guessed by its name")
    ] = "",
    labels: Annotated[
        str,
        typer.Option("--labels", metavar="A,B,…", help="The labels in their order, lowest first."),
    ] = "",
    encoding: Annotated[str, typer.Option("--encoding", help="Of a text file.")] = "utf-8",
    missing: Annotated[
        list[str] | None,
        typer.Option("--missing", metavar="TEXT", help="A text that stands for a missing value."),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option("--categorical", metavar="COLUMN", help="A column of numbers that are names."),
    ] = None,
) -> None:
    """Look at rows, and write a first config for them.

    Guesses which column is the label, and the order of labels that are numbers or a known
    scale, such as low < medium < high. Where it cannot know the order it asks, or ends with
    status 2 where there is nobody to ask.

    Example: ordinal-pipeline init wine.csv
    """
    from pipeline.draft import draft

    found = draft(source, label, encoding, missing or (), categorical or ())
    if labels:
        found = found.with_order(labels)
    elif found.order is None and sys.stdin.isatty():
        _say(f"The labels are {', '.join(found.found)}; which is the lowest, the next …?")
        given = typer.prompt("In their order, with commas between", err=True)
        found = found.with_order(given)
    path = output or Path(f"{found.name}.toml")
    found.write(path)
    _say(
        f"{path} is for {found.rows:,} rows with {len(found.found)} labels"
        + (f" in column {found.label!r}" if found.label else "")
        + f"\ncheck it: ordinal-pipeline validate {path}\ntrain:    ordinal-pipeline retrain {path}"
    )


@app.command()
def validate(
    config: ConfigFile,
    changes: Changes = None,
) -> None:
    """Check a config and its data as retrain does, without training.

    Shows labels by part, columns, what is worth knowing of them, and the trials. Ends with
    status 2 and one sentence where something is wrong.

    Example: ordinal-pipeline validate wine.toml
    """
    environment.prepare()
    from rich.console import Console

    from pipeline.data import load
    from pipeline.report.terminal import show

    settings = load_config(config, tuple(changes or ()))
    data = load(settings)
    console = Console(
        markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 100
    )
    show(data, console)
    _say("loading TensorFlow …")
    environment.import_tensorflow()
    from pipeline import sweep

    trials = sweep.plan(settings, data)
    if settings.unused:
        _say(f"warning: not used yet: {', '.join(settings.unused)}")
    console.print(f"{len(trials)} trials: {'; '.join(trial.title for trial in trials)}")
    console.print(f"{settings.name} can be trained: ordinal-pipeline retrain {config}")


@app.command()
def retrain(
    config: ConfigFile,
    changes: Changes = None,
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
    for note in data.notes:
        _say(f"warning: {note}")
    _say(f"{settings.name}: {len(data.y)} rows, {data.labels.count} labels; loading TensorFlow …")
    gpus = environment.import_tensorflow()
    from pipeline import sweep

    trials = sweep.plan(settings, data)
    from pipeline.tracking.runs import Experiment

    Experiment(settings.tracking.uri, settings.tracking.experiment or settings.name)
    _say(f"{len(trials)} trials on {f'{gpus} GPUs' if gpus else 'the CPU'}; starting Prefect …")
    from pipeline import flow

    del data  # the flow reads it itself
    result = flow.retrain(settings)
    _say(
        f"{result.model} version {result.version} is the champion: {'; '.join(result.reasons)}\n"
        f"serve it: ordinal-serving serve models:/{result.model}@champion"
    )
    if as_json:
        known = {name: value if isfinite(value) else None for name, value in result.metrics.items()}
        typer.echo(json.dumps({**asdict(result), "metrics": known}))  # JSON has no NaN


@app.command()
def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A registered model, or the path of an .onnx artifact.",
            show_default=False,
        ),
    ],
    triton: Annotated[
        Path | None,
        typer.Option("--triton", metavar="DIR", help="Add the model to this Triton model repository."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Copy the artifact itself to this file."),
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Which version, in place of an alias.")
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="Which alias.", show_default="champion")
    ] = None,
    max_batch_size: Annotated[
        int, typer.Option("--max-batch-size", min=1, help="Most rows that Triton answers together.")
    ] = 512,
    tracking_uri: Annotated[
        str,
        typer.Option(
            "--tracking-uri",
            help="MLflow registry.",
            show_default="MLFLOW_TRACKING_URI or ./mlflow.db",
        ),
    ] = "",
) -> None:
    """Copy a model out of the registry: as a file, or for NVIDIA Triton.

    It is the very file that ordinal-serving would serve, checked by the same loader.
    In a Triton repository it stands twice: DIR/NAME takes rows, and Triton batches
    requests; DIR/NAME_with_costs takes the optional inputs cost and coverage too,
    without batching. Versions go side by side, and nothing is overwritten.

    Example: ordinal-pipeline export digits --triton models
    """
    environment.prepare()
    if triton is None and file is None:
        raise InputError("nowhere to export to: give --triton DIR, --file FILE, or both")
    if version is not None and alias is not None:
        raise InputError("--version and --alias each name a version: give one of them")
    is_path = name.endswith(".onnx")
    if is_path and (version is not None or alias is not None):
        raise InputError(f"--version and --alias are of registered models, and {name!r} is a file")
    from pipeline.export import triton as repository

    with tempfile.TemporaryDirectory() as folder:
        path, number = Path(name), 1
        if not is_path:
            from pipeline.tracking import registry

            fetched = registry.fetch(
                tracking_uri, name, Path(folder), version=version, alias=alias or registry.CHAMPION
            )
            path, number = fetched.path, fetched.version
        artifact = repository.load(path)
        if file is not None:
            repository.copy(artifact, file)
            _say(f"the artifact is in {file}")
        if triton is not None:
            known_as = artifact.manifest.name if is_path else name
            models = repository.write(artifact, known_as, number, triton, max_batch_size)
            _say(
                f"version {number} is in {' and '.join(map(str, models))}\n"
                f"serve it: tritonserver --model-repository {triton}"
            )


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
