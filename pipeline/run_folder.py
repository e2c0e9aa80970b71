"""Where a run keeps what it has reached, so that one that was killed goes on from there.

.ordinal/runs/NAME/
  2026-11-26T031502-4711/   locked by the operating system for as long as its process lives
    run.json                what it is a run of, its MLflow run, the seconds that its trials have had
    rows.joblib             the data set, which every worker maps
    0.pickle, 0.keras       a trial that has ended, and its network
    0-fit/                  a long training that was cut off
    candidate.onnx          the artifact, once it was checked and told of
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
from filelock import FileLock, Timeout

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.errors import PipelineError
from pipeline.sweep.tried import Tried

RUNS = Path(".ordinal", "runs")
"""In the working folder, as MLflow's own store is."""
_LOCK, _STATE = "lock", "run.json"
_NEW, _DONE = ".new-", ".done-"
_PACKAGES = ("tensorflow", "keras", "optuna", "scikit-learn", "tf2onnx", "onnx", "onnxruntime-gpu", "numpy")


@dataclass(frozen=True)
class Ended:
    """A trial that has ended, well or not.

    Attributes:
        drawn: What the study drew for it.
        looks: Realised validation cost at the epochs at which somebody looked.
        tried: What it reached; None where it diverged or was pruned.
        failure: What became of it then, in words.
        pruned: Whether it was.
    """

    drawn: dict[str, Any]
    looks: dict[int, float]
    tried: Tried | None
    failure: str = ""
    pruned: bool = False


def fingerprint(config: Config, data: Dataset, uri: str) -> str:
    """Return a digest of all that a run's outcome depends on: config, data, code, and where it is kept.

    Args:
        config: What is asked for.
        data: What is learned from.
        uri: Of MLflow's store.
    """
    digest = hashlib.sha256()
    for text in (config.model_dump_json(), data.fingerprint, uri, *map(version, _PACKAGES)):
        digest.update(text.encode() + b"\0")
    here = Path(__file__).parent
    files = [*here.rglob("*.py"), *here.with_name("serving").rglob("*.py"), *_own_module(config)]
    for path in sorted(files):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


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
        try:
            root.mkdir(parents=True, exist_ok=True)
            _tidy(root)
            folder = cls._left(root, fingerprint) or cls._new(root, fingerprint)
        except OSError as error:
            raise PipelineError(f"no run can be kept in {root}: {error.strerror}") from error
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
        """Remember something: `run_id`, `seconds`."""
        with self._writing:
            self._state |= state
            self._write(_STATE, json.dumps(self._state).encode())

    def keep_rows(self, data: Dataset) -> None:
        """Write the data set where no earlier process has."""
        if not self.rows.is_file():
            unfinished = self.path / "rows.part"
            joblib.dump(data, unfinished)
            unfinished.replace(self.rows)

    def keep(self, number: int, ended: Ended) -> None:
        """Write how a trial ended."""
        self._write(f"{number}.pickle", pickle.dumps(ended))

    def ended(self) -> dict[int, Ended]:
        """Return the trials that have ended, by number."""
        return {int(path.stem): pickle.loads(path.read_bytes()) for path in self.path.glob("*.pickle")}

    def finish(self) -> None:
        """Leave nothing: the next run of the same is another one."""
        done = self.path.with_name(f"{_DONE}{self.path.name}")
        self.path.rename(done)  # at once: nobody goes on with half of it
        shutil.rmtree(done, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> None:
        unfinished = self.path / f"{name}.part"
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
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}-{os.getpid()}"
        hidden = root / f"{_NEW}{name}"
        hidden.mkdir()
        lock = _lock(hidden)
        assert lock is not None
        state = {"fingerprint": fingerprint, "resumed": False}
        (hidden / _STATE).write_text(json.dumps(state), encoding="utf-8")
        hidden.rename(root / name)  # the lock goes with it
        return cls(root / name, lock)


def is_alive(folder: str) -> bool:
    """Return whether a process holds a run's folder."""
    if not Path(folder).is_dir():
        return False
    lock = _lock(Path(folder))
    if lock is not None:
        lock.release()
    return lock is None


def _lock(folder: Path) -> FileLock | None:
    """Return the lock of a folder, held; None where another process holds it or the folder is gone."""
    lock = FileLock(folder / _LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except (Timeout, FileNotFoundError):
        return None
    return lock


def _tidy(root: Path) -> None:
    """Remove what processes left that were killed while they made a folder, or removed one."""
    for path in root.glob(".*-*"):
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            lock.release()


def _own_module(config: Config) -> list[Path]:
    """Return the file of a backbone of the user's own."""
    module, colon, _ = config.model.backbone.rpartition(":")
    if not colon:
        return []
    if module.endswith(".py"):
        return [Path(module)]
    found = find_spec(module)
    return [Path(found.origin)] if found and found.origin else []
