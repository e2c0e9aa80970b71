"""The two databases: one read as it is at a moment, one made and found empty."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import InputError
from pipeline.tracking import store

_KINDS = ("sqlite", "postgresql")


def check(uri: str, which: str) -> None:
    """Refuse what is no database that can be read and written row by row.

    Raises:
        InputError: Where it is none; `which` names it.
    """
    try:
        kind = make_url(uri).get_backend_name()
    except SQLAlchemyError:
        kind = ""
    if kind not in _KINDS or (kind == "sqlite" and store.database(uri) is None):
        raise InputError(
            f"{which} must be a database, sqlite:///FILE or postgresql://USER@HOST/NAME, got "
            f"{store.shown(uri)!r}; what an MLflow server keeps is moved by that server's database, which "
            "its --backend-store-uri names"
        )


@contextmanager
def read(uri: str) -> Iterator[Connection]:
    """Open a store that is only read: it stays as it is now, whatever is written to it meanwhile.

    Of a SQLite file that is a copy, made at once; in PostgreSQL it is one transaction. Neither keeps
    others from writing.
    """
    path = store.database(uri)
    if path is None:
        engine = _engine(uri, isolation_level="REPEATABLE READ")
        with _disposed(engine), engine.connect() as connection:
            yield connection.execution_options(postgresql_readonly=True)
        return
    store.check_database(uri)
    with tempfile.TemporaryDirectory(prefix="ordinal-migrate-") as folder:
        copy = Path(folder) / "copy.db"
        try:
            with (
                closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as origin,
                closing(sqlite3.connect(copy)) as target,
            ):
                origin.backup(target)
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        engine = _engine(f"sqlite:///{copy}")
        with _disposed(engine), engine.connect() as connection:
            yield connection


@contextmanager
def write(uri: str) -> Iterator[Connection]:
    """Open a store that is written to in one transaction: all of it is there in the end, or nothing.

    Nobody else writes to it meanwhile.
    """
    engine = _engine(uri)
    with _disposed(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("lock table experiments in exclusive mode"))
        else:
            connection.execute(text("pragma busy_timeout = 20000"))
            connection.execute(text("begin immediate"))
        yield connection


def make(uri: str, root: str) -> None:
    """Have MLflow make its tables in an empty database; those that it has made before stay.

    Args:
        uri: Of the database.
        root: Where files of experiments go, unless they say otherwise.

    Raises:
        InputError: Where it holds the tables of something else, or those of another version of MLflow.
    """
    path = store.database(uri)
    if path is not None:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
    engine = _engine(uri)
    with _disposed(engine), engine.connect() as connection:
        names = inspect(connection).get_table_names()
    if names and "alembic_version" not in names:
        raise InputError(
            f"{store.shown(uri)!r} must be an empty database, and holds tables of something else, such as "
            f"{names[0]}: make a new one"
        )
    store.make_tables(uri, root)


def revision(connection: Connection) -> str:
    """Return the version of the schema; empty where there is none."""
    if "alembic_version" not in inspect(connection).get_table_names():
        return ""
    return str(connection.execute(text("select version_num from alembic_version")).scalar() or "")


def _engine(uri: str, **options: str) -> Engine:
    return create_engine(uri, poolclass=NullPool, **options)


@contextmanager
def _disposed(engine: Engine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.dispose()
