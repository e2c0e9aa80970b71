"""The whole way: look, copy files, then all rows in one transaction.

Until that transaction ends the target is a store without runs, which the same command finds empty, and
whose files it finds there. So there is no half of a migration that anybody could take for a whole one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, MetaData, text

from pipeline.errors import InputError, StoreError
from pipeline.migrate import databases, files, rows
from pipeline.migrate.addresses import Addresses, root
from pipeline.migrate.files import Copied
from pipeline.tracking import store
from pipeline.tracking.files import Place
from pipeline.tracking.logged import FILE, SEAL
from serving.artifact import ArtifactError
from serving.seal import check_seal

_SHOWN = 5  # runs that are named
_RUNNING = "select name, run_uuid from runs where status = 'RUNNING' and lifecycle_stage = 'active'"
_ALIASES = """
select a.name, a.alias, a.version, t.value, coalesce(m.artifact_location, v.storage_location, v.source)
from registered_model_aliases as a
join model_versions as v on v.workspace = a.workspace and v.name = a.name and v.version = a.version
join model_version_tags as t on t.workspace = a.workspace and t.name = a.name and t.version = a.version
    and t.key = :seal
left join logged_models as m on v.source = 'models:/' || m.model_id
order by a.name, a.alias
"""


@dataclass(frozen=True)
class Migrated:
    """What a store holds now.

    Attributes:
        rows: Of all tables.
        tables: How many have any.
        files: How many there are, of what size, and how many were copied by this call.
        checked: Aliases whose artifact has the seal that it was registered with, such as `wine@champion`.
        notes: What is worth knowing.
    """

    rows: int
    tables: int
    files: Copied
    checked: tuple[str, ...]
    notes: tuple[str, ...]


def migrate(
    origin: str,
    target: str,
    artifacts: str = "",
    *,
    proxied: bool = False,
    from_artifacts: str = "",
    live: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Migrated:
    """Copy a store into an empty database and another place for files; the source is only read.

    Args:
        origin: Address of the database that is read, SQLite or PostgreSQL.
        target: Of the one that is written to.
        artifacts: Where files go; empty for `mlartifacts` beside a SQLite file.
        proxied: Whether an MLflow server will hand files out from there; its clients need no access then.
        from_artifacts: Where the server of the source has the files that it hands out.
        live: Copy also where runs are going on, as they are now.
        say: Told how far it is.

    Raises:
        InputError: Where source or target cannot be used so; nothing is changed then.
        StoreError: Where one of them fails, or an artifact is damaged; the same call goes on.
    """
    origin, target = store.address(origin), store.address(target)
    for uri, which in ((origin, "the source"), (target, "the target")):
        databases.check(uri, which)
    if _same(origin, target):
        raise InputError(f"source and target must be two databases, got {store.shown(origin)!r} twice")
    addresses = Addresses(
        root(artifacts or _beside(target)),
        proxied=proxied,
        from_artifacts=root(from_artifacts) if from_artifacts else "",
    )
    with store.reached(origin), databases.read(origin) as source:
        _check_source(source, origin, live=live)
        with store.reached(target, InputError), store.alone(target):
            databases.make(target, addresses.root)
        with store.reached(target), databases.write(target) as there:
            if (ours := databases.revision(there)) != (its := databases.revision(source)):
                raise InputError(
                    f"{store.shown(origin)!r} has the schema {its}, and the MLflow installed here {ours}: "
                    "make a backup and run `mlflow db upgrade` on it first"
                )
            known = rows.tables(there)
            rows.check_empty(there, known, repr(store.shown(target)))
        read = rows.tables(source)
        folders = addresses.folders(source, read)
        say(f"{store.shown(origin)}: files of {len(folders):,} runs and models to {addresses.artifacts} …")
        with store.reached(addresses.artifacts):
            copied = files.copy(folders, say)
            checked = _check_seals(source, addresses)
        say(f"{copied.files:,} files, {files.sized(copied.size)}; rows to {store.shown(target)} …")
        with store.reached(target), databases.write(target) as there:
            rows.check_empty(there, known, repr(store.shown(target)))
            counts = rows.copy(source, read, there, known, addresses.rewrite)
    notes = () if live else _changed(origin, read, counts)
    return Migrated(sum(counts.values()), sum(map(bool, counts.values())), copied, checked, notes)


def _same(one: str, other: str) -> bool:
    files_of = [store.database(uri) for uri in (one, other)]
    return one == other or (None not in files_of and len({str(p and p.resolve()) for p in files_of}) == 1)


def _beside(target: str) -> str:
    path = store.database(target)
    if path is None:
        raise InputError(
            f"say where files of {store.shown(target)!r} go: --artifacts s3://BUCKET/PREFIX, or a folder"
        )
    return str(path.resolve().parent / "mlartifacts")


def _check_source(source: Connection, origin: str, *, live: bool) -> None:
    if not databases.revision(source):
        raise InputError(f"{store.shown(origin)!r} is no store of MLflow: it has no tables of that")
    running = source.execute(text(_RUNNING)).all()
    if running and not live:
        named = ", ".join(f"{name or 'a run'} ({run[:8]})" for name, run in running[:_SHOWN])
        more = f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else ""
        raise InputError(
            f"runs of {store.shown(origin)!r} are going on, or were killed: {named}{more}; what "
            "they write from now on would be missing: wait for them, finish them by the same retrain, or "
            "give --live to copy them as they are, for a backup, say"
        )


def _check_seals(source: Connection, addresses: Addresses) -> tuple[str, ...]:
    """Compare what the aliases lead to, where it is now, with what was registered."""
    checked = []
    for name, alias, version, seal, place in source.execute(text(_ALIASES), {"seal": SEAL}):
        was, is_now = (Place(address) for address in addresses.where(place))
        if _seal(is_now) != seal:
            # An earlier call may have copied it before somebody mended it.
            if (found := _seal(was)) != seal:
                raise StoreError(
                    f"{name}@{alias}, version {version}, must lead to the file that was registered, with "
                    f"the seal {seal[:12]}…, and {was.address} has {found}; nothing is changed: put it "
                    f"back, or `ordinal-pipeline rollback {name}` in the source, then this command again"
                )
            with tempfile.TemporaryDirectory(prefix="ordinal-migrate-") as folder:
                is_now.put(was.fetch(FILE, Path(folder)), FILE)
            if _seal(is_now) != seal:
                raise StoreError(f"{is_now.address} does not keep {FILE} as written: nothing is changed")
        checked.append(f"{name}@{alias}")
    return tuple(checked)


def _seal(place: Place) -> str:
    """Return the seal of an artifact, or what is wrong with it."""
    if FILE not in place.files():
        return f"no {FILE}"
    with tempfile.TemporaryDirectory(prefix="ordinal-migrate-") as folder:
        try:
            return check_seal(place.fetch(FILE, Path(folder)))
        except ArtifactError:
            return "one that is damaged"


def _changed(origin: str, read: MetaData, before: dict[str, int]) -> tuple[str, ...]:
    """Say what came to the source since it was read."""
    with store.reached(origin), databases.read(origin) as source:
        now = rows.counts(source, read)
    more = [
        f"{name} {now[name] - count:+,}" for name, count in before.items() if now.get(name, count) != count
    ]
    if not more:
        return ()
    return (
        f"{store.shown(origin)} was written to meanwhile ({', '.join(more)} rows), and that is not copied: "
        "stop what writes there, and migrate once more into a new database",
    )
