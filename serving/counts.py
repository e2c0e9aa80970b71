"""What workers tell the supervisor of what they have counted, and the buckets that it is counted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the buckets of what a request takes."""

STAGE_SECONDS = (0.00001, 0.000025, 0.00005, *SECONDS)
"""Of what a stage of it takes."""

ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Of the rows of a run."""

REQUESTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Of the requests that shared a run."""

Labels = tuple[str, ...]


@dataclass
class Counts:
    """What was counted: by name of a metric, without the prefix `ordinal_`, and values of its labels."""

    counters: list[tuple[str, Labels, float]] = field(default_factory=list)
    histograms: list[tuple[str, Labels, list[int], float]] = field(default_factory=list)
    """Observations in each bucket, the last without a bound, and the sum of all."""
    summaries: list[tuple[str, Labels, int, float]] = field(default_factory=list)
    """How many observations, and their sum."""
    gauges: list[tuple[str, Labels, float]] = field(default_factory=list)
    """Of each name all that there are now; nothing of one where they are what they were."""

    def __bool__(self) -> bool:
        return bool(self.counters or self.histograms or self.summaries or self.gauges)


class Tally:
    """A histogram; whoever observes adds to it in place, since a call for each would cost more."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def take(self, name: str, labels: Labels, into: Counts) -> None:
        """Move what was observed."""
        if any(self.counts):
            into.histograms.append((name, labels, self.counts, self.sum))
            self.counts, self.sum = [0] * len(self.counts), 0.0
