"""One server of the stack, which can be started, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from pipeline.child import Child


class Part:
    """A server as a process, or none."""

    def __init__(
        self, name: str, make: Callable[[], Child], ready: Callable[[Child], None], address: str = ""
    ) -> None:
        """A server that does not run yet.

        Args:
            name: For people.
            make: Returns a new process, not yet started.
            ready: Returns once that process answers; raises PipelineError where it does not.
            address: Where it answers.
        """
        self.name = name
        self.address = address
        self._make = make
        self._ready = ready
        self._child: Child | None = None

    def start(self) -> None:
        """Start its process, and return at once."""
        child = self._make()
        child.__enter__()
        self._child = child

    def wait(self) -> None:
        """Return once it answers; raises PipelineError where it ends before, or takes too long."""
        if self._child is not None:
            self._ready(self._child)

    def stop(self) -> None:
        """End its process in order, if there is one, and all that this has started."""
        child, self._child = self._child, None
        if child is not None:
            child.__exit__(None, None, None)

    def kill(self) -> None:
        """End its process by SIGKILL, as a machine that is switched off does."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self.stop()

    @property
    def ended(self) -> str:
        """Return how its process has ended unasked, as a sentence; empty where it has not."""
        if self._child is None or self._child.status is None:
            return ""
        return f"{self.name} has ended with status {self._child.status}{self._child.last_words}"
