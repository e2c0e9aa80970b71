"""How long the slowest requests take at half of what a server can do, beside a bare echo as busy."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import messages
import model
import processes
import rounds
import tables
from asking import Generator
from generator import Outcome
from rounds import Contender, Spread

from serving.artifact import open_session
from serving.bench.plan import Arrivals

AT_ONCE = 8
UTILISATION = 0.5
BAR = 1.5
_ARRIVE = {"constant": "at equal distances", "poisson": "as chance has it"}
_ARRIVALS: tuple[Arrivals, ...] = get_args(Arrivals)

Found = dict[tuple[str, Arrivals], list[Outcome]]


def at_half(
    one: Contender, arrivals: Arrivals, seconds: float, generator: Generator
) -> Callable[[], Outcome]:
    """Return turns in which a server is asked as often as keeps it busy half of the time.

    How often that is, is found in each turn anew: in a slow minute it is less.
    """

    def turn() -> Outcome:
        busy = one.with_load(count=1000, warm=100, at_once=AT_ONCE).turn(generator)
        rate = UTILISATION * busy.answered / max(busy.cpu)
        load = {"count": round(rate * seconds), "rate": rate, "arrivals": arrivals}
        return one.with_load(**load, warm=100, at_once=AT_ONCE).turn(generator)

    return turn


def measure(path: Path, generator: Generator, seconds: float, many: int) -> Found:
    """Return what became of such loads, by whom was asked and how requests arrived."""
    session, rows = open_session(path, "cpu"), model.rows(1)
    asked = messages.predict("bench", rows, messages.expected(session, rows))
    with processes.service(path) as service, tempfile.TemporaryDirectory() as folder:
        ours = rounds.contender(service, messages.PREDICT, asked, count=1)
        with processes.echo([ours.turn(generator).reply], Path(folder)) as echo:
            both = {"ours": ours, "echo": rounds.contender(echo, "/echo/unary0", asked, count=1)}
            return rounds.taking_turns(
                {
                    (name, arrivals): at_half(one, arrivals, seconds, generator)
                    for arrivals in _ARRIVALS
                    for name, one in both.items()
                },
                many,
            )


def show(found: Found, seconds: float, many: int) -> None:
    """Print the table."""
    lines = []
    for arrivals in _ARRIVALS:
        echo = Spread(tuple(1e3 * one.p99 for one in found["echo", arrivals]))
        for name in ("ours", "echo"):
            outcomes = found[name, arrivals]
            p99 = Spread(tuple(1e3 * one.p99 for one in outcomes))
            times = p99.over(echo)
            lines.append(
                (
                    f"{name}, requests {_ARRIVE[arrivals]}",
                    f"{statistics.median(one.answered / one.seconds for one in outcomes):.0f}",
                    f"{statistics.median(max(one.cpu) / one.seconds for one in outcomes):.2f}",
                    f"{statistics.median(1e3 * one.p50 for one in outcomes):.2f}",
                    p99.text(2),
                    times.text(2) if name == "ours" else "",
                    tables.held(times.median, BAR) if name == "ours" else "",
                )
            )
    tables.show(
        "The slowest requests at half of saturation, 1 row",
        ("", "requests/s", "busy", "p50, ms", "p99, ms", "times the echo's", "bar"),
        lines,
        (
            f"Open loop; latency counts from the time at which a request was due. Medians of {many} "
            f"rounds of {seconds:g} s. Each is asked as often as would keep its core busy half of "
            f"the time, by what a request had cost right before with {AT_ONCE} under way; busy says how "
            "much of it it was.",
        ),
    )


def main(path: Path, generator: Generator, *, quick: bool) -> None:
    """Measure and print."""
    seconds, many = (2, 3) if quick else (10, 5)
    show(measure(path, generator, seconds, many), seconds, many)
