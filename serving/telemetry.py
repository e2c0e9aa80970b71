"""What a worker counts: calls, refusals, queues, and what `serving.tallies` has of each version.

Counting must cost a request next to nothing, so that it only adds to plain numbers here. What has come
since is told to the supervisor every now and then, whose `serving.metrics` has the sums of all workers.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from serving.counts import SECONDS, Counts, Labels, Tally
from serving.tallies import Version

if TYPE_CHECKING:
    from serving.repository import Served
    from serving.traces import Trace, Tracer


class Call:
    """One method of the service; used on the event loop's thread only, so that it needs no lock.

    `tracer` is there where callers may have their calls traced.
    """

    def __init__(self, method: str) -> None:
        self.method = method
        self.under_way = 0
        self.tracer: Tracer | None = None
        self._codes: dict[str, int] = {}
        self._seconds = Tally(SECONDS)

    def done(self, code: str, seconds: float) -> None:
        """Count a call that ended with a status, such as `OK`, after so many seconds."""
        codes, tally = self._codes, self._seconds
        codes[code] = codes.get(code, 0) + 1
        tally.counts[bisect_left(SECONDS, seconds)] += 1
        tally.sum += seconds

    def refused(self, code: str) -> None:
        """Count a call that ended with a status before anything was done for it."""
        self._codes[code] = self._codes.get(code, 0) + 1

    def take(self, into: Counts) -> None:
        """Move what was counted."""
        codes, self._codes = self._codes, {}
        into.counters.extend(("requests", (self.method, code), number) for code, number in codes.items())
        self._seconds.take("request_seconds", (self.method,), into)


class Telemetry:
    """What one worker has counted and not told yet.

    `trace` is that of the request that is begun at the moment, where its caller wants one: it is set before
    each, and read by what is called before anything else can begin.
    """

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self._counting = True
        self._calls: dict[str, Call] = {}
        self._versions: dict[int, Version] = {}  # by the identity of what is served
        self._gone: list[Version] = []
        self._lock = threading.Lock()
        self._refused: Counter[Labels] = Counter()
        self._told: list[tuple[str, Labels, float]] = []

    def set_up(self, *, counting: bool, tracer: Tracer | None) -> None:
        """Count versions' work only where anybody asks for it, and trace what callers want to be traced."""
        self._counting = counting or tracer is not None
        for call in self._calls.values():
            call.tracer = tracer

    def call(self, method: str) -> Call:
        """Return where calls of a method are counted; the same for each who asks."""
        with self._lock:
            return self._calls.setdefault(method, Call(method))

    @property
    def under_way(self) -> int:
        """Calls that are not answered yet."""
        return sum(call.under_way for call in self._calls.values())

    def version(self, served: Served) -> Version | None:
        """Return where the work of a version is counted, the same for each who asks; None: nowhere."""
        if not self._counting:
            return None
        found = self._versions.get(id(served))
        if found is not None and found.of() is served:
            return found
        with self._lock:
            found = self._versions.get(id(served))
            if found is None or found.of() is not served:  # it has the place of one that is gone
                if found is not None:
                    self._gone.append(found)
                found = self._versions[id(served)] = Version(served)
        return found

    def refused(self, model: str, reason: str) -> None:
        """Count a request that was not answered: `queue_full`, `expired`, `cancelled` or `token_limit`."""
        with self._lock:
            self._refused[model, reason] += 1

    def take(self) -> Counts:
        """Return what was counted since this was called last; on the event loop's thread."""
        taken = Counts()
        with self._lock:
            calls, versions = tuple(self._calls.values()), (*self._versions.values(), *self._gone)
            self._gone.clear()
            for key in [key for key, version in self._versions.items() if version.of() is None]:
                del self._versions[key]
            refused, self._refused = self._refused, Counter()
        for call in calls:
            call.take(taken)
        waiting: Counter[Labels] = Counter()
        lowest: dict[Labels, float] = {}
        for version in versions:
            version.take(taken)
            if version.of() is not None:
                labels = (version.model, version.version)
                waiting[labels] += version.queued
                lowest[labels] = version.lowest
        taken.counters.extend(("refused", labels, number) for labels, number in refused.items())
        gauges = [
            *(("queued", labels, float(number)) for labels, number in waiting.items()),
            *(("lowest_value", labels, value) for labels, value in lowest.items()),
        ]
        if gauges != self._told:
            taken.gauges = self._told = gauges
        return taken
