"""A retrain that is killed, at one point after the other, until there is nothing left to be killed."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest
from commands import Command, started, write_project
from mlflow.tracking import MlflowClient

from pipeline import promotion

RETRAIN = ("retrain", "model.toml", "--json")


def _count(folder: Path, table: str, condition: str = "1") -> int:
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)) as database:
        (count,) = database.execute(f"select count(*) from {table} where {condition}").fetchone()
    return int(count)


def _wait_for(folder: Path, command: Command, table: str, condition: str = "1", count: int = 1) -> None:
    """Return as soon as MLflow's store has so many rows."""
    end = time.monotonic() + 60
    while _count(folder, table, condition) < count:
        assert time.monotonic() < end, command.log
        time.sleep(0.001)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_finished_once(tmp_path: Path) -> None:
    """In a trial, in the export, before and after the registration, with the alias moved, and after that.

    Each time the same command goes on with the same run. In the end every trial was done once, one version
    is registered, one promotion counts, and no run is left RUNNING.
    """
    write_project(tmp_path)
    points = [
        "trial 1 of 3:",
        "best of 3:",
        "exported ",
        "registered grades",
        "passed: one row is answered",
        "@champion is version 1",
    ]
    for number, text in enumerate(points):
        with started(tmp_path, *RETRAIN) as command:
            command.wait_for(text)
            if number == 0:  # the second trial's own run is there
                _wait_for(tmp_path, command, "runs", count=3)
            if number == 4:
                _wait_for(tmp_path, command, "registered_model_aliases", "alias = 'champion'")
            command.kill()
            assert ("going on with the run" in command.log) == (number > 0)
            if number == 5:
                assert "put right: grades change 1, promote none → 1" in command.log
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert [(v.version, v.run_id) for v in client.search_model_versions()] == [
        (1, client.get_model_version("grades", "1").run_id)
    ]
    with started(tmp_path, *RETRAIN) as command:
        status, out = command.finish()
    assert status == 0, command.log
    result = json.loads(out)
    assert (result["version"], result["promoted"], result["champion"]) == (1, True, 1)
    assert "base rates" in result["reasons"][0]
    (version,) = client.search_model_versions()
    assert version.tags["gate.verdict"] == "passed"
    assert version.run_id == result["run_id"]
    runs = client.search_runs([result["experiment_id"]])
    assert Counter((r.data.tags["kind"], r.info.status) for r in runs) == {
        ("retrain", "FINISHED"): 1,
        ("trial", "FINISHED"): 3,
        ("trial", "KILLED"): 1,
    }
    changes = promotion.history(f"sqlite:///{tmp_path / 'mlflow.db'}", "grades")
    assert [(c.number, c.before, c.to, c.state) for c in changes] == [
        (1, None, 1, "killed"),
        (2, None, 1, "finished"),
    ]
    assert [path.name for path in (tmp_path / ".ordinal" / "runs" / "grades").iterdir()] == [".lock"]


@pytest.mark.slow
def test_two_at_once_both_finish_and_are_promoted_in_order(tmp_path: Path) -> None:
    """Two retrains of one model, of other seeds, end well; history has no gap, the alias is its last."""
    write_project(tmp_path)
    with (
        started(tmp_path, *RETRAIN) as first,
        started(tmp_path, *RETRAIN, "--set", "search.seed=5", "--set", "search.epochs=12") as second,
    ):
        ends = [one.finish() for one in (first, second)]
    assert [status for status, _ in ends] == [0, 0], first.log + second.log
    results = [json.loads(out) for _, out in ends]
    assert sorted(result["version"] for result in results) == [1, 2]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    changes = promotion.history(uri, "grades")
    assert [c.number for c in changes] == list(range(1, len(changes) + 1))
    assert {c.state for c in changes} == {"finished"}
    assert [c.before for c in changes] == [None, *(c.to for c in changes[:-1])]
    champion = MlflowClient(uri).get_model_version_by_alias("grades", "champion")
    assert int(champion.version) == changes[-1].to
    # Whoever came second was judged against the first, and not against the base rates.
    judged = [any("base rates" in reason for reason in result["reasons"]) for result in results]
    assert judged.count(True) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_told_to_end_ends_at_once(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    """In the middle of two long trainings: their processes end with it, and their runs are KILLED."""
    write_project(tmp_path)
    longer = ("--set", "search.epochs=100000", "--set", "search.patience=100000")
    with started(tmp_path, *RETRAIN, *longer, "--set", "search.workers=2") as command:
        command.wait_for("Beginning flow run")
        _wait_for(tmp_path, command, "runs", count=3)
        time.sleep(2)
        command.process.send_signal(number)
        assert command.process.wait(30) == status
        assert not _group(command.process.pid)
    assert "the same command goes on from here" in command.log
    runs = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["1"])
    assert [run.info.status for run in runs] == ["KILLED"] * 3


def _group(pid: int, seconds: float = 15) -> list[int]:
    """Return the processes of a group that are left after some seconds at most."""
    end = time.monotonic() + seconds
    while True:
        left = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) == pid and fields[0] != "Z":
                    left.append(int(path.parent.name))
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)
