"""What the service costs beside a bare echo of the same bytes and a run of the model by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import messages
import model
import onnxruntime as ort
import processes
import rounds
import tables
from asking import Generator
from generator import Outcome
from messages import Asked
from processes import Server
from rounds import Contender, Spread

from serving.artifact import open_session

UNARY, STREAM, INFER = messages.PREDICT, messages.PREDICT_STREAM, messages.MODEL_INFER


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    what: str
    method: str
    rows: int
    at_once: int
    bar: float | None = None  # µs more than echo and run together
    against: str = ""  # the case that a stream is held against
    most_of_it: float | None = None  # of that one's CPU


CASES = (
    Case("unary, 1 row", UNARY, 1, 8, bar=100),
    Case("unary, 1 row, one at a time", UNARY, 1, 1, bar=100),
    Case("unary, 512 rows", UNARY, 512, 8, bar=250),
    Case("unary, 512 rows, one at a time", UNARY, 512, 1, bar=250),
    Case("stream, 1 row a message", STREAM, 1, 8, against="unary, 1 row", most_of_it=0.6),
    Case(
        "stream, 1 row a message, one at a time",
        STREAM,
        1,
        1,
        against="unary, 1 row, one at a time",
        most_of_it=0.6,
    ),
    Case("Open Inference, 1 row", INFER, 1, 8),
    Case("Open Inference, 512 rows", INFER, 512, 8),
)


@dataclass(frozen=True)
class Cost:
    """What a request costs in µs of CPU, round by round."""

    ours: Spread
    echo: Spread
    run: Spread
    everything: Spread  # of all processes of the service

    @property
    def more(self) -> Spread:
        """What the service takes beyond an echo and a run."""
        each = zip(self.ours.figures, self.echo.figures, self.run.figures, strict=True)
        return Spread(tuple(ours - echo - run for ours, echo, run in each))

    @property
    def others(self) -> float:
        """What the service's other processes take besides."""
        return self.everything.median - self.ours.median

    def times(self, other: Cost | None = None) -> Spread:
        """How many times the echo's, or another's, cost that is."""
        return self.ours.over(self.echo if other is None else other.ours)


def measure(path: Path, generator: Generator, count: int, many: int) -> dict[str, Cost]:
    """Return the cost of each case, of `many` rounds of `count` requests."""
    session = open_session(path, "cpu")
    names = [output.name for output in session.get_outputs()]
    with processes.service(path) as service, tempfile.TemporaryDirectory() as folder:
        ours = [_contender(case, service, _asked(case, session), count) for case in CASES]
        replies = [one.with_load(count=1, warm=0).turn(generator).reply for one in ours]
        with processes.echo(replies, Path(folder)) as echo:
            turns: dict[tuple[str, str], Callable[[], Outcome]] = {}
            for number, (case, one) in enumerate(zip(CASES, ours, strict=True)):
                method = f"/echo/{one.load.kind}{number}"
                bare = Contender(echo, one.asked, one.load).with_load(address=echo.address, method=method)
                feed = {"numeric": model.rows(case.rows)}
                turns |= {
                    (case.what, "ours"): lambda one=one: one.turn(generator),
                    (case.what, "echo"): lambda bare=bare: bare.turn(generator),
                    (case.what, "run"): rounds.alone(
                        lambda feed=feed: session.run(names, feed), one.load.count
                    ),
                }
            found = rounds.taking_turns(turns, many)
    return {
        case.what: Cost(
            rounds.of_worker(found[case.what, "ours"]),
            rounds.of_worker(found[case.what, "echo"]),
            rounds.of_worker(found[case.what, "run"]),
            rounds.of_all(found[case.what, "ours"]),
        )
        for case in CASES
    }


def _asked(case: Case, session: ort.InferenceSession) -> Asked:
    rows = model.rows(case.rows)
    make = messages.infer if case.method == INFER else messages.predict
    return make("bench", rows, messages.expected(session, rows))


def _contender(case: Case, server: Server, asked: Asked, count: int) -> Contender:
    each = count if case.rows == 1 else fewer(count)
    kind = "stream" if case.method == STREAM else "unary"
    return rounds.contender(
        server, case.method, asked, kind=kind, count=each, warm=each // 10, at_once=case.at_once
    )


def fewer(count: int) -> int:
    """Return how many requests of many rows there are for so many of one row."""
    return max(count // 5, 50)


def show(costs: dict[str, Cost], count: int, many: int) -> None:
    """Print the table."""
    lines = []
    for case in CASES:
        cost = costs[case.what]
        bar = ""
        if case.bar is not None:
            bar = tables.held(cost.more.median, case.bar)
        if case.most_of_it is not None:
            ratio = cost.times(costs[case.against])
            bar = f"{ratio.median:.2f} of unary, {tables.held(ratio.median, case.most_of_it)}"
        lines.append(
            (
                case.what,
                cost.ours.text(),
                cost.echo.text(),
                cost.run.text(),
                cost.more.text(),
                f"{cost.times().median:.2f}",
                bar,
            )
        )
    others = max(cost.others for cost in costs.values())
    tables.show(
        "CPU of the process that answers, µs a request",
        ("", "ours", "echo", "run", "more than both", "times the echo", "bar"),
        lines,
        (
            f"Medians of {many} rounds of {count} requests ({fewer(count)} of 512 rows), in "
            "parentheses the lowest and the highest; 8 requests under way unless it says otherwise. "
            "Metrics are counted, and served. The other processes of the service took at most "
            f"{others:.1f} µs a request.",
        ),
    )


def main(path: Path, generator: Generator, *, quick: bool) -> None:
    """Measure and print."""
    count, many = (300, 3) if quick else (2000, 7)
    show(measure(path, generator, count, many), count, many)
