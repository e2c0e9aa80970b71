"""A store of MLflow with every kind of address, and with what is hard to copy."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from registered import NAME, Store
from sqlalchemy import MetaData, create_engine, select

from pipeline import promotion
from pipeline.tracking.run import Used
from pipeline.tracking.runs import Experiment

ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Columns that hold an address, and so differ where all else is the same."""


def fill(versions: Store, folder: Path) -> Store:
    """Return a store in a folder that has its files too, those of `versions` and much more."""
    store = versions.copy(folder)
    kept, files = versions.path.parent / "mlartifacts", folder / "mlartifacts"
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        # Other tests' copies of the store have put files of theirs there too.
        known = {name for (name,) in database.execute("select run_uuid from runs")}
        known |= {name for (name,) in database.execute("select model_id from logged_models")}
        for place in (kept, kept / "models"):
            for one in place.iterdir() if place.is_dir() else ():
                if one.name in known:
                    shutil.copytree(one, files / one.relative_to(kept))
        for table, columns in ADDRESSES.items():
            for column in columns:
                change = f"update {table} set {column} = replace({column}, ?, ?)"
                database.execute(change, (kept.as_uri(), files.as_uri()))
    _add(store, files)
    return store


def _add(store: Store, files: Path) -> None:
    """Add promotions, a run with all that runs have, a trace, jobs, and a version of the old kind."""
    promotion.promote(store.uri, NAME, 1, why="the first", who="ann")
    promotion.promote(store.uri, NAME, 2, why="better", who="bob")
    promotion.rollback(store.uri, NAME, why="complaints", who="ann")
    experiment = Experiment(store.uri, "others")
    with experiment.run("Δ run", {"text": 'it\'s "quoted" 日本'}) as run:
        run.params({"empty": "", "a": "b"})
        run.curves({"loss": [1.5, float("inf"), float("nan"), 0.1 + 0.2]})
        run.used(Used("rows.csv", "d" * 36, "rows.csv", {"x": "double"}, {"train": 7}))
        run.text("words", "folder/page #1.txt")
        run.text("", "empty.txt")
    trace, archive = files / "traces" / "tr-1" / "artifacts", files / "traces" / "tr-1" / "archived"
    for folder in (trace, archive):
        folder.mkdir(parents=True)
        (folder / "spans.json").write_text("{}")
    older = (files / run.id / "artifacts" / "older").as_uri()
    trace_of = {"request_id": "tr-1", "experiment_id": experiment.id, "timestamp_ms": 1, "status": "OK"}
    job = {"creation_time": 1, "job_name": "j", "params": "{}", "status": 1, "retry_count": 0}
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        _insert(database, "trace_info", **trace_of, db_payload_generation=0)
        for key, value in (
            ("mlflow.artifactLocation", trace.as_uri()),
            ("mlflow.trace.archiveLocation", archive.as_uri()),
            ("note", trace.as_uri()),
        ):
            _insert(database, "trace_tags", request_id="tr-1", key=key, value=value)
        for number, progress in (("1", '{"a": [1, null]}'), ("2", None)):
            _insert(database, "jobs", **job, id=number, last_update_time=1, progress=progress)
        _insert(
            database, "model_versions", name=NAME, version=9, source=older, storage_location=older,
            run_id=run.id, status="READY", workspace="default",
            creation_time=1, last_updated_time=1, current_stage="None",
        )  # fmt: skip


def _insert(database: sqlite3.Connection, table: str, **row: object) -> None:
    marks = ", ".join("?" * len(row))
    database.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values()))


def contents(uri: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables, without addresses, in an order of their own."""
    engine = create_engine(uri)
    found = MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        tables = {
            name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for name, table in found.tables.items()
        }
    engine.dispose()
    for name, rows in tables.items():
        for row in rows:
            for column in ADDRESSES.get(name, ()):
                if not str(row[column]).startswith("models:"):
                    row.pop(column)
            if name == "trace_tags" and row["key"] != "note":
                row.pop("value")
        rows.sort(key=repr)
    return tables


def addresses(uri: str) -> set[str]:
    """Return all addresses in a store that are no `models:/…`."""
    engine = create_engine(uri)
    found = MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        said = {
            str(row[0])
            for name, columns in ADDRESSES.items()
            for column in columns
            for row in connection.execute(select(found.tables[name].c[column]))
        }
        tags = found.tables["trace_tags"]
        said |= {
            str(row[0]) for row in connection.execute(select(tags.c.value).where(tags.c.key != "note"))
        }
    engine.dispose()
    return {one for one in said if not one.startswith("models:")}
