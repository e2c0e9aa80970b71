"""What all workers together have counted, as Prometheus reads it."""

from __future__ import annotations

import functools
import importlib.metadata
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.counts import REQUESTS, ROWS, SECONDS, STAGE_SECONDS, Counts, Labels
from serving.orders import Description

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_PREFIX = "ordinal_"
_COUNTERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "requests": (("method", "code"), "Calls, and messages of streams, that were answered, by gRPC status."),
    "refused": (
        ("model", "reason"),
        "Requests that were not run: queue_full, token_limit, or expired or cancelled while they waited.",
    ),
    "reloads": (("model", "outcome"), "Other versions to serve while the service runs: taken or refused."),
    "worker_restarts": ((), "Workers that have ended and were started anew."),
    "worker_cpu_seconds": (
        ("worker",),
        "Seconds of CPU that a worker has taken, and those before it.",
    ),
    "decisions": (
        ("model", "version", "profile", "action"),
        "Decisions by the model's own cost profiles, whatever a request has called them.",
    ),
    "abstentions": (("model", "version"), "Decisions to abstain, by whichever costs."),
}
_HISTOGRAMS: Mapping[str, tuple[tuple[str, ...], str, Sequence[float]]] = {
    "request_seconds": (("method",), "Seconds from a request to its reply, within the service.", SECONDS),
    "stage_seconds": (
        ("model", "version", "stage"),
        "Seconds that a stage of a prediction took: read, queue (of those that waited), run, reply.",
        STAGE_SECONDS,
    ),
    "run_rows": (("model", "version"), "Rows of a run of a graph.", ROWS),
    "run_requests": (("model", "version"), "Requests that a run of a graph has answered.", REQUESTS),
}
_SUMMARIES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "value_above_lowest": (
        ("model", "version"),
        "Expected values of rows above ordinal_lowest_value, so that the sum never falls.",
    ),
    "expected_cost": (("model", "version", "profile"), "Expected costs of the decisions by a profile."),
}
_TOLD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "queued": (("model", "version"), "Requests that wait."),
    "lowest_value": (("model", "version"), "Value of the model's lowest label."),
    "worker_resident_bytes": (
        ("worker",),
        "Memory of a worker, with pages that it shares.",
    ),
}
"""Gauges that workers tell."""

_FORGET = 3600.0  # seconds after which what a version has counted that nobody serves any more is forgotten


