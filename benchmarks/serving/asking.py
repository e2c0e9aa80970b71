"""The process that asks, as seen by who measures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import cpu
from generator import Load, Outcome


class Generator:
    """A process that sends loads, one at a time; on the core of who asks, or on others."""

    def __init__(self, on: Sequence[int] = ()) -> None:
        with cpu.pinned(*(on or cpu.cores()[1:])):
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("generator.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def answers(self, load: Load) -> bool:
        """Return whether a load is answered by now."""
        return not self._sent(load).failed

    def outcome(self, load: Load) -> Outcome:
        """Send a load and return what became of it.

        Raises RuntimeError where a request failed: what refuses is not to be measured as if it answered.
        """
        outcome = self._sent(load)
        if outcome.failed or outcome.other_sizes:
            raise RuntimeError(
                f"{load.method}: {outcome.failed} of {load.count} requests failed and "
                f"{outcome.other_sizes} replies have another size; the first failure: {outcome.failure}"
            )
        return outcome

    def _sent(self, load: Load) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(load.to_json() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that asks has ended; its error stands above")
        return Outcome.from_json(line)
