"""A schedule of every minute, with runs of a minute and a half, killed within one and restarted."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from commands import started
from mlflow.tracking import MlflowClient
from scheduled import Prefect, assert_never_two_at_once, wait_until, write_slow_project

from pipeline import web
from pipeline.run_folder import is_alive
from pipeline.tracking.runs import FOLDER


@pytest.mark.slow
def test_a_schedule_that_is_killed_and_restarted(tmp_path: Path) -> None:
    """Never two runs at once, none of those that were missed is piled up, each has its verdict.

    The schedule is killed with SIGKILL while its first run trains, and is away for two of its minutes.
    What was missed becomes one run, which goes on with the one that was cut off.
    """
    write_slow_project(tmp_path, 30)  # seconds: for the run and each of two trials
    port = web.unused(1)[0]
    command = (
        *("schedule", "model.toml", "--cron", "* * * * *", "--port", str(port)),
        *("--set", "search.trials=2"),
    )
    server, client = Prefect(port), MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with started(tmp_path, *command, "--now") as first:
        first.wait_for("trial 1 of 2")
        first.kill()
        away = 123 - time.time() % 60  # until the second full minute from now is over
        killed = time.monotonic()
        time.sleep(3)
        retrains = client.search_runs(["1"], "tags.kind = 'retrain'")
        assert [is_alive(run.data.tags[FOLDER]) for run in retrains] == [False]
        with pytest.raises(httpx.ConnectError):  # its server has gone with it
            server.ran()
    time.sleep(max(0.0, killed + away - time.monotonic()))  # at least two runs are missed
    with started(tmp_path, *command) as second:
        second.wait_for("missed: one makes up for that, now")
        second.wait_for("going on with the run in")
        second.wait_for("ended as Completed")
        assert server.late() == 0
        wait_until(lambda: second.log.count("ended as Completed") == 2, 200, lambda: second.log)
        runs = server.ran()
        second.process.terminate()
        status, _ = second.finish()
    assert status == 143
    assert_never_two_at_once(runs)
    told = {run.name: (run.type, run.message) for run in runs}
    ended = [run for run in runs if run.running]
    assert [run.type for run in ended if run.type != "RUNNING"] == ["CRASHED", "COMPLETED", "COMPLETED"], (
        told
    )
    crashed, resumed, last = ended[:3]
    assert "its process was killed" in crashed.message
    assert "grades version 1 is the champion: costs" in resumed.message
    assert "grades version 2 does not become the champion (version 1 stays): costs" in last.message
    ((begin, end),) = last.running
    assert (end - begin).total_seconds() >= 90
    # All others were cancelled, with a reason: due during a run, or missed.
    others = [run for run in runs if not run.running and run.type != "PENDING"]
    assert {run.type for run in others} == {"CANCELLED"}, told
    missed = [run for run in others if "makes up for all that were" in run.message]
    skipped = [run for run in others if "was still going on" in run.message]
    assert len(missed) >= 1
    assert len(skipped) >= 1
    assert len(missed) + len(skipped) == len(others)
