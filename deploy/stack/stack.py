"""All parts in their order, as long as a context is open."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from deploy.stack import left, servers
from deploy.stack.objects import ObjectStore
from deploy.stack.part import Part
from deploy.stack.place import Passwords, Place, Ports
from deploy.stack.postgres import Postgres
from pipeline import environment
from pipeline.child import Child
from pipeline.errors import InputError, PipelineError

_REST = 5.0  # seconds before a part that has ended is started again


class Stack:
    """PostgreSQL, S3, MLflow, Prefect, a worker, the service and Prometheus, in one folder.

    Attributes:
        place: What lies where.
        ports: Who listens where.
        database, objects, mlflow, prefect, worker, service: The parts.
        prometheus: None where it is not installed.
    """

    def __init__(self, folder: Path, say: Callable[[str], object], *, free_ports: bool = False) -> None:
        """A stack that does not run yet.

        Raises:
            InputError: Another one runs in this folder, a port is taken, or a program is missing.
        """
        environment.prepare()
        self._say = say
        self.place = Place(folder.resolve())
        for path in (self.place.folder, self.place.logs, self.place.work, self.place.prefect):
            path.mkdir(parents=True, exist_ok=True)
        self._held = ExitStack()
        lock = FileLock(self.place.folder / ".lock")
        try:
            self._held.enter_context(lock.acquire(timeout=0))
        except Timeout:
            raise InputError(
                f"{folder} must be no other stack's, and one runs there: end it first"
            ) from None
        try:
            for pid, command in left.end(self.place.folder):
                say(f"process {pid} of an earlier stack is ended: {command}")
            self.ports = Ports.chosen(free=free_ports)
            passwords = Passwords.of(self.place.folder / "passwords.json")
            self.database = Postgres(self.place, passwords)
            self.objects = ObjectStore(self.place, passwords)
            self.mlflow = servers.mlflow(self.place, self.ports, self.database, self.objects)
            self.prefect = servers.prefect(self.place, self.ports, self.database)
            self.worker = servers.worker(self.place, self.ports)
            self.service = servers.service(self.place, self.ports)
            self.prometheus = servers.prometheus(self.place, self.ports)
        except BaseException:
            self._held.close()
            raise
        self._started: list[Part] = []

    @property
    def environment(self) -> dict[str, str]:
        """Of a command that is to use this stack."""
        return servers.clients(self.place, self.ports)

    def __enter__(self) -> Self:
        """Start all of it, in order of need; raises PipelineError where a part does not come up."""
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def look_after(self) -> None:
        """Start parts again that have ended, until an exception such as KeyboardInterrupt ends that."""
        while True:
            time.sleep(1)
            for part in self._started:
                if why := part.ended:
                    self._say(f"{why}; it is started again in {_REST:.0f} s")
                    part.stop()
                    time.sleep(_REST)
                    self._again(part)

    def _start(self) -> None:
        self._up(self.database, self.objects)
        self.database.make_databases()
        self._up(self.mlflow, self.prefect)
        self._copy_project()
        self._up(self.worker)
        self._say("deploying prefect.yaml …")
        servers.deploy(self.place, self.ports)
        self._find_champion()
        self._up(self.service, *([self.prometheus] if self.prometheus else []))
        if self.prometheus is None:
            self._say("no Prometheus: left out (make prometheus, or Debian: apt install prometheus)")
        write_env(self)

    def _up(self, *parts: Part) -> None:
        began = time.monotonic()
        self._say(f"starting {' and '.join(part.name for part in parts)} …")
        for part in parts:
            self._started.append(part)
            part.start()
        for part in parts:
            part.wait()
            self._say(f"{part.name} is ready after {time.monotonic() - began:.1f} s")

    def _again(self, part: Part) -> None:
        try:
            part.start()
            part.wait()
            self._say(f"{part.name} is there again")
        except PipelineError as error:
            self._say(str(error))

    def _copy_project(self) -> None:
        """Put what is retrained into the folder, unless it is there: it is yours to change."""
        for name in ("prefect.yaml", servers.CONFIG):
            path = self.place.work / name
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                shutil.copy(servers.ROOT / name, path)

    def _find_champion(self) -> None:
        """Train one where there is none, since the service needs one to begin with."""
        if self._has_champion():
            return
        log = self.place.logs / "first-retrain.log"
        self._say(f"no champion yet: retraining {servers.CONFIG}, a minute or two, see {log} …")
        began = time.monotonic()
        arguments = ["retrain", servers.CONFIG]
        with Child(
            "pipeline", arguments, self.environment, grace=30.0, log=log, folder=self.place.work
        ) as first:
            while first.status is None:
                time.sleep(0.2)
            status, words = first.status, first.last_words
        if status:
            raise PipelineError(f"the first retraining has failed{words}; see {log}")
        if not self._has_champion():
            raise PipelineError(f"the first retraining has found no champion{words}; see {log}")
        self._say(f"{servers.MODEL} has a champion after {time.monotonic() - began:.0f} s")

    def _has_champion(self) -> bool:
        from pipeline.tracking import registry

        return registry.champion(self.mlflow.address, servers.MODEL) is not None

    def _end(self) -> None:
        try:
            for part in reversed(self._started):
                began = time.monotonic()
                part.stop()
                self._say(f"{part.name} has ended after {time.monotonic() - began:.1f} s")
            self._started.clear()
            for pid, command in left.end(self.place.folder):
                self._say(f"process {pid} is ended: {command}")
        finally:
            self._held.close()


def write_env(stack: Stack) -> None:
    """Write the addresses where a shell, or a program, finds them."""
    lines = {
        "MLFLOW_TRACKING_URI": stack.mlflow.address,
        "PREFECT_API_URL": f"{stack.prefect.address}/api",
        "ORDINAL_ADDRESS": stack.service.address,
    }
    text = "".join(f"export {key}={value}\n" for key, value in lines.items())
    (stack.place.folder / "env").write_text(text, encoding="utf-8")
