"""A server of the stack is away for a minute in the middle of a retraining, which ends right anyway."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stacks
from commands import started

from deploy.stack.servers import CONFIG, MODEL
from deploy.stack.stack import Stack
from pipeline import promotion

pytestmark = pytest.mark.slow

AWAY = 60.0  # seconds
RETRAIN = ("retrain", CONFIG, "--json", *(word for change in stacks.BETTER for word in ("--set", change)))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack on free ports, whose champion is a weak version 1."""
    said: list[str] = []
    with stacks.folder() as folder, Stack(folder, said.append, free_ports=True) as stack:
        yield stack


@pytest.mark.parametrize(
    ("part", "moment"),
    [
        ("database", "trial 1 of 2:"),
        ("objects", "exported "),
        ("mlflow", "best of 2:"),
        ("prefect", f"registered {MODEL} version"),
    ],
)
def test_a_retraining_outlives_a_minute_without(
    part: str, moment: str, stack: Stack, tmp_path: Path
) -> None:
    """The run waits for the server and promotes its candidate; the service has answered all the time."""
    uri = stack.mlflow.address
    if promotion.history(uri, MODEL)[-1].to != 1:  # what the test before has promoted would not be beaten
        promotion.promote(uri, MODEL, 1, why="the test begins with a weak champion")
    gone = getattr(stack, part)
    with (
        stacks.Asking(stack.service.address) as asking,
        started(stack.place.work, *RETRAIN, **stack.environment) as run,
    ):
        run.wait_for(moment, 600)
        if part == "database":
            gone.stop()  # the others are killed
        else:
            gone.kill()
        time.sleep(AWAY)
        gone.start()
        gone.wait()
        status, out = run.finish()
        assert status == 0, run.log
        result = json.loads(out)
        assert result["promoted"], run.log
        assert stacks.assert_in_order(uri, tmp_path) == result["version"]
        stacks.wait_until(lambda: result["version"] in asking.answers, 60)
    asking.assert_right(uri, tmp_path)
