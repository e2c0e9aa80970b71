"""Real MLflow registries: in SQLite, with artifacts in a folder beside it, and behind `mlflow server`."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import mlflow
import onnx
from mlflow import MlflowClient

from pipeline import web


class Store:
    """A registry that tests add versions to and move aliases of."""

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        self.uri = uri
        self.client = MlflowClient(uri)
        location = artifacts.as_uri() if artifacts else None
        self._experiment = self.client.create_experiment("wine", artifact_location=location)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.uri.removeprefix("sqlite:///"))

    def add(self, path: Path, name: str = "wine", **tags: str) -> str:
        """Register a file as the next version; return its number."""
        mlflow.set_tracking_uri(self.uri)
        with mlflow.start_run(experiment_id=self._experiment):
            logged = mlflow.onnx.log_model(
                onnx.load(path), name=name, pip_requirements=["onnx"], save_as_external_data=False
            )
        return str(mlflow.register_model(logged.model_uri, name, tags=tags).version)

    def point(self, alias: str, version: str, name: str = "wine") -> None:
        """Move an alias."""
        self.client.set_registered_model_alias(name, alias, version)

    def files(self, version: str, name: str = "wine") -> Path:
        """The folder that a version's files lie in."""
        return Path(unquote(urlsplit(self.client.get_model_version_download_uri(name, version)).path))

    def file(self, version: str, name: str = "wine") -> Path:
        """The artifact of a version in the store."""
        return self.files(version, name) / "model.onnx"


def sqlite_store(folder: Path) -> Store:
    """A new registry in `folder`."""
    (folder / "mlflow.db").write_bytes(_empty_database())
    return Store(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")


@functools.cache
def _empty_database() -> bytes:
    """What MLflow takes seconds to make."""
    with tempfile.TemporaryDirectory() as folder:
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_registered_models()
        with contextlib.closing(sqlite3.connect(f"{folder}/mlflow.db")) as database:
            return database.serialize()


class MlflowServer:
    """`mlflow server` on a port that it keeps, started and stopped as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = web.unused(1)[0]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--port", str(self._port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{self._folder / 'served.db'}"),
                *("--artifacts-destination", str(self._folder / "served")),
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while True:
            try:
                urlopen(f"{self.uri}/health", timeout=5).close()
            except (URLError, OSError):
                assert time.monotonic() < end, "mlflow server does not start"
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """End it and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
