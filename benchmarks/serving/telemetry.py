"""What counting costs: by itself, and as the difference between services that count and that do not."""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cpu
import messages
import model
import processes
import rounds
import tables
from asking import Generator
from rounds import Spread

from serving.artifact import Artifact, open_session
from serving.batching import Batching
from serving.repository import Repository, as_served
from serving.resolve import Resolved
from serving.service import OrdinalService
from serving.telemetry import Telemetry

MOST = 15.0  # µs of CPU a request of one row
ROWS = (1, 8, 64, 512)
NOBODY = "http://127.0.0.1:9"  # where nothing listens: no call is traced here
OPTIONS = {
    "nothing counted": ("--metrics", ""),
    "metrics": (),
    "metrics, and traces for who wants them": ("--traces", NOBODY),
}


def by_itself(path: Path, count: int, many: int) -> dict[int, Spread]:
    """Return µs of CPU of all that a request makes the service add to, by its rows."""
    served = as_served(Resolved(path), Artifact(path, "cpu"))
    rules = [served.profiles[served.artifact.manifest.default_profile]]
    telemetry = Telemetry()
    call = telemetry.call("Predict")
    found = {}
    for rows in ROWS:
        answer = served.artifact.run({"numeric": model.rows(rows)})

        def add(rows: int = rows, answer: object = answer) -> None:
            version = telemetry.version(served)
            times = [time.perf_counter() for _ in range(4)]  # as `batching` and `calls` ask for them
            version.answered(answer, rules)
            version.at_once(rows, times[1] - times[0], times[2] - times[1], times[3] - times[2])
            call.done("OK", times[3] - times[0])

        found[rows] = Spread(tuple(_microseconds(add, count) for _ in range(many)))
        telemetry.take()
    return found


class _Caller:
    """Who waits for ever."""

    def time_remaining(self) -> None:
        """No deadline."""


def in_one_process(path: Path, many: int) -> Spread:
    """Return µs of CPU that a request of one row takes more where it is counted, gRPC left out.

    Both ways take turns of 100 requests, which disturbs the figure far less than services in turn do.
    """
    artifact = Artifact(path, "cpu")
    artifact.warm(512)
    served = as_served(Resolved(path), artifact)
    rows = model.rows(1)
    local = messages.expected(open_session(path, "cpu"), rows)
    request = messages.predict(artifact.manifest.name, rows, local).request
    turns = []
    for counting in (True, False):
        telemetry = Telemetry()
        telemetry.set_up(counting=counting, tracer=None)
        service = OrdinalService(Batching(1, telemetry), telemetry)
        service.open(Repository([served]))
        turns.append(functools.partial(service._predict, request, _Caller()))
    counted, plain = (
        tuple(each)
        for each in zip(*([_microseconds(turn, 100) for turn in turns] for _ in range(many)), strict=True)
    )
    return Spread(tuple(a - b for a, b in zip(counted, plain, strict=True)))


def _microseconds(add: Callable[[], None], count: int) -> float:
    with cpu.pinned(cpu.cores()[0]):
        began = time.thread_time()
        for _ in range(count):
            add()
        return (time.thread_time() - began) / count * 1e6


def of_services(path: Path, generator: Generator, count: int, many: int) -> dict[str, Spread]:
    """Return µs of CPU of a request of one row, of services that were started in several ways."""
    session, rows = open_session(path, "cpu"), model.rows(1)
    asked = messages.predict("bench", rows, messages.expected(session, rows))
    with contextlib.ExitStack() as running:
        turns = {}
        for name, options in OPTIONS.items():
            server = running.enter_context(processes.service(path, *options))
            one = rounds.contender(
                server, messages.PREDICT, asked, kind="unary", count=count, warm=count // 10, at_once=8
            )
            turns[name] = lambda one=one: one.turn(generator)
        found = rounds.taking_turns(turns, many)
    return {name: rounds.of_worker(outcomes) for name, outcomes in found.items()}


def _quartiles(spread: Spread) -> str:
    low, _, high = statistics.quantiles(spread.figures, n=4)
    return f"{spread.median:.1f} ({low:.1f}–{high:.1f})"


def main(path: Path, generator: Generator, *, quick: bool) -> None:
    """Measure and print."""
    count, many = (300, 3) if quick else (2000, 11)
    alone, both = by_itself(path, count, many), in_one_process(path, 20 if quick else 400)
    tables.show(
        "What counting costs, µs of CPU",
        ("", "figure", "bar"),
        [
            (
                f"by itself, {rows} {'row' if rows == 1 else 'rows'}",
                spread.text(1),
                tables.held(spread.median, MOST) if rows == 1 else "",
            )
            for rows, spread in alone.items()
        ]
        + [
            (
                "a request of 1 row with it, less one without",
                _quartiles(both),
                tables.held(both.median, MOST),
            )
        ],
        (
            f"Medians of {many} rounds of {count}: all additions of a request that is answered at once. "
            f"The last: of {len(both.figures)} turns of 100 requests in one process, without gRPC; in "
            "parentheses the quartiles.",
        ),
    )
    # Many short turns: neighbours on this machine disturb a turn by far more than what is looked for.
    count, many = (100, 3) if quick else (400, 61)
    services = of_services(path, generator, count, many)
    nothing = next(iter(services.values()))
    lines = []
    for name, spread in services.items():
        more = Spread(tuple(a - b for a, b in zip(spread.figures, nothing.figures, strict=True)))
        lines.append((name, spread.text(), "" if spread is nothing else _quartiles(more)))
    tables.show(
        "A request of one row to services that count, or do not, µs of CPU of the worker",
        ("", "a request", "more"),
        lines,
        (
            f"Medians of {many} rounds of {count} requests, 8 under way; the services took turns. "
            "Of what is more, in parentheses, the quartiles.",
        ),
    )
