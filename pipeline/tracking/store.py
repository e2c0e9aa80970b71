"""MLflow's store: where it is, and its failures in one sentence."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pipeline.config.fields import without_password
from pipeline.errors import InputError, PipelineError, StoreError

# Somebody waits at the terminal; by default MLflow tries for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
# MLflow tells of migrations and greets; its SQL layer logs whole traces of what becomes one sentence here.
_QUIET = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
}
_OF_S3 = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "boto3.exceptions": ("Boto3Error",),
}

shown = without_password


def address(uri: str) -> str:
    """Return the store that is meant: `uri`, what the variable `$NAME` holds, or MLflow's default.

    Raises:
        InputError: Where there is no such variable.
    """
    if not uri.startswith("$"):
        return uri or mlflow.get_tracking_uri()
    if found := os.environ.get(uri[1:]):
        return found
    raise InputError(
        f"the address of MLflow's store is to be in the environment variable {uri[1:]}: it is not set"
    )


@contextmanager
def reached(uri: str, error: type[PipelineError] = StoreError) -> Iterator[None]:
    """Turn what MLflow raises within into one sentence.

    Args:
        uri: Of the store, to be named.
        error: InputError where the store was never usable, so that its address is to blame.

    Raises:
        PipelineError: Of that class, where the store fails.
    """
    for chatty, level in _QUIET.items():
        logging.getLogger(chatty).setLevel(level)
    try:
        yield
    except _failures() as cause:
        reason = _reason(cause).replace(uri, shown(uri))
        raise error(f"MLflow's store at {shown(uri)!r} cannot be used: {reason}") from cause


def _failures() -> tuple[type[Exception], ...]:
    """Return what stores raise; an object store's package is imported by MLflow where there is one."""
    found: list[type[Exception]] = [MlflowException, SQLAlchemyError, OSError, ModuleNotFoundError]
    for module, names in _OF_S3.items():
        if module in sys.modules:
            found += [getattr(sys.modules[module], name) for name in names]
    return tuple(found)


def _reason(error: BaseException) -> str:
    """Return what the database itself says, where there is one below."""
    if isinstance(error, ModuleNotFoundError):  # a driver
        return f"{error}; pip install 'ordinal[train,servers]'"
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, DBAPIError) and below.orig is not None:
            error = below.orig
            break
        below = below.__cause__
    return " ".join(str(error).split())[:400]  # SQLAlchemy's messages run over many lines


def database(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for any other store."""
    if not uri.startswith("sqlite"):
        return None
    try:
        name = make_url(uri).database or ""
    except SQLAlchemyError:
        return None  # MLflow refuses it, with its own words
    if name in ("", ":memory:"):
        return None
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Be the only process that opens a SQLite store: two that make its tables at once spoil both."""
    path = database(uri)
    if path is None or not os.access(path.parent, os.W_OK):  # there is nothing to be made
        yield
        return
    with FileLock(path.with_name(f".{path.name}.open.lock")):
        yield


def make_tables(uri: str, root: str) -> None:
    """Have MLflow make its tables in a database, unless they are there.

    Args:
        uri: Of the database.
        root: Where files of experiments go, unless they say otherwise; its default experiment does not.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # which servers alone need else

    SqlAlchemyStore(uri, root).engine.dispose()  # type: ignore[no-untyped-call]


def check_database(uri: str) -> None:
    """Refuse a SQLite file that is missing; MLflow would make one by looking into it.

    Raises:
        InputError: Where there is none.
    """
    path = database(uri)
    if path is not None and not path.is_file():
        raise InputError(
            f"no registry at {uri}: there is no file {path}; set --tracking-uri or MLFLOW_TRACKING_URI"
        )


def cut(text: str, longest: int) -> str:
    """Return a text, or the beginning of one that is longer than what MLflow's SQL stores take."""
    return text if len(text) <= longest else f"{text[: longest - 2]} …"


def quoted(text: str) -> str:
    """Return a text for a condition in MLflow's own language, which knows no escapes."""
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def hurry() -> None:
    """Let this process give up on a server that does not answer in seconds."""
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
