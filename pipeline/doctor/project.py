"""A config: its data, its champion, and whom it notifies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipeline.doctor import addresses, bucket, tracking
from pipeline.doctor.finding import Finding, error, ok, warning

if TYPE_CHECKING:
    from pipeline.config import Config

_ALIAS = "champion"


def read(path: Path) -> tuple[Config | None, list[Finding]]:
    """Read a config, or say why it cannot be read."""
    try:
        from pipeline.config import load_config
        from pipeline.errors import InputError
    except Exception as problem:  # noqa: BLE001 - a pydantic of another version raises what it likes
        return None, [
            error(
                "config",
                f"configs cannot be read, since pydantic does not work here: {problem}",
                'pip install "pydantic>=2.11,<3"',
            )
        ]
    try:
        return load_config(path), []
    except InputError as problem:
        return None, [error("config", str(problem), f"mend it: ordinal-pipeline validate {path}")]


def data(config: Config, built_in: tuple[str, ...]) -> Iterator[Finding]:
    """Say whether the rows are there."""
    source = config.data.source
    if source in built_in:
        yield ok("config", f"the data {source!r} comes with the packages")
        return
    path = Path(source)
    if not path.exists():
        yield error(
            "config",
            f"data.source {source!r} is not there",
            "correct data.source, whose path is relative to the config, or put the rows there",
        )
    elif not os.access(path, os.R_OK):
        yield error("config", f"data.source {source!r} cannot be read", f"chmod u+r {source}")
    elif path.is_dir() and not any(path.iterdir()):
        yield error("config", f"data.source {source!r} is an empty folder", "put the rows there")
    else:
        yield ok("config", f"{config.name}: the rows are in {source}")


def size(config: Config | None) -> int:
    """Return how many bytes a table or an archive has; 0 for other sources."""
    try:
        path = Path(config.data.source) if config else Path()
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def champion(config: Config, uri: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether the champion has its file."""
    try:
        found = tracking.champion(uri, config.name, _ALIAS, environment)
    except (sqlite3.Error, ConnectionError):
        return  # which the check of the store tells
    if found is None:
        yield ok("champion", f"{config.name} has no champion yet")
        return
    version, place = found
    what = f"version {version} of {config.name}, its champion,"
    mend = f'ordinal-pipeline rollback {config.name} --why "its file is gone", or put the file back'
    scheme = urlsplit(place).scheme
    if not place:
        yield error("champion", f"{what} is not registered any more", mend)
    elif scheme in ("", "file"):
        yield from _file(Path(unquote(urlsplit(place).path)) / tracking.FILE, what, mend)
    elif scheme == "mlflow-artifacts" and tracking.served(uri, place, environment) is False:
        yield error("champion", f"{what} has no {tracking.FILE} on the server", mend)
    elif scheme == "s3" and bucket.lacks(f"{place}/{tracking.FILE}", environment):
        yield error("champion", f"{what} has no {tracking.FILE} at {place}", mend)
    else:
        yield ok("champion", f"{what} lies at {addresses.shown(place)}")


def _file(path: Path, what: str, mend: str) -> Iterator[Finding]:
    if not path.is_file():
        yield error("champion", f"{what} has no file {path}", mend)
        return
    try:
        from serving.seal import check_seal

        check_seal(path)
    except Exception as problem:  # noqa: BLE001 - whatever a broken file or package raises is the finding
        yield error("champion", f"{what} cannot be served: {problem}", mend)
    else:
        yield ok("champion", f"{what} is whole: {path}")


def notify(config: Config) -> Iterator[Finding]:
    """Say whether whom the config notifies can be reached, as far as that is seen without telling them."""
    section: Any = getattr(config, "notify", None)
    command = getattr(section, "command", ())
    if command and shutil.which(command[0]) is None:
        yield error(
            "notify",
            f"notify.command begins with {command[0]!r}, which is no program here",
            "give its whole path in notify.command, and make it executable: chmod +x",
        )
    try:
        address = getattr(section, "address", "")
    except ValueError as problem:  # of a "$NAME"; what the variable holds is not told
        yield error(
            "notify", f"notify.webhook: {problem}", "export that variable, or give the address itself"
        )
        return
    if address and (trouble := addresses.resolves(addresses.host(address))):
        yield warning(
            "notify",
            f"notify.webhook is at {addresses.host(address)}, which is not found: {trouble}",
            "correct notify.webhook, or the name server in /etc/resolv.conf",
        )
