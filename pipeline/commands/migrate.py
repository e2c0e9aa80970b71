"""The command that copies a store of MLflow to another place."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline import environment

_DATABASE = "sqlite:///FILE, postgresql://USER@HOST/NAME, or '$NAME' of a variable that holds one."


def migrate(
    origin: Annotated[
        str,
        typer.Argument(metavar="FROM", help=f"The store that is read: {_DATABASE}", show_default=False),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="TO", help=f"An empty database: {_DATABASE}", show_default=False),
    ],
    artifacts: Annotated[
        str,
        typer.Option(
            "--artifacts",
            metavar="PLACE",
            help="Where files go: s3://BUCKET/PREFIX, or a folder.",
            show_default="mlartifacts beside a SQLite file",
        ),
    ] = "",
    proxied: Annotated[
        bool,
        typer.Option(
            "--proxied",
            help="An MLflow server on TO will hand out files, from PLACE; see --from-artifacts.",
        ),
    ] = False,
    from_artifacts: Annotated[
        str,
        typer.Option(
            "--from-artifacts",
            metavar="PLACE",
            help="Where the MLflow server of FROM has the files that it hands out.",
            show_default="as FROM says",
        ),
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Also while runs are going on, which are copied as they are.")
    ] = False,
) -> None:
    """Copy MLflow's store, rows and files, to another database and another place.

    From SQLite to PostgreSQL and S3 where one machine is outgrown; the other way for a backup that
    every command can open; from either to another of its kind. FROM is only read. All rows
    come in one transaction, after the files: killed half-way, the target is still empty, and
    the same command goes on.

    Example: ordinal-pipeline migrate sqlite:///mlflow.db postgresql://mlflow@db/mlflow
    --artifacts s3://ordinal/mlflow
    """
    environment.prepare()
    from pipeline.migrate import files
    from pipeline.migrate import migrate as copy
    from pipeline.tracking import store

    done = copy(
        origin, target, artifacts, proxied=proxied, from_artifacts=from_artifacts, live=live, say=_say
    )
    for note in done.notes:
        _say(f"warning: {note}")
    seals = f"; seals hold of {', '.join(done.checked)}" if done.checked else ""
    _say(
        f"{store.shown(store.address(target))} has all {done.rows:,} rows of {done.tables} tables; of "
        f"{done.files.files:,} files, {files.sized(done.files.size)}, {done.files.copied:,} were copied "
        f"now{seals}"
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)
