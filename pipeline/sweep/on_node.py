"""What a node of a Ray cluster does for a trial. It shares no disk with the process that asked for it."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import environment
from pipeline.cluster.software import difference, installed
from pipeline.sweep.cluster import PACKAGES
from pipeline.sweep.trial import Trial
from pipeline.sweep.tried import Begun, Said

if TYPE_CHECKING:
    from pipeline.config import Config

EVERY = 1.0
"""Seconds between two looks whether a training has made a backup."""
_SCRATCH = "ordinal-ray-"
_YOUNG = 60.0  # seconds in which a folder may not be locked yet


@dataclass(frozen=True)
class Started:
    """A training has a process.

    Attributes:
        node: Ray's name of where.
    """

    node: str


@dataclass(frozen=True)
class Kept:
    """A training has made a backup.

    Attributes:
        name: Of its file.
        content: Of it.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Own:
    """A module of the user's own.

    Attributes:
        path: Where it lies on the machine that sends it.
        source: What is in it.
    """

    path: str
    source: bytes

    @property
    def name(self) -> str:
        """The module's, as `pipeline.backbones` has it there: Keras finds layers of a network by it."""
        digest = hashlib.sha256(self.path.encode() + self.source).hexdigest()[:12]
        return f"{Path(self.path).stem}_{digest}"


class Work:
    """A trial to be done. Nothing that Prefect would look into: references of Ray's are resolved here."""

    def __init__(
        self,
        key: str,
        trial: Trial,
        config: Config,
        rows: Any,
        board: Any,
        threads: int,
        software: dict[str, str],
        kept: Kept | None,
        own: Own | None,
    ) -> None:
        """Say what to do.

        Args:
            key: Of this training on the switchboard.
            trial: To be done.
            config: Of the run.
            rows: Ray's reference of the data set.
            board: The switchboard.
            threads: To compute with.
            software: What must be installed.
            kept: The last backup of it.
            own: The module of the backbone.
        """
        self.key, self.trial, self.config = key, trial, config
        self.rows, self.board = rows, board
        self.threads, self.software = threads, software
        self.kept, self.own = kept, own

    @property
    def title(self) -> str:
        """The trial's."""
        return self.trial.title


def train(work: Work) -> tuple[str, Any]:
    """Do one trial as `jobs.train` does.

    Returns:
        "returned" with what was reached and the network's bytes, or "raised" with the error.
    """
    import ray

    # A wait of the main thread would lend the trial's CPU to another trial meanwhile.
    with ThreadPoolExecutor(1) as aside, _scratch() as folder:

        def tell(message: Any) -> bool:
            return aside.submit(lambda: bool(ray.get(work.board.tell.remote(work.key, message)))).result()

        tell(Started(ray.get_runtime_context().get_node_id()))
        wrong = difference(work.software, _software())
        if wrong:
            from pipeline.errors import InputError

            return "raised", InputError(f"a node of Ray {wrong}")
        data = aside.submit(ray.get, work.rows).result()
        return _trained(work, data, tell, folder)


def _trained(work: Work, data: Any, tell: Any, folder: Path) -> tuple[str, Any]:
    _take_devices(work.threads, work.config.search.replicas)
    from pipeline.sweep import jobs
    from pipeline.sweep.workers import portable
    from pipeline.train import replicas

    backup, network = folder / "backup", folder / "network.keras"
    if work.kept is not None:
        backup.mkdir()
        (backup / work.kept.name).write_bytes(work.kept.content)

    def told(message: Any) -> bool:
        if isinstance(message, Begun):  # the backbone by the name that it has where it was asked for
            message = Begun({**message.parameters, "model.backbone": work.config.model.backbone})
        return bool(tell(message))

    done = threading.Event()
    watch = threading.Thread(target=_send_backups, args=(backup, tell, done), daemon=True)
    warnings = _Warnings(tell)
    logging.getLogger("pipeline").addHandler(warnings)
    watch.start()
    try:
        replicas.check(work.config.search.replicas)
        config = work.config if work.own is None else _with_own(work.config, work.own, folder)
        tried = jobs.train_on(told, work.trial, config, data, network, backup)
        return "returned", (tried, network.read_bytes())
    except Exception as error:  # noqa: BLE001 - it is raised where the trial was asked for
        return "raised", portable(error)
    finally:
        logging.getLogger("pipeline").removeHandler(warnings)
        done.set()
        watch.join()


def _send_backups(folder: Path, tell: Any, done: threading.Event) -> None:
    """Send each backup to where it outlives this node."""
    seen = 0
    while not done.wait(EVERY):
        for path in folder.glob("*.npz"):
            with suppress(FileNotFoundError):  # the training has ended
                changed = path.stat().st_mtime_ns
                if changed != seen:
                    tell(Kept(path.name, path.read_bytes()))
                    seen = changed


class _Warnings(logging.Handler):
    """Tells what is logged as a warning, or worse, to whoever asked for the trial."""

    def __init__(self, tell: Any) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(Said(record.getMessage()))


def _with_own(config: Config, own: Own, folder: Path) -> Config:
    """Return a config that names the user's module as it is named elsewhere, once that is imported."""
    if own.name not in sys.modules:
        path = folder / Path(own.path).name
        path.write_bytes(own.source)
        spec = importlib.util.spec_from_file_location(own.name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[own.name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            from pipeline.errors import InputError

            del sys.modules[own.name]
            raise InputError(
                f"model.backbone: importing {own.path!r} on a node of Ray raised "
                f"{type(error).__name__}: {error}; nodes have that file "
                "alone, what it imports must be installed there"
            ) from error
    function = config.model.backbone.rpartition(":")[2]
    model = config.model.model_copy(update={"backbone": f"{own.name}:{function}"})
    return config.model_copy(update={"model": model})


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder that goes in the end, or with the next training where this process is killed in it."""
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime < _YOUNG:
                continue
        with suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH) as folder, _locked(Path(folder)):
        yield Path(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder, as the operating system sees it; raises OSError where another process does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@cache
def _software() -> dict[str, str]:
    return installed(PACKAGES)()


@cache
def _take_devices(threads: int, replicas: int) -> None:
    """Set up TensorFlow, once for a process: Ray has chosen its GPUs."""
    environment.import_tensorflow(use=False)
    environment.take_devices(0, threads, replicas)
