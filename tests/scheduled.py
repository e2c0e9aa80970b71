"""What Prefect knows of the runs of a schedule, asked over HTTP as its own UI does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from commands import write_project

SLOW = """
import time

import keras


def build(shape, classes):
    time.sleep({seconds})
    rows = keras.Input(shape)
    return keras.Model(rows, keras.layers.Dense(16, activation="relu")(rows))
"""


def write_slow_project(folder: Path, seconds: float, config: str = "") -> None:
    """Write rows and a config whose network takes so long to build, once for a run and once for a trial."""
    write_project(folder)
    (folder / "slow.py").write_text(SLOW.format(seconds=seconds), encoding="utf-8")
    path = folder / "model.toml"
    text = path.read_text(encoding="utf-8").replace("hidden = [16]", 'backbone = "slow:build"')
    path.write_text(text + config, encoding="utf-8")


@dataclass(frozen=True)
class Ran:
    """One run as Prefect has it."""

    name: str
    type: str
    message: str
    due: datetime
    states: list[tuple[str, datetime]]

    @property
    def running(self) -> list[tuple[datetime, datetime]]:
        """When it was Running: from, to; until now, where it still is."""
        states = [*self.states, ("", datetime.now(UTC))]
        return [(a, b) for (kind, a), (_, b) in pairwise(states) if kind == "RUNNING"]


class Prefect:
    """A Prefect server of this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api"

    def ran(self) -> list[Ran]:
        """Return the runs that are not to come, the one that was due first first."""
        kinds = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "CANCELLING"]
        body = {"flow_runs": {"state": {"type": {"any_": kinds}}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [self._whole(found) for found in self.post("flow_runs/filter", body)]

    def late(self) -> int:
        """Return how many runs should have begun and have not."""
        body = {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}}
        return int(self.post("flow_runs/count", body))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what the API answers."""
        answer = httpx.post(f"{self.url}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def _whole(self, found: Mapping[str, Any]) -> Ran:
        answer = httpx.get(f"{self.url}/flow_run_states/", params={"flow_run_id": found["id"]}, timeout=60)
        states = [(one["type"], datetime.fromisoformat(one["timestamp"])) for one in answer.json()]
        return Ran(
            found["name"],
            found["state_type"],
            found["state"]["message"] or "",
            datetime.fromisoformat(found["expected_start_time"]),
            sorted(states, key=lambda state: state[1]),
        )


def wait_until(true: Callable[[], bool], seconds: float, what: Callable[[], object]) -> None:
    """Return once something holds; fails with a text where it takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.5)


def assert_never_two_at_once(runs: list[Ran]) -> None:
    """Fail where two runs were Running at the same time."""
    intervals = sorted((*interval, run.name) for run in runs for interval in run.running)
    for (_, end, first), (begin, _, second) in pairwise(intervals):
        assert end <= begin, (first, second, intervals)


def processes(text: str, folder: Path) -> list[int]:
    """Return the processes that have a text in their command and work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in command and (place / "cwd").resolve() == folder.resolve():
                found.append(int(place.name))
    return found