class Metrics:
    """Sums over all workers that there are and were; a collector of prometheus_client.

    Used on several threads: the endpoint has its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, float]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[Labels, tuple[list[int], float]]] = {n: {} for n in _HISTOGRAMS}
        self._summaries: dict[str, dict[Labels, tuple[int, float]]] = {name: {} for name in _SUMMARIES}
        self._told: dict[int, dict[str, dict[Labels, float]]] = {}
        self._seen: dict[tuple[str, str], float] = {}  # when a version was served last
        self._served: dict[int, Sequence[Description]] = {}
        self._refusals: Mapping[str, int] = {}
        self._counters["worker_restarts"][()] = 0

    def count(self, worker: int, counts: Counts) -> None:
        """Add what a worker has counted."""
        with self._lock:
            for name, labels, number in counts.counters:
                counters = self._counters[name]
                counters[labels] = counters.get(labels, 0) + number
            for name, labels, observed, total in counts.histograms:
                known = self._histograms[name].get(labels)
                if known is None:
                    self._histograms[name][labels] = (observed, total)
                else:
                    sums = [a + b for a, b in zip(known[0], observed, strict=True)]
                    self._histograms[name][labels] = (sums, known[1] + total)
            for name, labels, number, total in counts.summaries:
                before = self._summaries[name].get(labels, (0, 0.0))
                self._summaries[name][labels] = (before[0] + number, before[1] + total)
            now: dict[str, dict[Labels, float]] = {}
            for name, labels, value in counts.gauges:
                now.setdefault(name, {})[labels] = value
            self._told.setdefault(worker, {}).update(now)

    def serving(self, worker: int, served: Iterable[Description]) -> None:
        """Tell what a worker serves now."""
        with self._lock:
            self._served[worker] = list(served)
            for one in self._served[worker]:
                for outcome in ("taken", "refused"):  # what begins at 0 is seen to rise
                    self._counters["reloads"].setdefault((one.name, outcome), 0)
            self._forget()  # also where nobody reads the metrics

    def left(self, worker: int) -> None:
        """Tell that a worker has ended; what it has counted stays."""
        with self._lock:
            self._served.pop(worker, None)
            self._told.pop(worker, None)

    def restarted(self) -> None:
        """Count a worker that is started in place of one that has ended."""
        with self._lock:
            self._counters["worker_restarts"][()] += 1

    def reloaded(self, model: str, outcome: str) -> None:
        """Count another version to serve, `taken` or `refused`."""
        with self._lock:
            reloads = self._counters["reloads"]
            reloads[model, outcome] = reloads.get((model, outcome), 0) + 1

    def refuse(self, refusals: Mapping[str, int]) -> None:
        """Tell how many versions of each model should be served now, and cannot."""
        with self._lock:
            self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        from prometheus_client.core import (
            CounterMetricFamily,
            HistogramMetricFamily,
            SummaryMetricFamily,
        )

        with self._lock:
            self._forget()
            for name, (labels, words) in _COUNTERS.items():
                counter = CounterMetricFamily(_PREFIX + name, words, labels=labels)
                for values, number in sorted(self._counters[name].items()):
                    counter.add_metric(values, number)
                yield counter
            for name, (labels, words, bounds) in _HISTOGRAMS.items():
                histogram = HistogramMetricFamily(_PREFIX + name, words, labels=labels)
                for values, (counts, total) in sorted(self._histograms[name].items()):
                    histogram.add_metric(values, _cumulative(bounds, counts), total)
                yield histogram
            for name, (labels, words) in _SUMMARIES.items():
                summary = SummaryMetricFamily(_PREFIX + name, words, labels=labels)
                for values, (observed, total) in sorted(self._summaries[name].items()):
                    summary.add_metric(values, observed, total)
                yield summary
            yield from self._gauges()

    def _forget(self) -> None:
        """Forget what versions have counted that were served an hour ago, so that metrics do not grow."""
        now = time.monotonic()
        for each in self._served.values():
            self._seen |= {(one.name, one.version): now for one in each}
        gone = {version for version, seen in self._seen.items() if now - seen > _FORGET}
        if not gone:
            return
        for version in gone:
            del self._seen[version]
        for tables, described in (
            (self._counters, _COUNTERS),
            (self._histograms, _HISTOGRAMS),
            (self._summaries, _SUMMARIES),
        ):
            for name, (labels, *_) in described.items():
                if labels[:2] == ("model", "version"):
                    _drop(tables[name], gone)

    def _gauges(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        workers = "Workers that are there and have models to answer with."
        yield GaugeMetricFamily(f"{_PREFIX}workers", workers, len(self._served))
        labels = ("model", "version", "aliases", "provider", "digest")
        models = GaugeMetricFamily(f"{_PREFIX}models", "Workers that serve this version.", labels=labels)
        served = Counter(one for each in self._served.values() for one in set(each))
        for one, number in served.items():
            models.add_metric(
                (one.name, one.version, ",".join(one.aliases), one.provider, one.digest), number
            )
        yield models
        words = "Versions that should be served now and cannot; what was served before is."
        refusals = GaugeMetricFamily(f"{_PREFIX}refusals", words, labels=("model",))
        for model, number in sorted(self._refusals.items()):
            refusals.add_metric((model,), number)
        yield refusals
        for name, (own, words) in _TOLD.items():
            gauge = GaugeMetricFamily(_PREFIX + name, words, labels=own)
            found: dict[Labels, list[float]] = {}
            for told in self._told.values():
                for values, value in told.get(name, {}).items():
                    found.setdefault(values, []).append(value)
            for values, each in sorted(found.items()):
                gauge.add_metric(values, max(each) if name == "lowest_value" else sum(each))
            yield gauge
        build = GaugeMetricFamily(f"{_PREFIX}build_info", "Always 1.", labels=("version",))
        build.add_metric((_version(),), 1)
        yield build


def _drop(table: dict[Labels, Any], gone: set[tuple[str, str]]) -> None:
    for labels in [labels for labels in table if labels[:2] in gone]:
        del table[labels]


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("ordinal")
    except importlib.metadata.PackageNotFoundError:  # a copy of the code that was not installed
        return "unknown"


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return buckets as the format has them, each with all that lies below its bound."""
    buckets = []
    total = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
