"""A store in PostgreSQL: who may log in, of which MLflow its tables are, where its files lie."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.doctor import bucket
from pipeline.doctor.addresses import SECONDS, shown
from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.sqlite import Revisions

_TABLES = (
    "select count(*), bool_or(tablename = 'alembic_version') from pg_tables where schemaname = 'public'"
)
_REVISION = "select version_num from alembic_version"
_FILES = "select artifact_location from experiments where experiment_id = 0"


@dataclass(frozen=True)
class Seen:
    """What a database says of itself, or why it says nothing.

    Attributes:
        trouble: Why there is no connection.
        tables: How many there are.
        revision: Of MLflow's schema; empty where there is none.
        files: Where those of new experiments go; empty where it does not say.
    """

    trouble: str = ""
    tables: int = 0
    revision: str = ""
    files: str = ""


def look(uri: str) -> Seen:
    """Log in as MLflow does, and read three rows."""
    try:
        ((tables, ours),) = rows(uri, _TABLES)
        if not ours:
            return Seen(tables=tables)
        found = [str(row[0] or "") for query in (_REVISION, _FILES) for row in rows(uri, query) or [("",)]]
    except ConnectionError as problem:
        return Seen(str(problem))
    return Seen("", tables, *found)


def rows(uri: str, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """Return what a query finds, which has `%s` where values stand.

    Raises ConnectionError where the database does not answer it, or there is no driver.
    """
    scheme, _, rest = uri.partition("://")
    plain = f"{scheme.partition('+')[0]}://{rest}"
    try:
        driver = importlib.import_module("psycopg2")
    except ImportError as problem:
        raise ConnectionError(str(problem)) from problem
    try:
        with (
            closing(driver.connect(plain, connect_timeout=int(SECONDS))) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, values or None)
            return list(cursor.fetchall())
    except driver.Error as problem:
        said = " ".join(str(problem).split())
        raise ConnectionError(said.replace(urlsplit(uri).password or "\0", "…")) from problem


def judge(
    name: str, uri: str, place: str, seen: Seen, schemas: Revisions | None, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Say what is wrong with a database that answers at its port."""
    at = f"{shown(uri)} (by {place})"
    database = unquote(urlsplit(uri).path.strip("/"))
    if "password" in seen.trouble:
        yield error(
            name,
            f"the database {at} refuses the login: {seen.trouble}",
            "export PGPASSWORD=…, or a line HOST:PORT:DATABASE:USER:PASSWORD in ~/.pgpass (chmod 600)",
        )
    elif seen.trouble.endswith("does not exist"):
        yield error(
            name,
            f"the database {at} cannot be used: {seen.trouble}",
            f"createdb {database}, or correct {place}",
        )
    elif seen.trouble:
        yield error(name, f"the database {at} cannot be used: {seen.trouble}", f"correct {place}")
    elif not seen.revision and seen.tables:
        yield warning(
            name,
            f"{at} holds {seen.tables} tables of something else: MLflow would add its own",
            f"createdb another one, and name it in {place}",
        )
    elif not seen.revision:
        yield ok(name, f"the database {at} is empty yet: the first who opens it makes its tables")
    elif schemas and seen.revision not in schemas.known:
        yield error(
            name,
            f"{at} has the schema {seen.revision} of a newer MLflow than the one installed here",
            "install the MLflow that made it",
        )
    elif schemas and seen.revision != schemas.head:
        yield error(
            name,
            f"{at} has the schema {seen.revision} of an older MLflow; the installed one needs "
            f"{schemas.head}",
            f"pg_dump --format=custom --file={database}.dump … && mlflow db upgrade {shown(uri)}",
        )
    else:
        yield from _files(name, at, seen.files, environment)


def _files(name: str, at: str, files: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    kind = urlsplit(files).scheme
    if kind == "mlflow-artifacts":
        yield error(
            name,
            f"files of {at} are handed out by its MLflow server; the database does not lead to them",
            "set tracking.uri to the server's address, http://…",
        )
    elif kind in ("", "file"):
        yield warning(
            name,
            f"files of {at} go to the folder {files} of each machine, and others do not find them",
            "an MLflow server, or ordinal-pipeline migrate … --artifacts s3://BUCKET/PREFIX",
        )
    elif kind == "s3":
        problems = list(bucket.check(name, files, environment))
        yield from problems
        if not problems:
            yield ok(name, f"the database {at} can be used, and so can the place of its files, {files}")
    else:
        yield ok(name, f"the database {at} can be used; its files, at {files}, are not looked into")
