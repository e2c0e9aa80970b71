"""Sweeps on a Ray cluster of two nodes: the same trials as here, whatever dies on the way."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from commands import Command, started, write_project
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from ray_cluster import Cluster, Node, cluster

pytestmark = pytest.mark.slow

# Long enough to be in the middle of. One thread, so that sums come in the same order everywhere.
LONG = ("search.epochs=500", "search.patience=500", "search.threads=1")
OWN = '''
import keras


@keras.saving.register_keras_serializable()
class Doubled(keras.layers.Layer):
    """One that Keras finds only where this module was imported."""

    def call(self, x):
        return x * 2.0


def build(shape, classes):
    rows = keras.Input(shape)
    return keras.Model(rows, keras.layers.Dense(8, "relu")(Doubled()(rows)))
'''


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    """Two nodes of one CPU each."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """Where a Prefect server is, which nodes reach too."""
    with prefect_test_harness(server_startup_timeout=240):
        yield PREFECT_API_URL.value()


def _retrain(*settings: str) -> tuple[str, ...]:
    return ("retrain", "model.toml", "--json", *(f"--set={one}" for one in (*LONG, *settings)))


def _on(address: str) -> tuple[str, str]:
    return "search.backend=ray", f"search.address={address}"


def _trials(folder: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs(["1"], "tags.kind = 'trial'", order_by=["attributes.start_time"])


def _ended(folder: Path) -> Counter[tuple[str, str]]:
    # One that was killed before it began has no parameters.
    return Counter((run.data.params.get("seed", ""), run.info.status) for run in _trials(folder))


def _count(folder: Path, condition: str) -> int:
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)) as database:
        (count,) = database.execute(f"select count(*) from {condition}").fetchone()
    return int(count)


def _trainings(node: Node) -> list[int]:
    """The processes of a node that train; Ray gives them their titles."""
    found = []
    for pid in node.pids:
        with suppress(OSError):
            if b"train on Ray" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _wait(command: Command, what: str, met: object, seconds: float = 240) -> None:
    assert callable(met)
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, f"{what}: {command.log}"
        time.sleep(0.2)


def test_a_node_that_dies_changes_nothing(ray: Cluster, api: str, tmp_path: Path) -> None:
    """Its trial is done again on the other node, once; all metrics are those of trials on this machine."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        write_project(folder)
    with started(there, *_retrain(*_on(ray.address)), PREFECT_API_URL=api) as command:
        command.wait_for("trials on Ray")
        assert "(2 nodes, 2 CPUs), 2 at a time" in command.log
        _wait(command, "no training on the second node", lambda: _trainings(ray.nodes[1]))
        # It has told of itself: its parameters are there.
        _wait(command, "no epochs", lambda: _count(there, "params where key = 'seed'") > 1)
        ray.nodes[1].kill()
        with started(here, *_retrain(), PREFECT_API_URL=api) as local:
            status, _ = local.finish()
            assert status == 0, local.log
        status, out = command.finish()
    assert status == 0, command.log
    assert json.loads(out)["promoted"]  # nothing else on the standard output
    assert command.log.count("the node that trained it has died; it is trained on another") == 1
    assert _ended(there) == {(str(seed), "FINISHED"): 1 for seed in range(3)}
    metrics = [{run.data.params["seed"]: run.data.metrics for run in _trials(one)} for one in (here, there)]
    for seed, local_metrics in metrics[0].items():
        timed = {name for name in local_metrics if "second" in name}
        same = [{k: v for k, v in one[seed].items() if k not in timed} for one in metrics]
        assert same[0] == same[1]
    ray.add()


