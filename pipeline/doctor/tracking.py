"""MLflow's store: where it is, whether it can be used, and what it says of runs and champions.

Read by SQL or over HTTP, since importing MLflow takes seconds, and fails where it is broken.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.doctor import addresses, postgresql, sqlite
from pipeline.doctor.addresses import Answer, shown
from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.sqlite import Database, Revisions

NAME = "tracking"
HOST, FOLDER = "ordinal.host", "ordinal.folder"
"""The tags that pipeline.tracking.runs gives a run; a test holds that they are the same."""
FILE = "model.onnx"
"""An artifact in a version's folder, as pipeline.tracking.logged calls it."""

_DRIVERS = {"postgresql": ("psycopg2", 5432), "mysql": ("pymysql", 3306), "mssql": ("pymssql", 1433)}
_MIGRATIONS = "store/db_migrations/versions"
_API = "/api/2.0/mlflow"


def address(told: str, environment: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """Return the store that is meant, as MLflow finds it, and what says so."""
    if told.startswith("$"):
        return environment.get(told[1:]) or told, told[1:]
    if told:
        return told, "the config"
    if uri := environment.get("MLFLOW_TRACKING_URI"):
        return uri, "MLFLOW_TRACKING_URI"
    if any(folder.glob("mlruns/[0-9]*/meta.yaml")):  # then MLflow goes on with its old store of files
        return (folder / "mlruns").as_uri(), "the folder mlruns"
    return f"sqlite:///{folder / 'mlflow.db'}", "MLflow's default"


def check(uri: str, place: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether the store can be used."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    path = addresses.sqlite_file(uri)
    if uri.startswith("$"):
        yield error(
            NAME,
            f"the address of the store is to be in the environment variable {place}, which is not set",
            f"export {place}=postgresql://…, or correct tracking.uri",
        )
    elif path is not None:
        yield from judge_file(place, sqlite.look(path), sqlite.revisions("mlflow", _MIGRATIONS))
    elif scheme in ("http", "https"):
        yield from judge_server(uri, place, addresses.ask(uri, "/health", headers(environment)))
    elif scheme in _DRIVERS:
        yield from _database(uri, place, scheme, environment)
    elif scheme in ("", "file"):
        yield error(
            NAME,
            f"the store is a folder ({shown(uri)}, by {place}), which MLflow 3.17 refuses",
            "export MLFLOW_TRACKING_URI=sqlite:///mlflow.db, or move mlruns away if it is not wanted",
        )
    else:
        yield ok(NAME, f"the store {shown(uri)} (by {place}) is of a kind that is not looked into")


def judge_file(place: str, seen: Database, schemas: Revisions | None) -> Iterator[Finding]:
    """Say what is wrong with a SQLite store."""
    problems = list(sqlite.judge(NAME, "the store", seen))
    yield from problems
    if problems:
        return
    command = f"mlflow db upgrade sqlite:///{seen.path}"
    if not seen.exists and place == "MLflow's default":
        yield ok(NAME, f"there is no {seen.path} yet: the first retrain makes it")
    elif not seen.exists:
        yield warning(
            NAME,
            f"{place} names {seen.path}, which is not there: the next retrain begins an empty one",
            f"correct {place}, unless a new store is meant",
        )
    elif seen.tables and not seen.revision:
        yield warning(
            NAME,
            f"{seen.path} is a SQLite database of something else: MLflow would add its tables",
            f"name another file in {place}",
        )
    elif seen.revision and schemas and seen.revision not in schemas.known:
        yield error(
            NAME,
            f"{seen.path} has the schema {seen.revision} of a newer MLflow than the one installed here",
            "install the MLflow that made it, or name another store in MLFLOW_TRACKING_URI",
        )
    elif seen.revision and schemas and seen.revision != schemas.head:
        yield error(
            NAME,
            f"{seen.path} has the schema {seen.revision} of an older MLflow; the installed one needs "
            f"{schemas.head}",
            f"cp {seen.path} {seen.path}.bak && {command}",
        )
    else:
        yield ok(NAME, f"the store {seen.path} (by {place}) is whole and can be written")


def judge_server(uri: str, place: str, answer: Answer) -> Iterator[Finding]:
    """Say what is wrong with a store over HTTP, by what it says of its health."""
    at = f"{shown(uri)} (by {place})"
    if answer.status in (401, 403):
        yield error(
            NAME,
            f"the server {at} asks for another login: status {answer.status}",
            "export MLFLOW_TRACKING_USERNAME=… MLFLOW_TRACKING_PASSWORD=…, or MLFLOW_TRACKING_TOKEN=…",
        )
    elif answer.status == 200 and answer.text.strip().strip('"') == "OK":
        yield ok(NAME, f"the server {at} answers")
    elif answer.status:
        yield error(
            NAME,
            f"what answers at {at} is no MLflow server, or not a healthy one: status {answer.status}",
            f"correct {place}, or start one there: mlflow server --port {addresses.port(uri, 5000)}",
        )
    else:
        yield error(
            NAME,
            f"the server {at} does not answer: {answer.trouble}",
            f"start it, correct {place}, or unset it for SQLite in this folder",
        )


def headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a request to MLflow's server carries, as MLflow's client does."""
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := environment.get("MLFLOW_TRACKING_USERNAME"):
        return {
            "Authorization": addresses.basic(f"{user}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}")
        }
    return {}


def _database(uri: str, place: str, scheme: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    module, port = _DRIVERS[scheme]
    _, _, told = urlsplit(uri).scheme.partition("+")
    module = told or module
    name, number = addresses.host(uri) or "localhost", addresses.port(uri, port)
    if importlib.util.find_spec(module) is None:
        yield error(
            NAME,
            f"the store {shown(uri)} (by {place}) needs the package {module}, which is not installed",
            f"pip install {'psycopg2-binary' if module == 'psycopg2' else module}",
        )
    elif trouble := addresses.connect(name, number):
        yield error(
            NAME,
            f"no database answers at {name}:{number} ({shown(uri)}, by {place}): {trouble}",
            f"start it, or correct {place}",
        )
    elif module == "psycopg2":
        schemas = sqlite.revisions("mlflow", _MIGRATIONS)
        yield from postgresql.judge(NAME, uri, place, postgresql.look(uri), schemas, environment)
    else:
        yield ok(NAME, f"a database answers at {name}:{number} (by {place})")


@dataclass(frozen=True)
class Run:
    """A run that is RUNNING, and the folder that its process works in."""

    id: str
    name: str
    folder: str


def running(uri: str, experiment: str, host: str, environment: Mapping[str, str]) -> list[Run]:
    """Return the runs of this host that are RUNNING; over HTTP those of one experiment.

    Raises sqlite3.Error or ConnectionError where the tables are not as this MLflow makes them.
    """
    if _has_tables(uri):
        return [Run(*map(str, row)) for row in _rows(uri, _RUNNING, (FOLDER, HOST, host))]
    if not uri.startswith("http") or not experiment:
        return []
    sent = headers(environment)
    named = f"{_API}/experiments/get-by-name?experiment_name={quote(experiment, safe='')}"
    number = addresses.ask(uri, named, sent).json().get("experiment", {}).get("experiment_id")
    asked = {
        "experiment_ids": [number],
        "filter": f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{host}'",
        "max_results": 200,
    }
    found = addresses.ask(uri, f"{_API}/runs/search", sent, asked).json() if number else {}
    return [run for one in found.get("runs", []) if (run := _run(one)).folder]


def _run(one: Mapping[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in one.get("data", {}).get("tags", [])}
    return Run(one["info"]["run_id"], one["info"].get("run_name", ""), tags.get(FOLDER, ""))


_RUNNING = """
select runs.run_uuid, runs.name, folder.value from runs
join tags as folder on folder.run_uuid = runs.run_uuid and folder.key = ?
join tags as host on host.run_uuid = runs.run_uuid and host.key = ? and host.value = ?
where runs.status = 'RUNNING' and runs.lifecycle_stage = 'active' order by runs.start_time
"""
_CHAMPION = """
select alias.version, coalesce(nullif(of.storage_location, ''), of.source, '')
from registered_model_aliases as alias
left join model_versions as of on of.name = alias.name and of.version = alias.version
where alias.name = ? and alias.alias = ?
"""


def champion(uri: str, model: str, alias: str, environment: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the version that an alias points to and where its files are; None where there is none.

    The place is empty where the version is gone. Raises sqlite3.Error or ConnectionError where the tables
    are not as this MLflow makes them.
    """
    if _has_tables(uri):
        path = addresses.sqlite_file(uri)
        there = path is None or (path.is_file() and path.stat().st_size)
        rows = _rows(uri, _CHAMPION, (model, alias)) if there else []
        return (int(rows[0][0]), str(rows[0][1] or "")) if rows else None
    if not uri.startswith("http"):
        return None
    sent, name = headers(environment), quote(model, safe="")
    said = addresses.ask(uri, f"{_API}/registered-models/alias?name={name}&alias={alias}", sent).json()
    number = said.get("model_version", {}).get("version")
    if number is None:
        return None
    asked = f"{_API}/model-versions/get-download-uri?name={name}&version={number}"
    return int(number), str(addresses.ask(uri, asked, sent).json().get("artifact_uri", ""))


def served(uri: str, place: str, environment: Mapping[str, str]) -> bool | None:
    """Return whether a server that keeps artifacts has a version's file; None where it does not say."""
    folder = quote(urlsplit(place).path.strip("/"))
    asked = f"/api/2.0/mlflow-artifacts/artifacts?path={folder}"
    answer = addresses.ask(uri, asked, headers(environment))
    if answer.status != 200:
        return None
    return any(Path(one.get("path", "")).name == FILE for one in answer.json().get("files", []))


def _has_tables(uri: str) -> bool:
    """Whether a store is a database that is looked into."""
    return addresses.sqlite_file(uri) is not None or uri.startswith(("postgresql:", "postgresql+psycopg2:"))


def _rows(uri: str, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    path = addresses.sqlite_file(uri)
    if path is None:
        return postgresql.rows(uri, query.replace("?", "%s"), values)
    mode = "rw" if os.access(path, os.W_OK) else "ro"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as database:
        return database.execute(query, values).fetchall()
