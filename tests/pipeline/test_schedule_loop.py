"""What the loop of a schedule does with what Prefect answers; the processes of its runs are real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import httpx
import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Completed, Crashed, Running
from standing_in import Prefect

from pipeline.schedule import going, held, served
from pipeline.schedule.deployment import Deployment, Served, ServedElsewhere

if TYPE_CHECKING:
    from pipeline.schedule.flow_runs import FlowRuns

ENDS = "pass"
STAYS = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('stays', 'w')\ntime.sleep(60)"
)


Make = Callable[[], served.Loop]


@pytest.fixture
def prefect() -> Prefect:
    """One without runs."""
    return Prefect()


@pytest.fixture
def said() -> list[str]:
    """What the loop says."""
    return []


@pytest.fixture
def make(
    prefect: Prefect, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Return what makes a loop, in a folder of its own; its runs end at once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ordinal" / "schedule").mkdir(parents=True)
    monkeypatch.setattr(served, "_EVERY", 0.05)
    monkeypatch.setattr(served, "_CHECKED", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _program(monkeypatch, ENDS)
    what = Served("wine", tmp_path / "wine.toml", (), "0 3 * * *", "UTC", "http://127.0.0.1:9/api")
    made: list[served.Loop] = []

    def make() -> served.Loop:
        made.append(served.Loop(what, cast("Deployment", prefect), cast("FlowRuns", prefect), said.append))
        return made[-1]

    yield make
    for loop in made:
        loop._stop()


def _program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    Path("a_run.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(going, "one_run", SimpleNamespace(__name__="a_run"))


def _turn(loop: served.Loop, true: Callable[[], bool]) -> None:
    """Let it look until something holds."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        loop._once()
        time.sleep(0.02)


def test_a_run_that_was_deleted_is_over(make: Make, prefect: Prefect, said: list[str]) -> None:
    """Its process ends, Prefect has forgotten it, and the next one begins."""
    loop, run = make(), prefect.have()
    _turn(loop, lambda: loop._going is not None)
    del prefect.names[run], prefect.states[run]
    _turn(loop, lambda: loop._going is None)
    assert "run run-0 has crashed: its process ended with status 0; the next run goes on from there" in said
    assert held.Begun("wine").flow_run is None
    prefect.have()
    _turn(loop, lambda: loop._going is not None)


def test_a_server_that_is_away_is_asked_now_and_then(
    make: Make, prefect: Prefect, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a run has ended meanwhile, of which it has to be told."""
    loop = make()
    prefect.have()
    loop._once()
    assert loop._going is not None
    loop._going.wait(20)
    prefect.away, prefect.asked = True, 0

    def hurry() -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._going, "hurry", hurry)
    end = time.monotonic() + 0.4
    with pytest.raises(KeyboardInterrupt):
        loop.forever()
    assert 2 <= prefect.asked <= 10
    assert sum("does not answer" in line for line in said) == 2  # in the loop, and at its end
    assert held.Begun("wine").flow_run is not None


def test_a_cancelled_run_that_stays_is_killed(
    make: Make, prefect: Prefect, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time after SIGTERM; nobody goes on with it at once, whatever dies meanwhile."""
    loop, run = make(), prefect.have()
    monkeypatch.setattr(going, "GRACE", 0.3)
    _program(monkeypatch, STAYS)
    _turn(loop, Path("stays").exists)
    stays = loop._going
    prefect.states[run] = State(type=StateType.CANCELLING)
    loop._once()
    assert held.Begun("wine").flow_run is None
    _turn(loop, lambda: loop._going is None)
    assert stays is not None
    assert stays.how == "by SIGKILL"
    assert "run run-0 was cancelled in Prefect; the next run goes on from there" in said


def test_a_run_that_died_before_the_schedule_was_ended_is_told(
    make: Make, prefect: Prefect, said: list[str]
) -> None:
    """It has crashed, and was not ended."""
    loop, run = make(), prefect.have()
    loop._once()
    assert loop._going is not None
    loop._going.wait(20)
    loop._stop()
    assert prefect.states[run].type == StateType.CRASHED
    assert "has crashed: its process ended with status 0" in said[-1]


def test_a_run_that_was_cut_off_is_not_forgotten(make: Make, prefect: Prefect, said: list[str]) -> None:
    """Where Prefect fails before the next one is there, the next start goes on with it."""
    run = prefect.have(Running())
    held.Begun("wine").begin(run)
    prefect.away = True
    with pytest.raises(httpx.ConnectError):
        make().recover()
    assert held.Begun("wine").flow_run == run
    prefect.away = False
    make().recover()
    assert said[-1] == "a run was cut off: it is gone on with, now"
    assert list(prefect.why.values()) == ["goes on with the run that was cut off"]
    assert held.Begun("wine").flow_run is None


@pytest.mark.parametrize(
    ("state", "goes_on"),
    [
        (Cancelled(message="ended with its schedule; the same command goes on from there"), True),
        (Cancelled(message="by somebody"), False),
        (State(type=StateType.CANCELLING), False),
        (Completed(), False),
        (Crashed(), True),
    ],
)
def test_what_somebody_has_cancelled_is_not_gone_on_with(
    make: Make, prefect: Prefect, state: State[None], goes_on: bool
) -> None:
    """Only what was cut off is: by a death, or by the end of the schedule."""
    held.Begun("wine").begin(prefect.have(state))
    make().recover()
    assert bool(prefect.why) == goes_on
    assert not prefect.alive()


def test_one_run_makes_up_for_all_that_were_missed(make: Make, prefect: Prefect, said: list[str]) -> None:
    """It is a new one, as the command is now; also where Prefect tells of them a few at a time."""
    missed = [prefect.have() for _ in range(5)]
    make().recover(now=True)
    assert said == ["5 runs were missed: one makes up for that, now"]
    (one,) = prefect.late
    assert one not in missed
    assert {prefect.states[run].message for run in missed} == {
        f"missed: run {prefect.names[one]} makes up for all that were"
    }


def test_what_keeps_runs_from_coming_is_said_once(
    make: Make, prefect: Prefect, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment that is paused; a server that schedules nothing; one that another process has taken."""
    loop = make()
    prefect.said = "the schedule is paused"
    loop._once()
    loop._once()
    assert said == ["the schedule is paused"]
    prefect.said = ""
    loop._once()
    assert len(said) == 1
    monkeypatch.setattr(served, "_QUIET", -1.0)
    loop._once()
    assert "Prefect has no run to come" in said[1]
    prefect.said = "elsewhere"
    with pytest.raises(ServedElsewhere):
        loop._once()


def test_a_date_that_prefect_does_not_know_yet_is_announced(
    make: Make, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It schedules a hundred days ahead."""
    monkeypatch.setattr(served, "first", lambda *_: datetime(2999, 1, 1, tzinfo=UTC))
    make()._once()
    assert said == ["next run: Tue 2999-01-01 00:00:00 UTC"]
