"""What a measurement says: for reading, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bench.drive import Done
from serving.bench.load import OK, percentiles
from serving.bench.picture import duration, histogram, over_time
from serving.bench.run import Measured

POINTS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
_LATE = 0.1  # of the 99th percentile of latency, that the generator may add itself
_LATE_SECONDS = 0.5e-3  # which it may add whatever the latency is
_BUSY = 0.9  # of a core for each process, beyond which it is the generator that limits
_LOCAL = ("127.", "localhost", "[::1]", "unix:")
_BEHIND = "THE GENERATOR FELL BEHIND"
_NEXT = "\n" + 12 * " "


def as_text(measured: Measured) -> str:
    """Return the report."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(measured))


def as_json(measured: Measured) -> str:
    """Return one JSON object on one line; times in seconds."""
    plan, target, load, verdict = measured.plan, measured.target, measured.load, measured.verdict
    content: dict[str, Any] = {
        "address": plan.address,
        "model": target.name,
        "version": target.version,
        "sha256": target.digest,
        "provider": target.provider,
        "protocol": plan.protocol,
        "stream": plan.stream,
        "rows": plan.rows,
        "connections": plan.connections,
        "processes": plan.processes,
        "arrivals": plan.arrivals,
        "saturation": None if measured.saturated is None else _numbers(measured.saturated),
        "load": None,
        "answers": None,
    }
    if load is not None:
        late = {"fell_behind": behind(load, plan.processes)}
        content["load"] = {"intended_rate": measured.rate, **_numbers(load), **late}
    if verdict is not None:
        content["answers"] = {
            "right": verdict.right,
            "wrong": verdict.wrong,
            "left_out": verdict.left_out,
            "examples": verdict.examples,
            "model_changed": measured.moved,
        }
    return json.dumps(content) + "\n"


def behind(done: Done, processes: int) -> str:
    """Return why latencies are the generator's as much as the service's; empty where it kept up."""
    load = done.load
    (late,), (latency,) = percentiles(load.lateness[~np.isnan(load.sent)], (99,)), load.percentiles((99,))
    if done.cpu > _BUSY * done.wall * processes:
        return f"it took {done.cpu / done.wall / processes:.0%} of a core{' each' if processes > 1 else ''}"
    if late > _LATE_SECONDS and not late <= _LATE * latency:  # which is NaN where nothing was OK
        return f"one request in a hundred was sent at least {duration(late)} late"
    return ""


def _numbers(done: Done) -> dict[str, Any]:
    load = done.load
    statuses = [status for status in load.counts() if status]
    return {
        "seconds": load.seconds,
        "requests": len(load.sent),
        "rate": load.rate,
        "statuses": {status or "UNANSWERED": count for status, count in load.counts().items()},
        "latency": {status: _points(load.latency[load.status == status]) for status in statuses},
        "generator": {
            "cpu_seconds": done.cpu,
            "cpu_seconds_per_request": done.cpu / max(len(load.sent), 1),
            "lateness": _points(load.lateness[~np.isnan(load.sent)]),
        },
        "errors": {failure.status: failure.text for failure in done.failures()},
    }


def _points(samples: NDArray[np.float64]) -> dict[str, float | None]:
    found = percentiles(samples, list(POINTS.values()))
    return dict(zip(POINTS, found if len(samples) else [None] * len(found), strict=True))


def _lines(measured: Measured) -> Iterator[str]:
    plan, target, load = measured.plan, measured.target, measured.load
    several = f", {plan.processes} processes" if plan.processes > 1 else ""
    yield (
        f"{target.name} version {target.version} at {plan.address}, {target.provider}: {plan.protocol}"
        f"{' stream' if plan.stream else ''}, {plan.rows} row{'s' if plan.rows > 1 else ''} a request, "
        f"{plan.connections} connections{several}"
    )
    yield ""
    if measured.saturated is not None:
        yield _fact("saturation", _saturation(measured.saturated, plan.processes))
    if load is None:
        yield _fact("load", "none was sent")
        return
    yield _fact(
        "load",
        f"{measured.rate:,.0f} requests/s for {load.load.seconds:.1f} s, {plan.arrivals} arrivals; "
        f"{load.load.rate:,.0f} good answers/s",
    )
    yield _fact(
        "answered", "; ".join([f"{load.load.counts().get(OK, 0):,} OK", *map(str, load.failures())])
    )
    yield from _latencies(load)
    yield _fact("generator", _generator(load, plan.processes, plan.address))
    yield _fact("answers", _answers(measured))


def _saturation(done: Done, processes: int) -> str:
    said = f"{done.load.rate:,.0f} good answers/s in a closed loop of {done.load.seconds:.1f} s"
    failures = "".join(f"; {failure}" for failure in done.failures())
    if done.cpu > _BUSY * done.wall * processes:
        return f"{said}, which is what the generator can do: the service may do more{failures}"
    return f"{said}{failures}"


def _latencies(done: Done) -> Iterator[str]:
    load = done.load
    for status in load.counts():
        if status:
            found = zip(POINTS, load.percentiles(list(POINTS.values()), status), strict=True)
            told = "  ".join(f"{name} {duration(value)}" for name, value in found)
            yield _fact("latency" if status == OK else f"  {status}", told)
    good = load.status == OK
    if not good.any():
        return
    yield ""
    yield from (f"  {line}" for line in histogram(load.latency[good]))
    bars, top = over_time(load.intended[good], load.latency[good], load.seconds)
    yield ""
    yield f"  {bars}  the highest of each moment, up to {duration(top)}"
    yield ""


def _generator(done: Done, processes: int, address: str) -> str:
    load = done.load
    each = done.cpu / max(len(load.sent), 1)
    late = percentiles(load.lateness[~np.isnan(load.sent)], (50, 99))
    shared = (
        f", on the {os.cpu_count()} CPUs that the service has too" if address.startswith(_LOCAL) else ""
    )
    said = (
        f"{each * 1e6:.0f} µs of CPU a request, {done.cpu / done.wall:.0%} of a core{shared}; about "
        f"{processes / max(each, 1e-9):,.0f} requests/s at most{_NEXT}"
        f"requests were sent late by {duration(late[0])} (p50), {duration(late[1])} (p99)"
    )
    reason = behind(done, processes)
    if reason:
        said += f"{_NEXT}{_BEHIND}: {reason}. Latencies are its own as much as the service's."
    return said


def _answers(measured: Measured) -> str:
    verdict, load = measured.verdict, measured.load
    if verdict is None:
        return "not compared: --artifact PATH names the file to compare them with"
    left_out = f"; {verdict.left_out:,} could not be kept for comparison" if verdict.left_out else ""
    if not verdict.wrong:
        if not verdict.right:
            return f"there are none to compare{left_out}"
        return f"all {verdict.right:,} are what a local run of {measured.plan.artifact} says{left_out}"
    assert load is not None
    moved = f"{_NEXT}the service has loaded another file meanwhile" if measured.moved else ""
    examples = "".join(f"{_NEXT}{example}" for example in verdict.examples)
    compared = verdict.right + verdict.wrong
    return f"{verdict.wrong:,} of {compared:,} ARE WRONG{left_out}{examples}{moved}"


def _fact(name: str, value: str) -> str:
    return f"{name:<11} {value}"
