"""The loop of `ordinal-pipeline schedule`: what is due is started, one at a time, and watched to its end.

The deployment has no concurrency limit of Prefect's: that is a lease which has to be renewed, and a run
would be ended where the server cannot be reached for a while. Here one process starts all runs of the
schedule, so that it knows whether one is going on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import FlowRunResponse

import pipeline
from pipeline import notify, tied
from pipeline.errors import PipelineError
from pipeline.schedule import held, one_run
from pipeline.schedule.flow_runs import FlowRuns, answered

_EVERY = 2.0  # seconds between one look at what is due and the next
_GRACE = 40.0  # seconds that a run which is told to end has for it
_OVER = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


@dataclass(frozen=True)
class Served:
    """What is retrained, and when.

    Attributes:
        name: Of the model.
        config: The TOML file.
        changes: Made to it, `key=value`.
        cron: When.
        timezone: Of that.
        url: Of Prefect's API.
    """

    name: str
    config: Path
    changes: tuple[str, ...]
    cron: str
    timezone: str
    url: str


@dataclass
class _Going:
    """A run that has a process."""

    id: UUID
    name: str
    process: subprocess.Popen[bytes]
    ordered: str = ""  # why it was told to end


class Loop:
    """Serves one deployment, in the process that holds its lock."""

    def __init__(self, served: Served, runs: FlowRuns, say: Callable[[str], object]) -> None:
        self._served = served
        self._runs = runs
        self._say = say
        self._begun = held.Begun(served.name)
        self._going: _Going | None = None
        self._announced = False
        self._lost = False

    def recover(self, now: bool = False) -> None:
        """Put right what an earlier process has left: runs without a process, and one that was cut off.

        Args:
            now: Have a run at once, whatever was left.
        """
        with held.run(self._served.name, "", _GRACE) as holder:  # it may still be about to end
            for run in self._runs.alive():
                if holder != str(run.id):
                    self._died(run.id, run.name, "its process was killed, together with its schedule")
        left = self._begun.flow_run
        cut_off = False
        if left is not None and holder is None:
            state = self._runs.state(left)
            cut_off = state is None or state.type not in (StateType.COMPLETED, StateType.FAILED)
            self._begun.end()
        missed = len(self._runs.due())
        if missed:
            self._say(
                f"{missed} run{'s were' if missed > 1 else ' was'} missed: one makes up for that, now"
            )
        elif cut_off:
            self._say("a run was cut off: it is gone on with, now")
            self._runs.add("goes on with the run that was cut off")
        elif now:
            self._runs.add("asked for")

    def forever(self) -> NoReturn:
        """Serve until an exception passes, of which an order to end is one."""
        try:
            while True:
                self._once()
                if self._going is None:
                    time.sleep(_EVERY)
                else:
                    try:
                        self._going.process.wait(_EVERY)
                    except subprocess.TimeoutExpired:
                        continue
        finally:
            self._stop()

    def _once(self) -> None:
        try:
            with answered(self._served.url):
                self._look()
        except PipelineError as error:
            if not self._lost:
                self._say(str(error))
            self._lost = True
        else:
            if self._lost:
                self._say("the Prefect server answers again")
            self._lost = False

    def _look(self) -> None:
        if self._going is not None and self._going.process.poll() is not None:
            self._ended(self._going)
        due = self._runs.due()
        if self._going is not None:
            self._not_now(due, self._going)
        elif due:
            self._begin(due)
        elif not self._announced:
            self._announce()

    def _begin(self, due: list[FlowRunResponse]) -> None:
        *older, newest = due
        for run in older:
            self._runs.cancel(run.id, f"missed: run {newest.name} makes up for all that were")
        if not self._runs.claim(newest.id):
            return
        try:
            self._begun.begin(newest.id)
            process = self._process(newest.id)
        except (PipelineError, OSError) as error:
            self._died(newest.id, newest.name, f"its process could not be started: {error}")
            return
        self._going = _Going(newest.id, newest.name, process)
        self._announced = False
        self._say(f"run {newest.name} begins")

    def _process(self, run: UUID) -> subprocess.Popen[bytes]:
        root = str(Path(pipeline.__file__).resolve().parent.parent)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", tied.__name__, one_run.__name__, str(run)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: what comes of it has to be told first
            env={
                **os.environ,
                "PREFECT_API_URL": self._served.url,
                "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
            },
        )

    def _not_now(self, due: list[FlowRunResponse], going: _Going) -> None:
        """Cancel what has become due meanwhile, and end the run where Prefect is told to."""
        for run in due:
            self._runs.cancel(run.id, f"skipped: run {going.name} was still going on")
            self._say(f"run {run.name} is skipped: {going.name} is still going on")
        state = self._runs.state(going.id)
        if (
            state is not None
            and state.type in (StateType.CANCELLING, StateType.CANCELLED)
            and not going.ordered
        ):
            going.ordered = "cancelled in Prefect; the next run goes on from there"
            going.process.terminate()

    def _ended(self, going: _Going) -> None:
        """Tell what became of a run whose process has ended."""
        state = self._runs.state(going.id)
        if going.ordered and (state is None or state.type != StateType.COMPLETED):
            self._runs.cancel(going.id, going.ordered)
            self._say(f"run {going.name} was {going.ordered}")
        elif state is None or state.type not in _OVER or state.type == StateType.CRASHED:
            self._died(going.id, going.name, f"its process ended {_how(going.process.returncode)}")
        else:
            self._say(f"run {going.name} ended as {state.name}: {state.message}")
        _close(going.process)
        self._begun.end()
        self._going = None

    def _died(self, run: UUID, name: str, how: str) -> None:
        why = f"{how}; the next run goes on from there"
        self._runs.crash(run, why)
        self._say(f"run {name} has crashed: {why}")
        notify.failed(self._served.config, self._served.changes, why, self._say)

    def _announce(self) -> None:
        when = self._runs.next()
        if when is not None:
            there = when.astimezone(ZoneInfo(self._served.timezone))
            self._say(f"next run: {there:%a %Y-%m-%d %H:%M:%S} {self._served.timezone}")
            self._announced = True

    def _stop(self) -> None:
        """End the run, whose folder is kept; it stands in `Begun`, so that it is gone on with."""
        going = self._going
        if going is None:
            return
        self._say(f"run {going.name} is ended …")
        going.process.terminate()
        try:
            going.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            going.process.kill()
            going.process.wait()
        _close(going.process)
        try:
            with answered(self._served.url):
                state = self._runs.state(going.id)
                if state is not None and state.type in (StateType.COMPLETED, StateType.FAILED):
                    self._begun.end()
                else:
                    self._runs.cancel(
                        going.id, "ended with its schedule; the same command goes on from there"
                    )
        except PipelineError as error:
            self._say(f"Prefect was not told that run {going.name} has ended: {error}")


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        try:
            return f"by {signal.Signals(-status).name}"
        except ValueError:
            return f"by signal {-status}"
    return f"with status {status}"
