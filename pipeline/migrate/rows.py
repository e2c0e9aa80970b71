"""Rows of all tables, from one database to another that has the same tables and is empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, Connection, Integer, MetaData, Table, func, select, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import InputError, StoreError

BATCH = 1000
"""Rows that are sent at once."""
_PASSING = frozenset({"alembic_version", "job_locks", "scheduler_leases"})
"""The schema's own, and who holds a lock of a server that runs: of no use elsewhere."""
_BEGINNING = {"experiments": "experiment_id = 0", "workspaces": "name = 'default'"}
"""What MLflow puts into tables that it has made."""

Rewrite = Callable[[Table, dict[str, Any]], dict[str, Any]]


def tables(connection: Connection) -> MetaData:
    """Return the tables of a store as they are there."""
    found = MetaData()
    found.reflect(connection)
    for table in found.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type = type(column.type)(none_as_null=True)  # else null becomes the text 'null'
    return found


def check_empty(target: Connection, known: MetaData, place: str) -> None:
    """Refuse a store that holds more than MLflow puts into a new one.

    Args:
        target: The store.
        known: Its tables.
        place: Its address, to be named.

    Raises:
        InputError: Saying what it holds.
    """
    for table in _copied(known):
        count = select(func.count()).select_from(table)
        beginning = _BEGINNING.get(table.name)
        found = target.execute(count.where(text(f"not ({beginning})")) if beginning else count).scalar_one()
        if found:
            raise InputError(
                f"the target must be empty, and {place} holds {found:,} rows in {table.name}: give another "
                "database, or make that one anew"
            )


def copy(
    source: Connection, read: MetaData, target: Connection, known: MetaData, rewrite: Rewrite
) -> dict[str, int]:
    """Copy all rows, within the transaction of the target; return how many of each table.

    Args:
        source: The store that is read.
        read: Its tables.
        target: The store that is written to, empty as `check_empty` has it.
        known: Its tables.
        rewrite: Returns what takes the place of a row.

    Raises:
        StoreError: Where the target does not take a row, or has not as many as the source.
    """
    written = _copied(known)
    for name in _BEGINNING:
        target.execute(text(f"delete from {name}"))
    counts = {}
    for table in written:
        origin = read.tables[table.name]
        try:
            _insert(source, target, origin, table, rewrite)
        except (DBAPIError, ValueError) as error:  # the second of a text that PostgreSQL cannot hold
            raise StoreError(
                f"the target does not take a row of {table.name}, and nothing is changed: "
                f"{' '.join(str(getattr(error, 'orig', error)).split())[:400]}"
            ) from error
        wanted, found = (
            connection.execute(select(func.count()).select_from(which)).scalar_one()
            for connection, which in ((source, origin), (target, table))
        )
        if wanted != found:
            raise StoreError(
                f"{table.name} has {wanted:,} rows, and {found:,} have arrived: nothing is changed"
            )
        counts[table.name] = int(found)
    if target.dialect.name == "postgresql":
        for table in written:
            _go_on_counting(target, table)
    return counts


def counts(connection: Connection, known: MetaData) -> dict[str, int]:
    """Return how many rows each of these tables has."""
    return {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in _copied(known)
    }


def _copied(found: MetaData) -> list[Table]:
    """Return the tables that are copied, each after those that its rows refer to."""
    return [table for table in found.sorted_tables if table.name not in _PASSING]


def _insert(source: Connection, target: Connection, origin: Table, table: Table, rewrite: Rewrite) -> None:
    reading = source.execute(select(origin), execution_options={"stream_results": True, "yield_per": BATCH})
    for part in reading.mappings().partitions():
        target.execute(table.insert(), [rewrite(table, dict(row)) for row in part])


def _go_on_counting(target: Connection, table: Table) -> None:
    """Let a column that counts by itself go on after the numbers that are there."""
    for column in table.primary_key.columns:
        if not isinstance(column.type, Integer):
            continue
        named = {"table": f'"{table.name}"', "column": column.name}
        sequence = target.execute(text("select pg_get_serial_sequence(:table, :column)"), named).scalar()
        if sequence is not None:
            last = target.execute(select(func.max(column))).scalar()
            target.execute(
                text("select setval(cast(:sequence as regclass), :last, :used)"),
                {"sequence": sequence, "last": max(last or 1, 1), "used": bool(last)},
            )
