"""How far a scoring has come, on a terminal or in lines."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

_EVERY = 10.0  # seconds between lines


class Watch:
    """A bar on the standard error stream where that is a terminal, a line every some seconds elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._began = self._told = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (BarColumn(), TextColumn("{task.description}"))
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar = self._stack.enter_context(bar)
            self._task = bar.add_task(self._what, total=1.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def go_on_from(self, rows: int, share: float) -> None:
        """Note what was done before, and takes no time now."""
        self._first = (rows, share)

    def update(self, rows: int, share: float) -> None:
        """Tell how many rows are done, and which share of the file that is."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=share, description=self._words(rows, share, now))
        elif now - self._told >= _EVERY:
            self._told = now
            print(f"{self._what}: {self._words(rows, share, now)}", file=sys.stderr, flush=True)

    def _words(self, rows: int, share: float, now: float) -> str:
        rows_before, share_before = self._first or (0, 0.0)
        seconds = max(1e-9, now - self._began)
        said = f"{rows:,} rows, {share:.0%}, {(rows - rows_before) / seconds:,.0f} rows/s"
        if share > share_before:
            left = timedelta(seconds=round((1 - share) / (share - share_before) * seconds))
            said += f", {left} left"
        return said
