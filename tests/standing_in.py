"""What stands for Prefect where the loop of a schedule is tried without a server."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Crashed, Pending

from pipeline.schedule.deployment import ServedElsewhere


class Prefect:
    """Stands for the runs of a deployment and for the deployment itself."""

    def __init__(self) -> None:
        self.id = self.deployment = uuid4()
        self.states: dict[UUID, State[None]] = {}
        self.names: dict[UUID, str] = {}
        self.late: list[UUID] = []
        self.why: dict[UUID, str] = {}
        self.away = False
        self.asked = 0
        self.said = ""

    def have(self, state: State[None] | None = None) -> UUID:
        """Return a new run, which is due where it has no state yet."""
        run = uuid4()
        self.names[run] = f"run-{len(self.names)}"
        if state is None:
            self.late.append(run)
        else:
            self.states[run] = state
        return run

    def due(self) -> list[SimpleNamespace]:
        """Return some of those that are due, as the API does."""
        self._answer()
        return [self._run(run) for run in self.late[:2]]

    def alive(self) -> list[SimpleNamespace]:
        """Return those that should have a process."""
        kinds = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
        return [self._run(run) for run, state in self.states.items() if state.type in kinds]

    def state(self, run: UUID) -> State[None] | None:
        """Return its state."""
        self._answer()
        return self.states.get(run)

    def next(self) -> datetime | None:
        """Return that there is none."""
        return None

    def claim(self, run: UUID) -> bool:
        """Take one that is due."""
        self._set(run, Pending())
        return True

    def cancel(self, run: UUID, why: str) -> None:
        """End one."""
        self._set(run, Cancelled(message=why))

    def crash(self, run: UUID, why: str) -> None:
        """End one that has died."""
        self._set(run, Crashed(message=why))

    def add(self, why: str) -> SimpleNamespace:
        """Have one."""
        self._answer()
        run = self.have()
        self.why[run] = why
        return self._run(run)

    def trouble(self) -> str:
        """Return what is wrong with the deployment."""
        if self.said == "elsewhere":
            raise ServedElsewhere("it is served from there")
        return self.said

    def _run(self, run: UUID) -> SimpleNamespace:
        state = self.states.get(run)
        return SimpleNamespace(id=run, name=self.names[run], state_type=state and state.type)

    def _set(self, run: UUID, state: State[None]) -> None:
        self._answer()
        if run in self.late:
            self.late.remove(run)
        if run in self.names:
            self.states[run] = state

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise httpx.ConnectError("refused")
