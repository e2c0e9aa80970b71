"""What a schedule has Prefect do, on a real server that runs no schedules itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from pipeline.config import Config
from pipeline.schedule import flow
from pipeline.schedule.deployment import Deployment, Served, ServedElsewhere
from pipeline.schedule.flow_runs import FlowRuns
from pipeline.schedule.served import Loop

SERVED = Served("wine", Path("model.toml"), ("search.epochs=3",), "0 3 * * *", "UTC", "")


@pytest.fixture(scope="module")
def client() -> Iterator[SyncPrefectClient]:
    """Of a server of its own."""
    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as client:
        yield client


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_deployment_is_looked_after(
    client: SyncPrefectClient, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its users' tags; whoever pauses, deletes or takes it is noticed."""
    mine = Deployment(client, SERVED, config)
    assert mine.trouble() == ""
    (tag,) = client.read_deployment(mine.id).tags
    assert tag.startswith("served from ")
    assert f":{tmp_path} (" in tag

    client._client.patch(f"/deployments/{mine.id}", json={"tags": ["team: wine", tag]}).raise_for_status()
    assert mine.trouble() == ""
    again = Deployment(client, SERVED, config)  # after this one, in the same folder
    assert again.id == mine.id
    assert "team: wine" in client.read_deployment(mine.id).tags
    with pytest.raises(
        ServedElsewhere, match=r"the schedule of 'wine' is now served from .*: it ends here"
    ):
        mine.trouble()

    FlowRuns(client, again.id).due()
    client._client.post(f"/deployments/{again.id}/pause_deployment").raise_for_status()
    assert "paused in Prefect's UI" in again.trouble()
    client._client.post(f"/deployments/{again.id}/resume_deployment").raise_for_status()
    assert again.trouble() == ""

    monkeypatch.chdir("/")  # another folder
    client._client.patch(
        f"/deployments/{again.id}", json={"tags": ["served from there:/ (1)"]}
    ).raise_for_status()
    with pytest.raises(ServedElsewhere, match=r"is served from there:/ \(1\); end that one first"):
        Deployment(client, SERVED, config)  # which was asked for runs a moment ago

    old = again.id
    client.delete_deployment(old)
    assert FlowRuns(client, old).due() == []
    assert again.trouble() == "the deployment was deleted in Prefect: it is made anew"
    assert again.id != old
    assert again.trouble() == ""


@pytest.mark.slow
def test_a_run_that_was_deleted_is_nothing(client: SyncPrefectClient, config: Config) -> None:
    """Nothing is said to it, and nothing is raised."""
    runs = FlowRuns(client, Deployment(client, replace(SERVED, name="gone"), config).id)
    one = uuid4()
    assert runs.state(one) is None
    assert not runs.claim(one)
    runs.cancel(one, "gone")
    runs.crash(one, "gone")


@pytest.mark.slow
def test_one_run_makes_up_with_the_parameters_of_now(client: SyncPrefectClient, config: Config) -> None:
    """Those that were missed had others, and are cancelled."""
    deployment = Deployment(client, replace(SERVED, name="late"), config)
    runs = FlowRuns(client, deployment.id)
    late = [
        client.create_flow_run_from_deployment(
            deployment.id, parameters={"config": "old.toml", "changes": []}, state=Scheduled()
        )
        for _ in range(3)
    ]
    said: list[str] = []
    Loop(SERVED, deployment, runs, said.append).recover()
    assert said == ["3 runs were missed: one makes up for that, now"]
    (one,) = runs.due()
    assert one.parameters == {"config": "model.toml", "changes": ["search.epochs=3"]}
    message = f"missed: run {one.name} makes up for all that were"
    assert {_state(runs, run.id).message for run in late} == {message}


@pytest.mark.slow
def test_whatever_a_run_fails_by_is_in_the_table(
    client: SyncPrefectClient, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the deployment's name, also where there is no config to name the model."""
    runs = FlowRuns(client, Deployment(client, replace(SERVED, name="beer"), config).id)

    def broken(*_: object) -> Config:
        raise ZeroDivisionError("by zero")

    first = runs.add("one")
    run_flow(flow.scheduled, flow_run=client.read_flow_run(first.id), return_type="state")
    monkeypatch.setattr(flow, "load_config", broken)
    second = runs.add("two")
    run_flow(flow.scheduled, flow_run=client.read_flow_run(second.id), return_type="state")
    assert _state(runs, first.id).message == "config 'model.toml' cannot be read: No such file or directory"
    assert _state(runs, second.id).message == "ZeroDivisionError: by zero"
    body = {"artifacts": {"key": {"any_": ["verdicts-beer"]}}, "limit": 1, "sort": "CREATED_DESC"}
    (table,) = client._client.post("/artifacts/filter", json=body).json()
    rows = [(row["run"], row["verdict"]) for row in json.loads(table["data"])]
    assert rows[:2] == [
        (second.name, "ZeroDivisionError: by zero"),
        (first.name, "config 'model.toml' cannot be read: No such file or directory"),
    ]


def _state(runs: FlowRuns, run: object) -> State[object]:
    state = runs.state(run)  # type: ignore[arg-type]
    assert state is not None
    return state
