"""A line on the terminal that says how far a load is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

import numpy as np

from serving.bench.load import Record, percentiles
from serving.bench.picture import duration

_EACH = 0.5  # seconds
_CLEAR = "\r\x1b[K"


class Live:
    """Writes to standard error while a load lasts, where that is a terminal.

    One short line: what draws more would keep the generator from sending for milliseconds.
    """

    @contextlib.asynccontextmanager
    async def watching(self, what: str, seconds: float, record: Record | None) -> AsyncIterator[None]:
        """Show `what` is sent, and what became of it so far."""
        if not sys.stderr.isatty():
            yield
            return
        showing = asyncio.create_task(_show(what, seconds, record))
        try:
            yield
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()


async def _show(what: str, seconds: float, record: Record | None) -> None:
    begin, seen = time.monotonic(), 0
    while True:
        line = f"{what}: {time.monotonic() - begin:.0f} s of about {seconds:g} s"
        if record is not None and record.intended:
            line += f", {record.ended:,} answered, {len(record.intended) - record.ended:,} under way"
            line += f", {record.failed:,} failed" if record.failed else ""
            latest = np.subtract(record.done[seen:], record.intended[seen:])
            latest, seen = latest[~np.isnan(latest)], len(record.intended)
            line += f", p99 {duration(percentiles(latest, (99,))[0])}"
        sys.stderr.write(f"{_CLEAR}{line}")
        sys.stderr.flush()
        await asyncio.sleep(_EACH)
