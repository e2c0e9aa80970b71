"""All checks, one after the other; one that fails is a finding too."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.doctor import (
    addresses,
    cuda,
    disk,
    installed,
    left,
    machine,
    packages,
    ports,
    prefect_server,
    prefect_settings,
    processes,
    project,
    telemetry,
    tracking,
    variables,
)
from pipeline.doctor.finding import ORDER, Finding, error, ok, warning
from pipeline.doctor.installed import Package
from pipeline.doctor.prefect_settings import PrefectSettings

if TYPE_CHECKING:
    from pipeline.config import Config

IMPORTED = ("tensorflow", "mlflow", "prefect.server.api.server", "onnxruntime", "tf2onnx", "optuna")
"""What `--imports` imports; the module of Prefect is the one that a FastAPI of another version breaks."""


class World:
    """What the checks look at, read once and when it is first needed."""

    def __init__(self, environment: Mapping[str, str], folder: Path, config: Config | None) -> None:
        """The variables, the working folder, and the config where there is one that can be read."""
        self.environment = environment
        self.folder = folder
        self.config = config

    @cached_property
    def packages(self) -> list[Package]:
        """What is installed."""
        return installed.packages()

    @cached_property
    def prefect(self) -> PrefectSettings:
        """What Prefect is set to."""
        return prefect_settings.read(self.environment, self.folder)

    @cached_property
    def store(self) -> tuple[str, str]:
        """MLflow's store, and what says so."""
        told = self.config.tracking.uri if self.config else ""
        return tracking.address(told, self.environment, self.folder)

    @property
    def search(self) -> tuple[int, int]:
        """How many workers and threads a run has."""
        return (self.config.search.workers, self.config.search.threads) if self.config else (1, 0)


def examine(config: Path | None = None, imports: bool = False) -> list[Finding]:
    """Return what is found, the worst first.

    Args:
        config: A model's, whose data, store and champion are looked at too.
        imports: Import the large packages, each in a process of its own.
    """
    settings, found = project.read(config) if config is not None else (None, [])
    world = World(dict(os.environ), Path.cwd(), settings)
    for name, check in (*_CHECKS, *(_OF_A_CONFIG if settings else ()), *(_LARGE if imports else ())):
        found += guarded(name, check, world)
    return sorted(dict.fromkeys(found), key=lambda one: ORDER.index(one.severity))


def guarded(name: str, check: Callable[[World], Iterable[Finding]], world: World) -> list[Finding]:
    """Return what a check finds, and what it raises as a finding too."""
    found: list[Finding] = []
    try:
        found += check(world)
    except Exception as problem:  # noqa: BLE001 - the set-up may be broken in ways that nobody has thought of
        said = f"{type(problem).__name__}: {problem}"
        found.append(warning(name, f"could not be looked at: {said}", f"look at it by hand: {name}"))
    return found


def _packages(world: World) -> Iterator[Finding]:
    yield from packages.check(world.packages)


def _twins(world: World) -> Iterator[Finding]:
    yield from packages.twins(world.packages)


def _cuda(world: World) -> Iterator[Finding]:
    yield from cuda.stacks(world.packages)
    yield from cuda.judge(cuda.look(world.environment), world.packages)


def _telemetry(world: World) -> Iterator[Finding]:
    yield from telemetry.check(world.environment, world.prefect)


def _tracking(world: World) -> Iterator[Finding]:
    yield from tracking.check(*world.store, world.environment)


def _prefect(world: World) -> Iterator[Finding]:
    yield from prefect_server.check(world.prefect)


def _disk(world: World) -> Iterator[Finding]:
    yield from disk.temporary(world.environment)
    rooms = [
        disk.look("the working folder", world.folder),
        disk.look("temporary files", Path(tempfile.gettempdir()), "TMPDIR"),
    ]
    database = addresses.sqlite_file(world.store[0])
    if database is not None:
        rooms.append(disk.look("MLflow's artifacts", database.parent / "mlartifacts"))
    if world.prefect.server is None:
        rooms.append(disk.look("Prefect", world.prefect.home, "PREFECT_HOME"))
    yield from disk.judge(rooms, 2 * project.size(world.config))


def _folders(world: World) -> Iterator[Finding]:
    yield from left.judge_folders(left.folders(world.folder))


def _runs(world: World) -> Iterator[Finding]:
    config, (uri, _) = world.config, world.store
    experiment = (config.tracking.experiment or config.name) if config else ""
    path = addresses.sqlite_file(uri)
    if path is not None and not path.is_file():
        return
    try:
        found = tracking.running(uri, experiment, socket.gethostname(), world.environment)
    except (sqlite3.Error, ConnectionError):
        return  # which the check of the store tells
    yield from left.judge_runs(found)


def _left(world: World) -> Iterator[Finding]:
    yield from left.servers(processes.running())
    yield from left.locks(world.folder, addresses.sqlite_file(world.store[0]))


def _ports(world: World) -> Iterator[Finding]:
    yield from ports.check(ports.wanted(world.environment, world.prefect, world.store[0]))


def _machine(world: World) -> Iterator[Finding]:
    own = installed.first(world.packages).get(packages.OWN)
    yield from machine.judge(machine.look(), own.python if own else "", *world.search)
    yield from machine.shared_memory()


def _variables(world: World) -> Iterator[Finding]:
    servers = {world.store[1]: world.store[0]}
    if world.prefect.server is not None:
        servers["PREFECT_API_URL"] = world.prefect.server.value
    twelve, thirteen = cuda.wheels(world.packages)
    stacks = ((12,) if twelve else ()) + ((13,) if thirteen else ())
    root = Path(__file__).resolve().parent.parent.parent
    yield from variables.check(world.environment, root, servers, stacks)


def _data(world: World) -> Iterator[Finding]:
    from pipeline.config import BUILT_IN

    if world.config is not None:
        yield from project.data(world.config, BUILT_IN)
        yield from project.notify(world.config)


def _champion(world: World) -> Iterator[Finding]:
    if world.config is not None:
        yield from project.champion(world.config, world.store[0], world.environment)


def _imports(_: World) -> Iterator[Finding]:
    for module in IMPORTED:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode == 0:
            yield ok("imports", f"{module} can be imported")
            continue
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        top = module.partition(".")[0]
        yield error(
            "imports",
            f"{module} cannot be imported: {said}",
            f"pip install --force-reinstall {top}; where a package below it is to blame: uv pip sync "
            "requirements.lock",
        )


_CHECKS: tuple[tuple[str, Callable[[World], Iterable[Finding]]], ...] = (
    ("packages", _packages),
    ("onnxruntime", _twins),
    ("cuda", _cuda),
    ("telemetry", _telemetry),
    ("tracking", _tracking),
    ("prefect", _prefect),
    ("disk", _disk),
    ("runs", _folders),
    ("runs", _runs),
    ("locks", _left),
    ("ports", _ports),
    ("machine", _machine),
    ("environment", _variables),
)
_OF_A_CONFIG = (("config", _data), ("champion", _champion))
_LARGE = (("imports", _imports),)
