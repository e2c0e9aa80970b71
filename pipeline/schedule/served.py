"""The loop of `ordinal-pipeline schedule`: what is due is started, one at a time, and watched to its end.

The deployment has no concurrency limit of Prefect's: that is a lease which has to be renewed, and a run
would be ended where the server cannot be reached for a while. Here one process starts all runs of the
schedule, so that it knows whether one is going on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import FlowRunResponse

from pipeline import notify
from pipeline.errors import PipelineError
from pipeline.schedule import held
from pipeline.schedule.deployment import Deployment, Served, ServedElsewhere, first
from pipeline.schedule.flow_runs import FlowRuns, answered
from pipeline.schedule.going import GRACE, Going

_EVERY = 2.0  # seconds between one look at what is due and the next
_CHECKED = 30.0  # seconds between one look at the deployment and the next
_QUIET = 60.0  # seconds within which Prefect has a run to come, of a schedule that is active
_AHEAD = timedelta(days=95)  # Prefect makes no runs that are due later than in a hundred days
_OVER = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)
_CANCELLED = "cancelled in Prefect; the next run goes on from there"
_STOPPED = "ended with its schedule; the same command goes on from there"


class Loop:
    """Serves one deployment, in the process that holds its lock."""

    def __init__(
        self, served: Served, deployment: Deployment, runs: FlowRuns, say: Callable[[str], object]
    ) -> None:
        self._served = served
        self._deployment = deployment
        self._runs = runs
        self._say = say
        self._begun = held.Begun(served.name)
        self._going: Going | None = None
        self._announced = False
        self._lost = False
        self._trouble = ""
        self._next_check = self._expected = time.monotonic()

    def recover(self, now: bool = False) -> None:
        """Put right what an earlier process has left: runs without a process, and one that was cut off.

        Args:
            now: Have a run at once, whatever was left.
        """
        with held.run(self._served.name, "", GRACE) as holder:  # it may still be about to end
            for run in self._runs.alive():
                if holder == str(run.id):
                    continue
                if run.state_type == StateType.CANCELLING:
                    self._runs.cancel(run.id, _CANCELLED)
                else:
                    self._died(run.id, run.name, "its process was killed, together with its schedule")
        cut_off = holder is None and self._cut_off()
        if self._runs.due():
            self._make_up()
        elif cut_off:
            self._say("a run was cut off: it is gone on with, now")
            self._runs.add("goes on with the run that was cut off")
        elif now:
            self._runs.add("asked for")
        if holder is None:  # not before the run that goes on with it is there
            self._begun.end()

    def forever(self) -> NoReturn:
        """Serve until an exception passes, of which an order to end is one."""
        try:
            while True:
                if self._once() and self._going is not None:
                    self._going.wait(_EVERY)
                else:
                    time.sleep(_EVERY)
        finally:
            self._stop()

    def _cut_off(self) -> bool:
        """Whether a run was started that has neither ended by itself nor been cancelled by somebody."""
        left = self._begun.flow_run
        if left is None:
            return False
        state = self._runs.state(left)
        return state is None or state.type not in _OVER or state.message == _STOPPED

    def _make_up(self) -> None:
        """Have one run for all that were missed; theirs may be as an earlier command has asked for."""
        one = self._runs.add("makes up for those that were missed")
        missed = 0
        while late := [
            run for run in self._runs.due() if run.id != one.id
        ]:  # Prefect tells so many at once
            for run in late:
                self._runs.cancel(run.id, f"missed: run {one.name} makes up for all that were")
            missed += len(late)
        self._say(f"{missed} run{' was' if missed == 1 else 's were'} missed: one makes up for that, now")

    def _once(self) -> bool:
        """Look at what has changed; return whether Prefect has answered."""
        if self._going is not None:
            self._going.hurry()
        try:
            with answered(self._served.url):
                self._look()
        except ServedElsewhere:
            raise
        except PipelineError as error:
            if not self._lost:
                self._say(str(error))
            self._lost = True
        else:
            if self._lost:
                self._say("the Prefect server answers again")
            self._lost = False
        return not self._lost

    def _look(self) -> None:
        if self._going is not None and self._going.over:
            self._ended(self._going)
        if time.monotonic() >= self._next_check:
            self._check()
        due = self._runs.due()
        if self._going is not None:
            self._not_now(due, self._going)
        elif due:
            self._begin(due)
        elif not self._announced:
            self._announce()
        if self._going is not None or self._announced:
            self._expected = time.monotonic()

    def _check(self) -> None:
        """Say why there is no run to come, once for each reason."""
        trouble = self._deployment.trouble()
        self._runs.deployment = self._deployment.id
        self._next_check = time.monotonic() + _CHECKED
        if trouble:
            self._announced, self._expected = False, time.monotonic()
        elif time.monotonic() - self._expected > _QUIET:
            trouble = (
                "Prefect has no run to come, though the schedule is active: its server's log may say why"
            )
        if trouble and trouble != self._trouble:
            self._say(trouble)
        self._trouble = trouble

    def _begin(self, due: list[FlowRunResponse]) -> None:
        *older, newest = due
        for run in older:
            self._runs.cancel(run.id, f"missed: run {newest.name} makes up for all that were")
        try:
            self._begun.begin(newest.id)  # before Prefect takes it to have a process
            if not self._runs.claim(newest.id):
                self._begun.end()
                return
            self._going = Going(newest.id, newest.name, self._served.url)
        except (PipelineError, OSError) as error:
            self._died(newest.id, newest.name, f"its process could not be started: {error}")
            self._begun.end()
            return
        self._announced = False
        self._say(f"run {newest.name} begins")

    def _not_now(self, due: list[FlowRunResponse], going: Going) -> None:
        """Cancel what has become due meanwhile, and end the run where Prefect is told to."""
        for run in due:
            self._runs.cancel(run.id, f"skipped: run {going.name} was still going on")
            self._say(f"run {run.name} is skipped: {going.name} is still going on")
        state = self._runs.state(going.id)
        if state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED):
            self._begun.end()  # nobody wants it to be gone on with at once, whatever happens now
            going.order(_CANCELLED)

    def _ended(self, going: Going) -> None:
        """Tell what became of a run whose process has ended."""
        going.close()
        state = self._runs.state(going.id)
        kind = None if state is None else state.type
        why = _CANCELLED if kind == StateType.CANCELLING else going.ordered
        if state is not None and kind in _OVER:
            self._say(f"run {going.name} ended as {state.name}: {state.message}")
        elif why:
            self._runs.cancel(going.id, why)
            self._say(f"run {going.name} was {why}")
        else:
            self._died(going.id, going.name, f"its process ended {going.how}")
        if kind in _OVER or why != _STOPPED:
            self._begun.end()
        self._going = None

    def _died(self, run: UUID, name: str, how: str) -> None:
        why = f"{how}; the next run goes on from there"
        self._runs.crash(run, why)
        self._say(f"run {name} has crashed: {why}")
        notify.failed(self._served.config, self._served.changes, why, self._say)

    def _announce(self) -> None:
        when = self._runs.next()
        if when is None:
            later = first(self._served.cron, self._served.timezone)
            when = later if later - datetime.now(UTC) > _AHEAD else None
        if when is not None:
            there = when.astimezone(ZoneInfo(self._served.timezone))
            self._say(f"next run: {there:%a %Y-%m-%d %H:%M:%S} {self._served.timezone}")
            self._announced = True

    def _stop(self) -> None:
        """End the run, whose folder is kept; it stands in `Begun`, so that it is gone on with."""
        going = self._going
        if going is None:
            return
        if not going.over:
            self._say(f"run {going.name} is ended …")
            going.order(_STOPPED)
            going.finish()
        try:
            with answered(self._served.url):
                self._ended(going)
        except PipelineError as error:
            self._say(f"Prefect was not told that run {going.name} has ended: {error}")
