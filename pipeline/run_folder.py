"""Where a run keeps what it has reached, so that one that was killed goes on from there.

.ordinal/runs/NAME/
  .lock                     held while somebody looks for a folder, or makes one
  2026-11-26T031502.281304-4711/
    lock                    held by the operating system for as long as the run's process lives
    run.json                what it is a run of, its MLflow run, the seconds that its trials have had
    rows.joblib             the data set, which every worker maps; seen.npz which rows those are
    0.drawn, 0.ended        a trial that has begun, and what became of it; 0.keras its network
    0-fit/, 0-refit/        a long training that was cut off
    exported.onnx           the artifact, checked; candidate.onnx once all of that was told
    calibration             of its validation rows, which the report shows
    verdict                 the gate's, before the champion is moved
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pipeline.data import Dataset
from pipeline.data.seen import Seen
from pipeline.errors import PipelineError
from pipeline.sweep.tried import Calibration, Drawn, Ended

if TYPE_CHECKING:
    from pipeline.gate import Verdict

RUNS = Path(".ordinal", "runs")
"""In the working folder, as MLflow's own store is."""
DAYS = 14
"""How long a run waits for being gone on with."""
_LOCK, _STATE = "lock", "run.json"
_NEW, _DONE = ".new-", ".done-"


class RunFolder:
    """One run's folder, which this process holds."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock
        self._writing = threading.Lock()
        self._state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))

    @classmethod
    @contextlib.contextmanager
    def held(cls, name: str, fingerprint: str) -> Iterator[RunFolder]:
        """Hold the newest folder of a run of the same fingerprint that was not finished, or a new one.

        Raises PipelineError where nothing can be written there.
        """
        root = RUNS / name
        with _kept(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is unpickled
            with _searched(root):
                _tidy(root)
                folder = cls._left(root, fingerprint) or cls._new(root, fingerprint)
        try:
            yield folder
        finally:
            folder._lock.release()

    @property
    def resumed(self) -> bool:
        """Whether an earlier process began this run."""
        return bool(self._state["resumed"])

    @property
    def run_id(self) -> str | None:
        """Its run in MLflow, once there is one."""
        return self._state.get("run_id")

    @property
    def seconds(self) -> float:
        """How long its trials have had."""
        return float(self._state.get("seconds", 0.0))

    @property
    def searched(self) -> bool:
        """Whether all trials were done that will be."""
        return bool(self._state.get("searched"))

    @property
    def rows(self) -> Path:
        """The data set, as `keep_rows` wrote it."""
        return self.path / "rows.joblib"

    @property
    def exported(self) -> Path:
        """The artifact, checked, while what it is like has not been told yet."""
        return self.path / "exported.onnx"

    @property
    def candidate(self) -> Path:
        """The artifact, with all of that told."""
        return self.path / "candidate.onnx"

    def network(self, number: int) -> Path:
        """Where the network of a trial lies."""
        return self.path / f"{number}.keras"

    def backup(self, number: int) -> Path:
        """Where a long training waits for being run again."""
        return self.path / f"{number}-fit"

    def note(self, **state: Any) -> None:
        """Remember something: `run_id`, `seconds`, `searched`."""
        with self._writing:
            self._state |= state
            self._write(_STATE, json.dumps(self._state).encode())

    def keep_rows(self, written: Path) -> None:
        """Take a data set that joblib has written, unless an earlier process has."""
        if not self.rows.is_file():
            unfinished = self.path / "rows.part"
            with _kept(self.path):
                shutil.move(written, unfinished)
                unfinished.replace(self.rows)

    def keep_seen(self, data: Dataset) -> Path:
        """Write which rows are learned from; return where."""
        path = self.path / "seen.npz"
        with _kept(self.path):
            Seen.of(data).save(path)
        return path

    def begin(self, drawn: Drawn) -> None:
        """Write that a trial begins."""
        self._write(f"{drawn.trial.number}.drawn", pickle.dumps(drawn))

    def end(self, number: int, ended: Ended) -> None:
        """Write how a trial ended."""
        self._write(f"{number}.ended", pickle.dumps(ended))

    def begun(self) -> list[Drawn]:
        """Return the trials that have begun, by number."""
        found: list[Drawn] = [pickle.loads(path.read_bytes()) for path in self.path.glob("*.drawn")]
        return sorted(found, key=lambda one: one.trial.number)

    def ended(self) -> dict[int, Ended]:
        """Return how trials have ended, by number."""
        return {int(path.stem): pickle.loads(path.read_bytes()) for path in self.path.glob("*.ended")}

    @property
    def verdict(self) -> Verdict | None:
        """The gate's last verdict, if there is one."""
        path = self.path / "verdict"
        return pickle.loads(path.read_bytes()) if path.is_file() else None

    def keep_verdict(self, verdict: Verdict) -> None:
        """Write the gate's verdict."""
        self._write("verdict", pickle.dumps(verdict))

    @property
    def calibration(self) -> Calibration:
        """What calibration made of the candidate's validation rows, as `keep_calibration` wrote it."""
        kept: Calibration = pickle.loads((self.path / "calibration").read_bytes())
        return kept

    def keep_calibration(self, calibration: Calibration) -> None:
        """Write what calibration made of the candidate's validation rows."""
        self._write("calibration", pickle.dumps(calibration))

    def finish(self) -> None:
        """Leave nothing: the next run of the same is another one."""
        done = self.path.with_name(f"{_DONE}{self.path.name}")
        with _kept(self.path):
            self.path.rename(done)  # at once: nobody goes on with half of it
        shutil.rmtree(done, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> None:
        unfinished = self.path / f"{name}.part"
        with _kept(self.path):
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path / name)

    @classmethod
    def _left(cls, root: Path, fingerprint: str) -> RunFolder | None:
        for path in sorted(root.glob(f"[0-9]*/{_STATE}"), reverse=True):
            lock = _lock(path.parent)
            if lock is None:
                continue
            # It may have been finished while nobody held it, or half written by a disk that was full.
            with contextlib.suppress(OSError, ValueError):
                folder = cls(path.parent, lock)
                if folder._state["fingerprint"] == fingerprint:
                    folder.note(resumed=True)
                    return folder
            lock.release()
        return None

    @classmethod
    def _new(cls, root: Path, fingerprint: str) -> RunFolder:
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%f}-{os.getpid()}"
        hidden = root / f"{_NEW}{name}"
        hidden.mkdir()
        lock = _lock(hidden)
        if lock is None:
            raise PipelineError(f"{hidden} is locked by another process, which should not know of it")
        state = {"fingerprint": fingerprint, "resumed": False}
        (hidden / _STATE).write_text(json.dumps(state), encoding="utf-8")
        hidden.rename(root / name)  # the lock goes with it
        return cls(root / name, lock)


