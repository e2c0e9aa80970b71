"""How long a model's runs take, measured when it is loaded: what is answered at once, and what together."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

AT_ONCE = 750e-6
"""Seconds: a run that takes no longer is done on the event loop. Handing it to a thread and back costs
60-100 µs of CPU, and everybody else on the loop waits no longer than for one more call."""

PAYS = 0.8
"""A run of many must take less than this part of what as many runs of one row take to be worth the wait."""

_TOGETHER = 32  # rows
_REPEATS = 5
_LONGEST = 0.2  # seconds that one measurement may take in all
_TOO_LONG = 2.0  # seconds: a start does not wait for runs of many rows that take so long


@dataclass(frozen=True)
class Timing:
    """Seconds of a run of one row, and of each further row in the same run."""

    first: float
    further: float

    def seconds(self, rows: int) -> float:
        """Return how long a run of so many rows takes, more or less."""
        return self.first + self.further * (rows - 1)

    @functools.cached_property
    def at_once(self) -> int:
        """The most rows of a run that is done at once; 0 where not even one is."""
        if self.first > AT_ONCE:
            return 0
        return 1 + int((AT_ONCE - self.first) / max(self.further, 1e-12))

    @property
    def pays_together(self) -> bool:
        """Whether requests that wait are better answered by one run."""
        return self.seconds(_TOGETHER) < PAYS * _TOGETHER * self.first


def measure(prepare: Callable[[int], Callable[[], object]], most_rows: int) -> Timing:
    """Measure a model, and warm it up.

    `prepare(rows)` returns a function that runs the model on so many rows. The sizes are 1, 32 and
    `most_rows`, as far as the model is fast enough for that.
    """
    first = _seconds(prepare(1))
    if first * _TOGETHER > _TOO_LONG:
        return Timing(first, first)
    together = _seconds(prepare(_TOGETHER))
    further = max(together - first, 0.0) / (_TOGETHER - 1)
    if most_rows > _TOGETHER and first + further * most_rows < _LONGEST:
        most = _seconds(prepare(most_rows))
        further = max(further, (most - first) / (most_rows - 1))
    return Timing(first, further)


def _seconds(run: Callable[[], object]) -> float:
    run()  # the first run of a size allocates
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _LONGEST:
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)  # the others were disturbed
