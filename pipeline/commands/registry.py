"""The commands that are about registered models."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import environment
from pipeline.errors import InputError, choice

if TYPE_CHECKING:
    from pipeline.promotion import Change, Moved

Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered model.", show_default=False)]
Why = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.", show_default=False)
]
TrackingUri = Annotated[
    str,
    typer.Option(
        "--tracking-uri",
        help="MLflow registry.",
        show_default="MLFLOW_TRACKING_URI or ./mlflow.db",
    ),
]
Version = Annotated[
    int | None, typer.Option("--version", min=1, help="Which version, in place of an alias.")
]
Alias = Annotated[str | None, typer.Option("--alias", help="Which alias.", show_default="champion")]


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
    version: Version = None,
    alias: Alias = None,
    max_batch_size: Annotated[
        int, typer.Option("--max-batch-size", min=1, help="Most rows that Triton answers together.")
    ] = 512,
    tracking_uri: TrackingUri = "",
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
            from pipeline.tracking import registry, store

            store.hurry()
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


def promote(
    name: Name,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=1, help="Which version.", show_default=False)
    ],
    why: Why,
    tracking_uri: TrackingUri = "",
) -> None:
    """Make a version of a registered model its champion.

    One promotion of a model at a time: the change is written down, the alias moves,
    and what a service would get is fetched and run. Where that fails, the alias is
    put back, and the command ends with status 1.

    Example: ordinal-pipeline promote wine 4 --why "the new sensor is in service"
    """
    _prepare()
    from pipeline import promotion

    _tell(name, promotion.promote(tracking_uri, name, version, why=why))


def rollback(name: Name, why: Why, tracking_uri: TrackingUri = "") -> None:
    """Make the champion before the current one the champion again.

    Once more goes one further back. It is written down and tried as a promotion is.

    Example: ordinal-pipeline rollback wine --why "complaints about 5s"
    """
    _prepare()
    from pipeline import promotion

    _tell(name, promotion.rollback(tracking_uri, name, why=why))


def history(
    name: Name,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list on the standard output.")
    ] = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Show every change of a model's champion.

    When, what, by whom, why, and what became of it, the oldest first. Only what is
    finished has moved the alias.

    Example: ordinal-pipeline history wine
    """
    _prepare()
    from pipeline import promotion
    from pipeline.tracking import registry, store

    store.check_database(store.address(tracking_uri))
    changes = promotion.history(tracking_uri, name)
    if not changes:
        names = registry.names(tracking_uri)
        if name not in names:
            raise choice("MLflow's store", "model", name, names)
    if as_json:
        typer.echo(json.dumps([_plain(change) for change in changes]))
    elif changes:
        _show(changes)
    else:
        _say(f"the champion of {name} was never changed by promote or rollback")


def _prepare() -> None:
    environment.prepare()
    from pipeline.tracking import store

    store.hurry()


def _tell(name: str, moved: Moved) -> None:
    for note in moved.notes:
        _say(f"warning: {note}")
    if not moved.moved:
        _say(f"{name}: {moved.why}; nothing is changed")
        return
    before = f"version {moved.before}" if moved.before else "none"
    _say(f"{name}: the champion was {before}, and is version {moved.champion} now")


def _plain(change: Change) -> dict[str, Any]:
    """Return it as JSON has it; `from` is no name in Python."""
    fields = asdict(change)
    return {
        "number": change.number,
        "from": fields.pop("before"),
        **fields,
        "when": change.when.isoformat(),
    }


def _show(changes: list[Change]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "when (UTC)", "what", "from → to", "who", "why", "state"):
        table.add_column(column, no_wrap=column != "why")
    for change in changes:
        words = f"{change.why} ({change.reason})" if change.reason else change.why
        cells = (
            str(change.number),
            f"{change.when:%Y-%m-%d %H:%M}",
            change.kind,
            f"{change.before or 'none'} → {change.to}",
            change.who,
            words,
            change.state,
        )
        table.add_row(*map(Text, cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def _say(text: str) -> None:
    typer.echo(text, err=True)