def is_alive(folder: str) -> bool:
    """Return whether a process holds a run's folder; one of another user's is taken to be held."""
    path = Path(folder)
    try:
        if not path.is_dir():
            return False
        with _searched(path.parent):
            lock = _lock(path)
    except PermissionError:
        return True
    if lock is not None:
        lock.release()
    return lock is None


@contextlib.contextmanager
def _kept(place: Path) -> Iterator[None]:
    """Say in one sentence where something could not be written."""
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"the run cannot be kept in {place}: {error.strerror or error}; give the same command again "
            "once that is mended"
        ) from error


@contextlib.contextmanager
def _searched(root: Path) -> Iterator[None]:
    """Be the only one who takes a folder's lock to see whether it is free."""
    with FileLock(root / ".lock"):
        yield


def _lock(folder: Path) -> FileLock | None:
    """Return the lock of a folder, held; None where another process holds it or the folder is gone."""
    lock = FileLock(folder / _LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except (Timeout, FileNotFoundError):
        return None
    return lock


def _tidy(root: Path) -> None:
    """Remove what nobody will go on with.

    That is what processes left that were killed while they made a folder or removed one, and runs that
    ended before their time `DAYS` ago: config, data or code have changed since, or somebody would have
    gone on with them.
    """
    old = time.time() - DAYS * 86400
    for path in root.iterdir():
        if not path.is_dir():
            continue
        left = path.name.startswith((_NEW, _DONE)) or path.stat().st_mtime < old
        lock = _lock(path) if left else None
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            lock.release()
