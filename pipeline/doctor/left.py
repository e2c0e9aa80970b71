"""What processes that are gone have left, and what those that live hold."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.doctor import processes
from pipeline.doctor.finding import Finding, ok, warning
from pipeline.doctor.processes import Process
from pipeline.doctor.tracking import Run

RUNS = Path(".ordinal", "runs")
"""Where pipeline.run_folder keeps runs; a test holds that it is the same."""
SCHEDULES = Path(".ordinal", "schedule")
"""Where pipeline.schedule.held keeps its locks; likewise."""
_SERVER = "prefect.server.api.server:create_app"
_EMBEDDED = "PREFECT__SERVER_EPHEMERAL=1"
_SHOWN = 5


@dataclass(frozen=True)
class Folder:
    """A run's folder: who holds it, and how long ago anything was written there."""

    path: Path
    held: bool
    holders: tuple[Process, ...]
    hours: float
    readable: bool


def folders(root: Path) -> list[Folder]:
    """Look at the folders of runs; a lock that is looked at is left as it was."""
    found = []
    for path in sorted((root / RUNS).glob("*/[0-9]*")):
        if not path.is_dir():
            continue
        with suppress(FileNotFoundError):  # its process has just finished
            lock = path / "lock"
            state = path / "run.json"
            when = max((one.stat().st_mtime for one in path.iterdir()), default=path.stat().st_mtime)
            hours = (time.time() - when) / 3600
            found.append(
                Folder(
                    path,
                    processes.is_held(lock),
                    tuple(processes.with_file(lock)),
                    hours,
                    _is_json(state),
                )
            )
    return found


def judge_folders(seen: Iterable[Folder]) -> Iterator[Finding]:
    """Say which runs go on, and which wait to be gone on with."""
    for folder in seen:
        model = folder.path.parent.name
        if folder.held:
            who = ", ".join(map(str, folder.holders)) or "a process that cannot be seen here"
            yield ok("runs", f"a run of {model} is going on in {folder.path}, by {who}")
        elif not folder.readable:
            yield warning(
                "runs",
                f"{folder.path} is a run whose state cannot be read: nothing will go on with it",
                f"rm -r {folder.path}",
            )
        else:
            yield warning(
                "runs",
                f"a run of {model} ended before its time {_ago(folder.hours)}, and waits in {folder.path}",
                f"ordinal-pipeline retrain CONFIG goes on with it; to begin anew: rm -r {folder.path}",
            )


def judge_runs(seen: Iterable[Run]) -> Iterator[Finding]:
    """Say which runs MLflow still shows as running."""
    left = [run for run in seen if not processes.is_held(Path(run.folder, "lock"))]
    if left:
        names = ", ".join(f"{run.name} ({run.id})" for run in left[:_SHOWN])
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        yield warning(
            "runs",
            f"MLflow shows as RUNNING, though their processes are gone: {names}{more}",
            "the next ordinal-pipeline retrain of that model closes them",
        )


def servers(seen: Iterable[Process]) -> Iterator[Finding]:
    """Say which embedded Prefect servers have outlived their run."""
    for one in seen:
        orphan = one.user == os.getuid() and _SERVER in one.command and processes.is_orphan(one)
        # One that `prefect server start --background` has started has no parent either.
        if orphan and _EMBEDDED in processes.environment(one.pid):
            yield warning(
                "prefect",
                f"{_called(one)} is the embedded Prefect server of a run that was killed",
                f"kill {one.pid}",
            )


def locks(root: Path, store: Path | None) -> Iterator[Finding]:
    """Say which locks are held, and by whom; a lock file that nobody holds is left by intention."""
    yield from _schedules(root / SCHEDULES)
    for path in sorted(store.parent.glob(f".{store.name}.*.lock")) if store is not None else ():
        for one in processes.with_file(path):
            yield warning(
                "locks",
                f"{path} is held by {one}: promotions and other users of the store wait for it",
                f"wait for it; if it hangs: kill {one.pid}",
            )


def _schedules(root: Path) -> Iterator[Finding]:
    """Say which schedules are served, and which have a run that was cut off and nobody to go on with it."""
    for path in sorted(root.glob("*.lock")):
        model = path.name.removesuffix(".lock").removesuffix(".run")
        what = (
            f"a scheduled run of {model}" if path.name.endswith(".run.lock") else f"the schedule of {model}"
        )
        for one in processes.with_file(path):
            yield ok("schedule", f"{what} is in the hands of {one}")
    for path in sorted(root.glob("*.json")):
        if not any(processes.is_held(path.with_suffix(suffix)) for suffix in (".lock", ".run.lock")):
            yield warning(
                "schedule",
                f"a scheduled run of {path.stem} was cut off, and nobody serves the schedule",
                "give the same ordinal-pipeline schedule command again, which goes on with it",
            )


def _called(one: Process) -> str:
    with suppress(ValueError, IndexError):
        return f"process {one.pid}, on port {one.command[one.command.index('--port') + 1]},"
    return f"process {one.pid}"


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _ago(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes ago"
    return f"{hours:.0f} hours ago" if hours < 48 else f"{hours / 24:.0f} days ago"
