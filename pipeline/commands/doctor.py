"""The command that says what is wrong with the set-up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="The TOML file of a model, to look at its data, store and champion too.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on the standard output.")
    ] = False,
    imports: Annotated[
        bool,
        typer.Option("--imports", help="Import the large packages too, which takes half a minute."),
    ] = False,
) -> None:
    """Say what is wrong with this machine's set-up, each finding with its mend.

    Looks at installed packages and their ranges, CUDA, telemetry, MLflow's store, Prefect, disks,
    what killed runs have left, ports, cores, memory and the environment. Changes nothing. Ends with
    status 1 where something will fail; a warning does not change that. Where this command itself
    does not start: python -m pipeline.doctor

    Example: ordinal-pipeline doctor wine.toml
    """
    from pipeline.doctor import page
    from pipeline.doctor.examine import examine

    found = examine(config, imports)
    if as_json:
        typer.echo(page.as_json(found))
    else:
        page.show(found)
    raise typer.Exit(page.status(found))
