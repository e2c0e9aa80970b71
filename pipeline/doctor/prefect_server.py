"""Prefect: the server that is set, or the database of embedded ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.doctor import addresses, sqlite
from pipeline.doctor.addresses import Answer, shown
from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.prefect_settings import PrefectSettings, Setting
from pipeline.doctor.sqlite import Database, Revisions

NAME = "prefect"
_MIGRATIONS = "server/database/_migrations/versions/sqlite"
_SERVED = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def check(settings: PrefectSettings) -> Iterator[Finding]:
    """Say whether runs can be told to Prefect."""
    for path, trouble in settings.broken.items():
        yield warning(
            NAME,
            f"{path} is not read, and what it sets does not count: {trouble}",
            f"mend or remove {path}",
        )
    server = settings.server
    if server is not None:
        yield from judge_server(server, addresses.ask(server.value, "/health", _headers(settings)))
        return
    if not _can_be_made(settings.home):
        yield error(
            NAME,
            f"{settings.home}, where Prefect keeps its database, cannot be written",
            "export PREFECT_HOME=/a/folder/that/can/be/written",
        )
        return
    told = next((found for name in _SERVED if (found := settings.get(name))), None)
    database = addresses.sqlite_file(told.value) if told else settings.home / "prefect.db"
    if told is None and not settings.home.is_dir():
        yield ok(NAME, f"each run has an embedded server; the first makes {database}, which takes a minute")
    elif database is not None:
        yield from judge_file(sqlite.look(database), sqlite.revisions("prefect", _MIGRATIONS))


def judge_server(server: Setting, answer: Answer) -> Iterator[Finding]:
    """Say what is wrong with the server, by what it says of its health."""
    at = f"{shown(server.value)} (PREFECT_API_URL in {server.place})"
    without = "for one embedded in each run: unset PREFECT_API_URL"
    if server.place != "the environment":
        without = "for one embedded in each run: prefect config unset PREFECT_API_URL"
    if answer.status == 200 and answer.text.strip() == "true":
        yield ok(NAME, f"the server {at} answers")
    elif answer.status in (401, 403):
        yield error(
            NAME,
            f"the server {at} asks for another login: status {answer.status}",
            "export PREFECT_API_AUTH_STRING=user:password, or PREFECT_API_KEY=… for Prefect Cloud",
        )
    elif answer.status:
        yield error(
            NAME,
            f"what answers at {at} is no Prefect API, or not a healthy one: status {answer.status}",
            f"the address must end in /api, as http://127.0.0.1:4200/api does; or {without}",
        )
    else:
        port = addresses.port(server.value, 4200)
        yield error(
            NAME,
            f"the server {at} does not answer: {answer.trouble}",
            f"start it: prefect server start --port {port}; or {without}",
        )


def judge_file(seen: Database, schemas: Revisions | None) -> Iterator[Finding]:
    """Say what is wrong with the database of embedded servers; an older one Prefect itself migrates."""
    problems = list(sqlite.judge(NAME, "Prefect's database", seen))
    yield from problems
    if problems:
        return
    if seen.revision and schemas and seen.revision not in schemas.known:
        yield error(
            NAME,
            f"{seen.path} has the schema {seen.revision} of a newer Prefect than the one installed here",
            f"mv {seen.path} {seen.path}.newer, or export PREFECT_HOME=/another/folder",
        )
    elif seen.exists:
        yield ok(NAME, f"each run has an embedded server, whose database {seen.path} is whole")
    else:
        yield ok(
            NAME, f"each run has an embedded server; the first makes {seen.path}, which takes a minute"
        )


def _can_be_made(folder: Path) -> bool:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _headers(settings: PrefectSettings) -> Mapping[str, str]:
    key, login = settings.get("PREFECT_API_KEY"), settings.get("PREFECT_API_AUTH_STRING")
    if key:
        return {"Authorization": f"Bearer {key.value}"}
    return {"Authorization": addresses.basic(login.value)} if login else {}
