"""Who serves a schedule, who runs, and which run was cut off: files in the working folder.

.ordinal/schedule/
  NAME.lock       held by the process that serves the schedule
  NAME.run.lock   held by the process of a run, whoever started it
  NAME.json       the run that was started and has not come to an end yet
The kernel frees a lock with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError

FOLDER = Path(".ordinal", "schedule")
"""In the working folder, as runs and MLflow's own store are."""


@contextlib.contextmanager
def schedule(name: str) -> Iterator[None]:
    """Be the only process that serves a model's schedule in this folder.

    Raises PipelineError where another one does.
    """
    path = _path(name, ".lock")
    with _locked(path, 0, f"pid {os.getpid()}, since {time.strftime('%F %T')}") as holder:
        if holder is not None:
            raise PipelineError(
                f"the schedule of {name!r} is served by another process in this folder ({holder}); "
                "end that one first"
            )
        yield


@contextlib.contextmanager
def run(name: str, flow_run: str, wait: float = 0) -> Iterator[str | None]:
    """Be the only scheduled run of a model in this folder; yield who is where that is another one."""
    with _locked(_path(name, ".run.lock"), wait, flow_run) as holder:
        yield holder


@contextlib.contextmanager
def _locked(path: Path, wait: float, who: str) -> Iterator[str | None]:
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        yield _read(path) or "which has not said yet who it is"
        return
    except OSError as error:
        raise PipelineError(f"the lock {path} cannot be taken: {error.strerror}") from error
    try:
        with contextlib.suppress(OSError):  # on a full disk nobody is told who
            path.write_text(who, encoding="utf-8")
        yield None
    finally:
        lock.release()


class Begun:
    """Which run was started and has not come to an end; outlives the process that started it."""

    def __init__(self, name: str) -> None:
        self._path = _path(name, ".json")

    @property
    def flow_run(self) -> UUID | None:
        """Its id in Prefect, if there is one."""
        try:
            return UUID(json.loads(_read(self._path))["flow_run"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def begin(self, flow_run: UUID) -> None:
        """Write it down, before it is started."""
        unfinished = self._path.with_suffix(".part")
        try:
            unfinished.write_text(json.dumps({"flow_run": str(flow_run)}), encoding="utf-8")
            unfinished.replace(self._path)
        except OSError as error:
            raise PipelineError(f"{self._path} cannot be written: {error.strerror}") from error

    def end(self) -> None:
        """It has come to an end by itself: there is nothing to go on with."""
        self._path.unlink(missing_ok=True)


def _path(name: str, suffix: str) -> Path:
    return FOLDER / f"{quote(name, safe='').replace('%', '_')}{suffix}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
