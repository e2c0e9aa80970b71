"""prefect.yaml, for real: a server, a work pool, a worker, one run to its verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from scheduled import Prefect, wait_until

from pipeline import web


@contextmanager
def _server(folder: Path, port: int, environment: Mapping[str, str]) -> Iterator[Prefect]:
    """Run a Prefect server of its own."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5).is_success
            except httpx.HTTPError:
                return False

        wait_until(answers, 240, lambda: (folder / "server.log").read_text(encoding="utf-8"))
        yield Prefect(port)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_the_deployment_runs_on_a_work_pool(root: Path, tmp_path: Path) -> None:
    """The commands at the head of prefect.yaml deploy it, and a worker runs it to its verdict."""
    shutil.copy(root / "prefect.yaml", tmp_path)
    (tmp_path / "examples").mkdir()
    shutil.copy(root / "examples" / "digits.toml", tmp_path / "examples")
    port = web.unused(1)[0]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))}
    environment = {
        **kept,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        "PWD": str(tmp_path),
    }

    def prefect(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=tmp_path,
            env={**environment, "PREFECT_API_URL": server.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    with _server(tmp_path, port, environment) as server:
        prefect("work-pool", "create", "retraining", "--type", "process")
        prefect("--no-prompt", "deploy", "--all")
        few = 'changes=["search.trials=3", "search.epochs=2"]'
        prefect("deployment", "run", "scheduled retrain/digits", "--param", few)
        log = prefect("worker", "start", "--pool", "retraining", "--run-once")
        (run,) = server.ran()
        (deployment,) = server.post("deployments/filter", {})
        tables = {"artifacts": {"key": {"any_": ["verdicts-digits"]}}}
        artifacts = server.post("artifacts/filter", tables)
    assert run.type == "COMPLETED", log
    assert run.message.startswith("digits version 1 "), run
    assert len(artifacts) == 1
    assert deployment["entrypoint"] == "pipeline.schedule.flow.scheduled"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert (tmp_path / "mlflow.db").is_file()  # the run worked in the folder that it was deployed from
