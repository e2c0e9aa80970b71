"""The address of an MLflow registry, as far as it can be judged without MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.resolve import Unreachable

_SQLITE = "sqlite:///"


def check_database(registry: str) -> None:
    """Raise Unreachable for a SQLite file that is no registry; MLflow would make it one by looking."""
    if not registry.startswith(_SQLITE):
        return
    path = Path(unquote(registry.removeprefix(_SQLITE).partition("?")[0]))
    if not path.is_file():
        raise Unreachable(
            f"no registry at {registry}: there is no file {path}; set --tracking-uri or MLFLOW_TRACKING_URI"
        )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute(
                "select 1 from sqlite_master where name = 'registered_models'"
            ).fetchone()
    except sqlite3.Error as error:
        raise Unreachable(f"{path} cannot be read as a registry: {error}") from error
    if found is None:
        raise Unreachable(f"{path} is a SQLite file, but no MLflow registry")


def shown(registry: str) -> str:
    """The registry's address without a password in it."""
    parts = urlsplit(registry)
    if parts.password is None:
        return registry
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":…@")).geturl()
