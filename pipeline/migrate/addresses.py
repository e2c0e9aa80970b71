"""Where files lie, and where they will: the addresses that rows hold, rewritten.

The new layout is MLflow's own, ROOT/EXPERIMENT/RUN/artifacts, wherever files lay before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, MetaData, Table, select

from pipeline.errors import InputError

SERVED = "mlflow-artifacts:"
"""Of files that an MLflow server hands out, so that clients need not know where it has them."""
_LONGEST = 200  # characters that `runs.artifact_uri` takes
_TRACES = {"mlflow.artifactLocation": "artifacts", "mlflow.trace.archiveLocation": "archive"}
"""Tags of traces that hold an address, and the name of the folder that they lead to."""


@dataclass(frozen=True)
class Folder:
    """Files that belong together, those of a run, say.

    Attributes:
        old: Its address in rows.
        new: The address that takes its place.
        origin: Where its files can be read.
        place: Where they are copied to.
    """

    old: str
    new: str
    origin: str
    place: str


def root(artifacts: str) -> str:
    """Return the address of a folder or of a place in an object store, without a slash at its end.

    >>> root("s3://ordinal/mlflow/")
    's3://ordinal/mlflow'
    """
    if artifacts.startswith((SERVED, "http:", "https:", "models:", "runs:")):
        raise InputError(
            "the place of files must be a folder or an object store, such as s3://BUCKET/PREFIX, got "
            f"{artifacts!r}"
        )
    if "://" in artifacts or artifacts.startswith("file:"):
        return artifacts.rstrip("/")
    return Path(artifacts).resolve().as_uri()


class Addresses:
    """What becomes of every address in a store."""

    def __init__(self, artifacts: str, *, proxied: bool, from_artifacts: str) -> None:
        """Take the places of files.

        Args:
            artifacts: Where they go, as `root` gives it.
            proxied: Whether rows are to name a server that hands them out from there.
            from_artifacts: Where the server has its files that rows of the source name; empty for none.
        """
        self.artifacts = artifacts
        self.root = SERVED + "/" if proxied else artifacts + "/"
        self._from = from_artifacts
        self._new: dict[str, str] = {}
        self._origins: dict[str, Folder] = {}
        longest = len(self.root) + len("2147483647//artifacts") + 32
        if longest > _LONGEST:
            raise InputError(
                f"{artifacts!r} is too long by {longest - _LONGEST} characters: addresses of runs have at "
                f"most {_LONGEST}"
            )

    def folders(self, store: Connection, tables: MetaData) -> list[Folder]:
        """Return the folders of all runs, logged models and traces, and remember them."""
        found = []
        for name, key, column in (
            ("runs", "run_uuid", "artifact_uri"),
            ("logged_models", "model_id", "artifact_location"),
        ):
            table = tables.tables[name]
            rows = select(table.c[key], table.c[column], table.c.experiment_id).where(table.c[column] != "")
            for which, old, experiment in store.execute(rows):
                below = which if name == "runs" else f"models/{which}"
                found.append(self._folder(old, f"{experiment}/{below}/artifacts"))
        tags, traces = tables.tables["trace_tags"], tables.tables["trace_info"]
        rows = select(traces.c.request_id, tags.c.key, tags.c.value, traces.c.experiment_id).join(
            traces, traces.c.request_id == tags.c.request_id
        )
        for which, key, old, experiment in store.execute(rows.where(tags.c.key.in_(_TRACES))):
            found.append(self._folder(old, f"{experiment}/traces/{which}/{_TRACES[key]}"))
        return found

    def rewrite(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the new addresses; all else of it stays."""
        if table.name == "experiments":
            row["artifact_location"] = f"{self.root}{row['experiment_id']}"
        elif table.name == "runs":
            row["artifact_uri"] = self.of(row["artifact_uri"])
        elif table.name == "logged_models":
            row["artifact_location"] = self.of(row["artifact_location"])
        elif table.name == "model_versions":
            row["source"] = self.of(row["source"])
            row["storage_location"] = self.of(row["storage_location"])
        elif table.name == "trace_tags" and row["key"] in _TRACES:
            row["value"] = self.of(row["value"])
        return row

    def of(self, address: str | None) -> str | None:
        """Return what takes the place of an address; itself where it leads to no folder of the store."""
        folder, below = self._lookup(address or "")
        return address if folder is None else _join(folder.new, below)

    def where(self, address: str) -> tuple[str, str]:
        """Return where files of an address can be read, and where they are copied to."""
        folder, below = self._lookup(address)
        if folder is None:
            return address, address
        return _join(folder.origin, below), _join(folder.place, below)

    def _lookup(self, address: str) -> tuple[Folder | None, str]:
        above, below = address.rstrip("/"), ""
        while above:
            if above in self._origins:
                return self._origins[above], below
            above, _, last = above.rpartition("/")
            below = _join(last, below)
        return None, ""

    def _folder(self, old: str, path: str) -> Folder:
        origin = old
        if old.startswith(SERVED):
            if not self._from:
                raise InputError(
                    f"files of the source are handed out by its MLflow server ({old}): say by "
                    "--from-artifacts where that has them, which its --artifacts-destination says"
                )
            origin = f"{self._from}/{urlsplit(old).path.strip('/')}"
        folder = Folder(old, self.root + path, origin, f"{self.artifacts}/{path}")
        self._origins[old.rstrip("/")] = folder
        return folder


def _join(folder: str, below: str) -> str:
    return f"{folder}/{below}" if below else folder
