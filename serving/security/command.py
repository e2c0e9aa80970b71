"""The command `ordinal-serving token`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def token(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who will have it: up to 64 letters, digits, - and _.")
    ],
    file: Annotated[
        Path, typer.Option(help="The file that `serve --tokens` reads; made where it is missing.")
    ],
    requests_per_second: Annotated[
        float | None,
        typer.Option(
            help="Requests, and messages of streams, that each worker answers; left out: any number."
        ),
    ] = None,
    concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="Calls and streams under way in each worker; left out: any number."),
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="It may also read the metrics, and use server reflection.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take the place of the token of this name, which is refused then."),
    ] = False,
) -> None:
    """Make a token, put its hash into FILE, and print it once: nobody can read it from the file.

    A running service takes it in within a few seconds. To revoke one, remove its table from the file.

    Example: ordinal-serving token mobile --file tokens.toml --requests-per-second 100
    """
    from serving.security import tokens_file

    made = tokens_file.add(
        file,
        name,
        requests_per_second=requests_per_second,
        concurrent=concurrent,
        admin=admin,
        replace=replace,
    )
    print(f"token {name} is in {file}; this is the only time that it is shown:", file=sys.stderr)
    print(made)
