"""Runs of MLflow: how they end, go on, and are closed for processes that died."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from registered import NAME, Store

from pipeline.errors import Diverged, Stopped, StoreError
from pipeline.tracking import registry
from pipeline.tracking.runs import FOLDER, HOST, Experiment
from serving.artifact import Artifact


@pytest.fixture
def experiment(store: Store) -> Experiment:
    """An experiment of its own."""
    return Experiment(store.uri, "work")


def _status(experiment: Experiment, run_id: str) -> str:
    return str(MlflowClient(experiment.uri).get_run(run_id).info.status)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (Diverged("NaN"), "FAILED"),
        (ZeroDivisionError(), "FAILED"),
        (Stopped("out of time"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(1), "KILLED"),
    ],
    ids=["none", "diverged", "a fault", "stopped", "Ctrl-C", "exit"],
)
def test_a_run_ends_as_its_work_did(
    experiment: Experiment, error: BaseException | None, status: str
) -> None:
    """FINISHED, FAILED by an error, KILLED by an order to end; the error itself passes."""
    with suppress(*([type(error)] if error else [])), experiment.run("trial", {"kind": "trial"}) as run:
        if error:
            raise error
    assert _status(experiment, run.id) == status


def test_a_run_goes_on(experiment: Experiment) -> None:
    """What an earlier process has left is RUNNING again under its id, with what it had and new tags."""
    tags = {"kind": "trial", "try": "1"}
    with suppress(Stopped), experiment.run("p", {}) as parent, experiment.run("t", tags, parent) as run:
        run.params({"a": 1})
        raise Stopped("cut off")
    with experiment.run("trial", {"try": "2"}, parent, resume=run.id) as again:
        assert again.id == run.id
        assert _status(experiment, run.id) == "RUNNING"
    kept = MlflowClient(experiment.uri).get_run(run.id)
    assert kept.info.status == "FINISHED"
    assert kept.data.params == {"a": "1"}
    assert kept.data.tags["try"] == "2"
    assert kept.data.tags["mlflow.parentRunId"] == parent.id


def test_a_run_that_is_not_there_cannot_go_on(experiment: Experiment) -> None:
    """The sentence names it."""
    with pytest.raises(StoreError, match="0" * 32), experiment.run("trial", {}, resume="0" * 32):
        pass


def test_what_dead_processes_left_is_closed(experiment: Experiment) -> None:
    """Runs of this host in folders that nobody works in, and no others; a folder is asked about once."""
    here = socket.gethostname()
    left = [experiment.begin("left", {HOST: here, FOLDER: "/dead"}) for _ in range(2)]
    others = [
        experiment.begin("alive", {HOST: here, FOLDER: "/alive"}),
        experiment.begin("elsewhere", {HOST: "another", FOLDER: "/dead"}),
        experiment.begin("not ours", {HOST: here}),
    ]
    asked: list[str] = []

    def alive(folder: str) -> bool:
        asked.append(folder)
        return folder == "/alive"

    assert experiment.close_left(alive) == [run.id for run in left]
    assert sorted(asked) == ["/alive", "/dead"]
    assert {_status(experiment, run.id) for run in left} == {"KILLED"}
    assert {_status(experiment, run.id) for run in others} == {"RUNNING"}
    assert experiment.close_left(alive) == []


def test_a_search_turns_pages(experiment: Experiment, store: Store) -> None:
    """More runs than MLflow gives at once are found all the same."""
    first = experiment.begin("first", {HOST: "h"})
    with closing(sqlite3.connect(store.path)) as database, database:
        columns = [
            name for _, name, *_ in database.execute("pragma table_info(runs)") if name != "run_uuid"
        ]
        for number in range(1200):
            database.execute(
                f"insert into runs (run_uuid, {', '.join(columns)}) "
                f"select ?, {', '.join(columns)} from runs where run_uuid = ?",
                (f"{number:032}", first.id),
            )
    assert len(experiment.search("attributes.status = 'RUNNING'")) == 1201


def test_an_experiment_is_looked_for_without_making_it(store: Store, tmp_path: Path) -> None:
    """Neither an experiment nor a database comes of looking."""
    assert Experiment.find(store.uri, "work") is None
    made = Experiment(store.uri, "work")
    found = Experiment.find(store.uri, "work")
    assert found is not None
    assert found.id == made.id
    assert Experiment.find(f"sqlite:///{tmp_path}/none.db", "work") is None
    assert not (tmp_path / "none.db").exists()


def test_an_artifact_is_logged_once_for_a_run(experiment: Experiment, store: Store) -> None:
    """A run that goes on after a crash finds what it has logged; its files are whole, and it stays open."""
    manifest = Artifact(store.artifact, "cpu").manifest
    with experiment.run("retrain", {}) as run:
        run.params({"epochs": 3})
        first = registry.log(experiment, run, store.artifact, manifest)
        assert _status(experiment, run.id) == "RUNNING"
        assert registry.log(experiment, run, store.artifact, manifest) == first
    assert first.path.read_bytes() == store.artifact.read_bytes()
    client = MlflowClient(store.uri)
    (model,) = client.search_logged_models([experiment.id])
    assert (model.name, model.source_run_id, model.params) == (NAME, run.id, {"epochs": "3"})
    (output,) = client.get_run(run.id).outputs.model_outputs
    assert f"models:/{output.model_id}" == first.uri
