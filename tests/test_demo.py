"""`make demo` and the README's code, as a newcomer runs them, on a machine without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    assert re.search(r"ordinal-pipeline ui \S+digits\.toml", demo)
    assert re.search(r"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/[0-9a-f]{32}\?", demo)
    assert re.search(r"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/[0-9a-f]{32}/artifacts/report", demo)
    assert re.search(r"http://127\.0\.0\.1:4200/runs/flow-run/[0-9a-f-]{36}", demo)


def test_six_runs_and_a_champion_are_in_mlflow(demo: str, folder: Path) -> None:
    """The store beside the artifacts holds what the demo says."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (parent,) = re.findall(r"/experiments/\d+/runs/([0-9a-f]{32})\?", demo)
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


def _walked(page: Path, folder: Path, root: Path) -> str:
    """What is printed where somebody types a page in a folder."""
    done = subprocess.run(
        [*_offline_or_not(), sys.executable, str(root / "tests" / "walk.py"), str(page), str(folder)],
        env={
            **_newcomers_environment(folder),
            "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.usefixtures("demo")
def test_the_readme_is_true(root: Path, folder: Path) -> None:
    """Its commands and its Python run as typed, one after the other, after the demo."""
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "examples").symlink_to(root / "examples")
    random = np.random.default_rng(0)
    sugar, acid = random.normal(5, 2, 900), random.normal(3, 0.2, 900)
    quality = np.digitize(sugar + random.normal(0, 1, 900), [3, 5, 7]) + 4
    rows = zip(sugar, acid, quality, strict=True)
    table = ["sugar,acid,quality", *(f"{s:.2f},{a:.3f},{q}" for s, a, q in rows)]
    (folder / "wine.csv").write_text("\n".join(table), encoding="utf-8")
    readme = re.sub(r"```toml.*?```", "", (root / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    page = folder / "README.md"
    page.write_text(readme, encoding="utf-8")
    printed = _walked(page, folder, root)
    assert "CPUExecutionProvider" in printed
    assert "digits: the champion was version" in printed


def test_the_tutorial_is_true(root: Path, tmp_path: Path) -> None:
    """From a CSV to scheduled retraining, as typed, and what it quotes is what is printed."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    page = root / "docs" / "tutorial.md"
    printed = _walked(page, tmp_path, root)
    quoted = re.findall(r"^    (?:- )?(.*?)(?:; …|…)?$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for line in filter(None, quoted):
        assert line in printed, line


def test_the_readmes_toml_is_a_config(root: Path, tmp_path: Path) -> None:
    """The README's example can be loaded."""
    from pipeline.config import load_config

    (text,) = re.findall(r"```toml\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "model.toml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "model.toml").name == "digits"
