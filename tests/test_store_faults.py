"""A retrain whose store fails half-way: one sentence, nothing half registered; the same command goes on."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from commands import started, write_project
from mlflow.tracking import MlflowClient

from pipeline import web

RETRAIN = ("retrain", "model.toml", "--json", "--set", "search.trials=1", "--set", "search.epochs=3")


def _versions(uri: str) -> list[str]:
    return [f"{one.name} {one.version}" for one in MlflowClient(uri).search_model_versions()]


@pytest.mark.slow
def test_a_store_that_is_full_or_read_only_is_told_and_gone_on_with(tmp_path: Path) -> None:
    """Full after the trials, then read-only: nothing is registered; mended, the run is finished."""
    write_project(tmp_path)
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    with started(tmp_path, *RETRAIN) as command:
        command.wait_for("best of 1:")
        # What is there may be written again, and nothing may grow.
        limit = (min(path.stat().st_size for path in tmp_path.glob("mlflow.db*")) // 2,) * 2
        resource.prlimit(command.process.pid, resource.RLIMIT_FSIZE, limit)
        status, _ = command.finish()
    assert status == 1
    said = command.log.strip().splitlines()
    assert any(line.startswith("ordinal-pipeline: ") and _told(line) for line in said), command.log
    assert _versions(uri) == []

    read_only = f"tracking.uri='sqlite:///file:{database}?mode=ro&uri=true'"
    with started(tmp_path, *RETRAIN, "--set", read_only) as command:
        status, _ = command.finish()
    assert status == 1
    assert "ordinal-pipeline: MLflow's store at" in command.log
    assert "attempt to write a readonly database" in command.log
    assert _versions(uri) == []
    assert MlflowClient(uri).search_registered_models() == []

    with started(tmp_path, *RETRAIN) as command:
        status, out = command.finish()
    assert status == 0, command.log
    assert "going on with the run" in command.log
    assert _versions(uri) == ["grades 1"]
    assert json.loads(out)["version"] == 1


def _told(line: str) -> bool:
    """Return whether a sentence says that there is no room."""
    return any(words in line for words in ("disk is full", "File too large", "disk I/O error"))


@pytest.mark.slow
def test_a_store_that_is_gone_is_told_and_gone_on_with(tmp_path: Path) -> None:
    """A server of MLflow that ends in the middle; when it is back the same command finishes the run."""
    write_project(tmp_path)
    port = web.unused(1)[0]
    uri = f"http://127.0.0.1:{port}"
    to_it = ("--set", f"tracking.uri={uri!r}")
    with ExitStack() as server:
        server.enter_context(_server(tmp_path, port))
        with started(tmp_path, *RETRAIN, *to_it, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1") as command:
            command.wait_for("best of 1:")
            server.close()
            status, _ = command.finish()
    assert status == 1
    assert f"ordinal-pipeline: MLflow's store at '{uri}' cannot be used" in command.log
    with _server(tmp_path, port):
        with started(tmp_path, *RETRAIN, *to_it) as command:
            status, out = command.finish()
        assert status == 0, command.log
        assert "going on with the run" in command.log
        assert _versions(uri) == ["grades 1"]
        assert json.loads(out)["version"] == 1


@contextmanager
def _server(folder: Path, port: int) -> Iterator[None]:
    """Run MLflow's server on a SQLite store in the folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--workers", "1"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        cwd=folder,
        env={**kept, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()
