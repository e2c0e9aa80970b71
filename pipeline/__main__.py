"""The `ordinal-pipeline` command."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pipeline import environment
from pipeline.commands import doctor, migrate, registry, schedule, score, ui
from pipeline.errors import InputError, PipelineError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.flow import Retrained

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

    from pipeline.config import load_config
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
    from pipeline.sweep import planning

    pairs = "; ".join(map(str, planning.pairs(settings, data)))
    console.print(f"{settings.search.trials} trials: {pairs}; {settings.search.after}")
    console.print(f"{settings.name} can be trained: ordinal-pipeline retrain {config}")


@app.command()
def retrain(
    config: ConfigFile,
    changes: Changes = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on the standard output.")
    ] = False,
) -> None:
    """Train every trial, export and register the best, and make it champion if the gate lets it pass.

    Experiments go to MLflow, the run itself to Prefect. A run that was killed goes on where it was
    when the same command is given again, with the same data, in the same folder. Ends with status 2
    where the config or the data is wrong, and nothing is registered then. The section "notify" of the
    config says who is told of failures and new champions.

    Example: ordinal-pipeline retrain examples/digits.toml --set search.epochs=20
    """
    environment.prepare()
    from pipeline import notify
    from pipeline.config import load_config

    # Python would end at once, and leave Prefect's embedded server. Prefect puts a handler of its own here
    # while the flow runs, and sends the signal again after it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    changed = tuple(changes or ())
    try:
        with notify.watching(config, changed, _say) as ended:
            settings = load_config(config, changed)
            _say(f"{settings.name}: reading rows …")
            result = _retrained(settings)
            ended(result)
    except (KeyboardInterrupt, SystemExit) as error:
        _say("ended before its time: the same command goes on from here")
        raise typer.Exit(getattr(error, "code", 128 + signal.SIGINT)) from None
    _say(f"exported: {result.chosen}")
    become = "is the champion" if result.promoted else "does not become the champion"
    _say("\n- ".join([f"{result.model} version {result.version} {become}:", *result.reasons]))
    for step in _steps(result, settings, config):
        _say(step)
    if as_json:
        known = {name: value if isfinite(value) else None for name, value in result.metrics.items()}
        typer.echo(json.dumps({**asdict(result), "metrics": known}))  # JSON has no NaN


def _retrained(settings: Config) -> Retrained:
    """Run the flow, and say what it is about."""
    from pipeline.session import opened

    with opened(settings) as session:
        data, search = session.data, settings.search
        for note in data.notes:
            _say(f"warning: {note}")
        if session.folder.resumed:
            _say(f"going on with the run in {session.folder.path}, whose process has ended")
        at_a_time, where = search.workers, f"{session.gpus} GPUs" if session.gpus else "the CPU"
        if session.cluster is not None:
            at_a_time, where = session.cluster.at_a_time, session.cluster.described
        at_once = f", {at_a_time} at a time" if at_a_time > 1 else ""
        _say(
            f"{settings.name}: {len(data.y)} rows, {data.labels.count} labels; {search.trials} trials"
            f"{at_once} on {where}; starting Prefect …"
        )
        from pipeline import flow  # whatever may be wrong with the input was found before a server starts

        environment.keep_interrupts()
        return flow.retrain(settings)


def _steps(result: Retrained, config: Config, file: Path) -> Iterator[str]:
    """Yield the commands to go on with."""
    name, told = result.model, config.tracking.uri
    # A store that no config names is found by those commands as it was by this one.
    uri = f'"{told}"' if told.startswith("$") else shlex.quote(result.tracking_uri)
    where = f" --tracking-uri {uri}" if told else ""
    yield f"see the report on it: ordinal-pipeline ui {shlex.quote(str(file))}"
    if not result.promoted:
        yield f"promote it by hand: ordinal-pipeline promote {name} {result.version} --why TEXT{where}"
    if result.champion is not None:
        yield f"serve the champion: ordinal-serving serve models:/{name}@champion{where}"


for command in (
    registry.export,
    registry.promote,
    registry.rollback,
    registry.history,
    doctor.doctor,
    schedule.schedule,
    score.score,
    migrate.migrate,
    ui.ui,
):
    app.command()(command)


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
    except Exception as error:
        from serving.client import OrdinalError  # which loads gRPC

        if not isinstance(error, OrdinalError):
            raise
        _fail(error, 1)


if __name__ == "__main__":
    main()