def test_a_driver_that_dies_leaves_nothing_behind(ray: Cluster, api: str, tmp_path: Path) -> None:
    """Killed after a trial, told to end in the middle of another, then finished by Ray's client.

    The cluster trains nothing for a driver that has ended; trials that have ended are not done again. The
    backbone is a file beside the config.
    """
    write_project(tmp_path)
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    own = "model.backbone=own:build"
    alive = [node for node in ray.nodes if not node.ended]
    with started(tmp_path, *_retrain(own, *_on(ray.address)), PREFECT_API_URL=api) as command:
        command.wait_for("trial 1 of 3: realised")
        command.kill()
        _wait(command, "trainings left", lambda: not any(map(_trainings, alive)), 60)
    found = {"RAY_ADDRESS": ray.address, "PREFECT_API_URL": api}
    with started(tmp_path, *_retrain(own, *_on("auto")), **found) as command:
        command.wait_for("trials on Ray")
        _wait(command, "no training", lambda: any(map(_trainings, alive)))
        time.sleep(1)
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(30) == 128 + signal.SIGTERM
        _wait(command, "trainings left", lambda: not any(map(_trainings, alive)), 60)
    assert "the same command goes on from here" in command.log
    with started(tmp_path, *_retrain(own, *_on(ray.client_address)), PREFECT_API_URL=api) as command:
        status, out = command.finish()
    assert status == 0, command.log
    assert "going on with the run" in command.log
    assert json.loads(out)["version"] == 1
    ended = _ended(tmp_path)
    assert [ended[str(seed), "FINISHED"] for seed in range(3)] == [1, 1, 1]
    assert {status for _, status in ended} <= {"FINISHED", "KILLED"}
    finished = [run for run in _trials(tmp_path) if run.info.status == "FINISHED"]
    assert {run.data.params["model.backbone"] for run in finished} == {"own.py:build"}


def test_hopeless_and_late_trials_are_ended_on_their_nodes(ray: Cluster, api: str, tmp_path: Path) -> None:
    """Pruned by what they say on the way, and when `search.seconds` are over."""
    pruned, late = tmp_path / "pruned", tmp_path / "late"
    for folder in (pruned, late):
        write_project(folder)
    with (pruned / "model.toml").open("a", encoding="utf-8") as config:
        config.write('sampler = "random"\n[search.space]\nlearning_rate = { choices = [0.01, 1e-7] }\n')
    short = ("search.epochs=20", "search.patience=2", "search.trials=10")
    with started(pruned, *_retrain(*short, *_on(ray.address)), PREFECT_API_URL=api) as command:
        status, _ = command.finish()
    assert status == 0, command.log
    ended = [run for run in _trials(pruned) if run.info.status == "KILLED"]
    assert {run.data.params["search.learning_rate"] for run in ended} == {"1e-07"}
    assert all(run.data.tags["ended"].startswith("pruned after") for run in ended)

    endless = ("search.epochs=1000000", "search.patience=1000000", "search.seconds=20")
    with started(late, *_retrain(*endless, *_on(ray.address)), PREFECT_API_URL=api) as command:
        status, _ = command.finish()
        assert status == 1, command.log
        assert "no trial ended well: 2 × out of time; search.seconds is 20" in command.log
        alive = [node for node in ray.nodes if not node.ended]
        _wait(command, "trainings left", lambda: not any(map(_trainings, alive)), 60)
    assert {run.info.status for run in _trials(late)} == {"KILLED"}


def test_a_head_that_dies_costs_no_trial_that_has_ended(api: str, tmp_path: Path) -> None:
    """The command fails in a sentence, and goes on where there is no Ray at all."""
    write_project(tmp_path)
    with (
        cluster() as lost,
        started(tmp_path, *_retrain(*_on(lost.address)), PREFECT_API_URL=api) as command,
    ):
        command.wait_for("trial 1 of 3: realised")
        lost.nodes[0].kill()
        status, _ = command.finish()
    assert status == 1, command.log
    *_, last = command.log.splitlines()
    assert last.startswith("ordinal-pipeline: "), command.log
    assert f"Ray at {lost.address} has failed" in last, command.log
    before = {run.info.run_id for run in _trials(tmp_path) if run.info.status == "FINISHED"}
    assert before
    with started(tmp_path, *_retrain(), PREFECT_API_URL=api) as command:
        status, _ = command.finish()
    assert status == 0, command.log
    assert "going on with the run" in command.log
    finished = [run for run in _trials(tmp_path) if run.info.status == "FINISHED"]
    assert before <= {run.info.run_id for run in finished}
    assert sorted(run.data.params["seed"] for run in finished) == ["0", "1", "2"]
