"""`make demo` and the README's code, as a newcomer runs them, on a machine without a network."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.slow

OFFLINE = ("unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def _offline_or_not() -> tuple[str, ...]:
    """A network namespace with nothing but loopback, where this user may make one."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return ()
    return (
        OFFLINE
        if subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0
        else ()
    )


def _newcomers_environment(folder: Path) -> dict[str, str]:
    """This one without what earlier tests, or MLflow and Prefect in them, have set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_", "ORDINAL_"))}
    return {**kept, "HOME": str(folder)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that the demo has run in."""
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(scope="module")
def demo(root: Path, folder: Path) -> str:
    """What the demo prints."""
    command = [*_offline_or_not(), sys.executable, str(root / "examples" / "demo.py")]
    done = subprocess.run(
        command,
        cwd=folder,
        env=_newcomers_environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_ends_with_ten_answers_and_the_commands_to_go_on(demo: str) -> None:
    """One line for each digit, then how to open both UIs on this run."""
    lines = re.findall(
        r"│\s+(\d) │\s+\d │\s+[01]\.\d{3} │\s+\d\.\d\d │\s+\d │\s+\d │\s+\d(?: … \d)? │", demo
    )
    assert lines == list("0123456789")
    assert "digits version 1 is the champion\n" in demo
    assert re.search(r"mlflow ui --port 5000 --backend-store-uri sqlite:///\S+/mlflow\.db", demo)
    assert re.search(r"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/[0-9a-f]{32}", demo)
    assert re.search(r"http://127\.0\.0\.1:4200/runs/flow-run/[0-9a-f-]{36}", demo)


def test_six_runs_and_a_champion_are_in_mlflow(demo: str, folder: Path) -> None:
    """The store beside the artifacts holds what the demo says."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (parent,) = re.findall(r"/experiments/\d+/runs/([0-9a-f]{32})", demo)
    experiment = client.get_run(parent).info.experiment_id
    trials = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted((t.data.params["loss"], t.data.params["seed"]) for t in trials) == [
        (loss, seed) for loss in ("cross_entropy", "distance_penalty", "expected_value") for seed in "01"
    ]
    assert int(client.get_model_version_by_alias("digits", "champion").version) == 1


STAYS = """
import sys
sys.path.insert(0, sys.argv[1])
import demo
result = {"model": "digits", "version": 2, "promoted": False, "reasons": ["no better", "too slow"]}
print(demo.came_of_it({**result, "champion": 1}))
print(demo.came_of_it({**result, "champion": None}))
"""


def test_a_second_demo_says_which_version_is_served(root: Path) -> None:
    """What does not become the champion is told with its reasons, and which version is served instead."""
    command = [sys.executable, "-c", STAYS, str(root / "examples")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    refused = "digits version 2 does not become the champion:\n- no better\n- too slow\n"
    assert told == f"{refused}served is the champion, version 1\n{refused}"


@pytest.mark.usefixtures("demo")
def test_the_readmes_serve_and_call_run_as_typed(root: Path, folder: Path) -> None:
    """The service started as the README says answers the README's Python."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (serve,) = re.findall(r"^\.venv/bin/ordinal-serving (serve .*)$", readme, re.MULTILINE)
    command = [sys.executable, "-m", "serving", *serve.split(), "--port", "0"]
    environment = {**_newcomers_environment(folder), "PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stderr is not None
        try:
            serving = (re.search(r"SERVING on ([^\s,]+)", line) for line in service.stderr)
            address = next(found[1] for found in serving if found)
            called = subprocess.run(
                [sys.executable, "-c", code.replace("127.0.0.1:50051", address)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            service.send_signal(signal.SIGTERM)
            service.stderr.read()
            assert service.wait(timeout=30) == 0
        finally:
            service.kill()
    assert called.returncode == 0, called.stderr
    assert "CPUExecutionProvider" in called.stdout


def test_the_readmes_toml_is_a_config(root: Path, tmp_path: Path) -> None:
    """The README's example can be loaded."""
    from pipeline.config import load_config

    (text,) = re.findall(r"```toml\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "model.toml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "model.toml").name == "digits"
