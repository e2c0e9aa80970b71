"""What a schedule does when a process of its own dies, when it is told to end, when its config is wrong."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Command, started
from mlflow.tracking import MlflowClient
from scheduled import (
    Prefect,
    assert_never_two_at_once,
    processes,
    wait_until,
    write_slow_project,
)

from pipeline import web

TOLD = "import sys; open('told.jsonl', 'a').write(sys.stdin.read() + chr(10))"
NOTIFY = f"""
[notify]
command = [{json.dumps(sys.executable)}, "-c", {json.dumps(TOLD)}]
on = ["failure", "promotion", "rejection"]
"""


class Story:
    """One schedule that has no run of its own for months, and those that are asked for over the API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = web.unused(1)[0]
        self.server = Prefect(self.port)
        self.arguments = ("schedule", "model.toml", "--cron", "0 0 1 1 *", "--port", str(self.port))

    def ask(self) -> None:
        """Ask for a run, as the button in Prefect's UI does."""
        (deployment,) = self.server.post("deployments/filter", {})
        self.server.post(
            f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}}
        )

    def told(self) -> list[dict[str, Any]]:
        """What the command of [notify] was told."""
        path = self.folder / "told.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines]

    def wait_for(self, command: Command, text: str, times: int) -> None:
        """Return once a text was written so many times."""
        wait_until(lambda: command.log.count(text) >= times, 200, lambda: command.log)


@pytest.mark.slow
def test_whatever_dies_is_told_and_gone_on_with(tmp_path: Path) -> None:
    """Prefect's server, a run's process and the schedule itself end in the middle of runs.

    The server is started again and the run does not notice; a run that dies is told, and the next one goes
    on with it; a schedule that is told to end, ends, and the same command goes on.
    """
    write_slow_project(tmp_path, 6, NOTIFY)
    story = Story(tmp_path)
    with started(tmp_path, *story.arguments, "--now") as first:
        first.wait_for("begins")
        with started(tmp_path, *story.arguments) as second:
            assert second.finish()[0] == 1
            assert "is served by another process in this folder (pid " in second.log
        first.wait_for("trial 1 of 3")
        (server,) = processes("prefect server start", tmp_path)
        os.kill(server, signal.SIGKILL)
        first.wait_for("the Prefect server is there again")
        first.wait_for("ended as Completed: grades version 1 is the champion: costs")
        story.ask()
        story.wait_for(first, "trial 1 of 3", 2)
        (run,) = processes("pipeline.schedule.one_run", tmp_path)
        os.kill(run, signal.SIGKILL)
        first.wait_for("has crashed: its process ended by SIGKILL; the next run goes on from there")
        story.ask()
        story.wait_for(first, "begins", 3)
        first.wait_for("going on with the run in")
        story.wait_for(first, "trial 2 of 3", 2)
        first.process.terminate()
        status, _ = first.finish()
        assert status == 143, first.log
        assert "ended: the same command goes on from here" in first.log
    assert processes("pipeline.", tmp_path) == []
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (killed,) = client.search_runs(["1"], "tags.kind = 'retrain' and attributes.status = 'KILLED'")
    with started(tmp_path, *story.arguments) as again:
        again.wait_for("a run was cut off: it is gone on with, now")
        again.wait_for("ended as Completed: grades version 2")
        (tmp_path / "model.toml").write_text('nam = "x"' + NOTIFY, encoding="utf-8")
        story.ask()
        again.wait_for("ended as Failed: config 'model.toml': the top level has no key 'nam'")
        runs = story.server.ran()
        (table,) = story.server.post(
            "artifacts/filter",
            {"artifacts": {"key": {"any_": ["verdicts-grades"]}}, "limit": 1, "sort": "CREATED_DESC"},
        )
        again.process.send_signal(signal.SIGINT)
        assert again.finish()[0] == 130
    assert client.get_run(killed.info.run_id).info.status == "FINISHED"
    assert_never_two_at_once(runs)
    assert [run.type for run in runs] == ["COMPLETED", "CRASHED", "CANCELLED", "COMPLETED", "FAILED"]
    assert runs[2].message == "ended with its schedule; the same command goes on from there"
    assert [(told["event"], told["version"]) for told in story.told()] == [
        ("promotion", 1),
        ("failure", None),
        ("rejection", 2),
        ("failure", None),
    ]
    rows = json.loads(table["data"])
    assert [row["ended"] for row in rows] == ["Failed", "Completed", "Cancelled", "Crashed", "Completed"]
