"""How long the service takes to start, the memory of a worker, and what a second worker brings."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cpu
import messages
import model
import processes
import rounds
import tables
from asking import Generator
from generator import Outcome
from messages import Asked
from rounds import Contender, Spread

from serving.artifact import open_session

START, MEMORY, TWICE = 1.5, 200.0, 1.7  # seconds, MB, times
CORES = 4  # that the bar of a second worker asks for
AT_ONCE, CONNECTIONS = 32, 8


def starts(path: Path, asked: Asked, generator: Generator, many: int) -> tuple[Spread, Spread]:
    """Return the seconds until the service says that it serves, and the megabytes of who answers then."""
    seconds, memory = [], []
    for number in range(many):
        rounds.progress(f"start {number + 1} of {many}")
        started = time.monotonic()
        with processes.service(path, on=sorted(os.sched_getaffinity(0))) as server:
            seconds.append(time.monotonic() - started)
            outcome = rounds.contender(
                server, messages.PREDICT, asked, count=2000, at_once=AT_ONCE, connections=CONNECTIONS
            ).turn(generator)
            _, worker = max(zip(outcome.cpu, outcome.pids, strict=True))
            memory.append(cpu.resident(worker))
    return Spread(tuple(seconds)), Spread(tuple(memory))


def throughput(path: Path, asked: Asked, count: int, many: int) -> tuple[Spread, Spread, int]:
    """Return the requests a second of one worker and of two, and how many processes asked them.

    Where there are enough cores servers have one half of them, and those who ask the other.
    """
    cores = sorted(os.sched_getaffinity(0))
    servers, askers = cores, cores
    if len(cores) >= CORES:
        servers, askers = cores[: len(cores) // 2], cores[len(cores) // 2 :]
    with contextlib.ExitStack() as running:
        generators = [running.enter_context(Generator(askers)) for _ in range(max(1, len(askers) // 2))]
        workers = {
            number: rounds.contender(
                running.enter_context(processes.service(path, "--workers", str(number), on=servers)),
                messages.PREDICT,
                asked,
                count=count,
                warm=count // 10,
                at_once=AT_ONCE,
                connections=CONNECTIONS,
            )
            for number in (1, 2)
        }
        found = rounds.taking_turns(
            {number: _together(one, generators) for number, one in workers.items()}, many
        )
    one, two = (Spread(tuple(o.answered / o.seconds for o in found[number])) for number in (1, 2))
    return one, two, len(generators)


def _together(one: Contender, generators: Sequence[Generator]) -> Callable[[], Outcome]:
    """Return turns in which all ask at the same time."""

    def turn() -> Outcome:
        with ThreadPoolExecutor(len(generators)) as threads:
            outcomes = list(threads.map(one.turn, generators))
        slowest = max(outcomes, key=lambda outcome: outcome.seconds)
        return slowest.with_answered(sum(outcome.answered for outcome in outcomes))

    return turn


def main(path: Path, generator: Generator, *, quick: bool) -> None:
    """Measure and print."""
    many, count = (2, 500) if quick else (5, 5000)
    session, rows = open_session(path, "cpu"), model.rows(1)
    asked = messages.predict("bench", rows, messages.expected(session, rows))
    seconds, memory = starts(path, asked, generator, many)
    one, two, askers = throughput(path, asked, count, many)
    times, cores = two.over(one), len(os.sched_getaffinity(0))
    bar = f"≥ {TWICE:g} with {CORES} cores"
    if cores >= CORES:
        bar = tables.held(times.median, TWICE, most=False)
    tables.show(
        "Start, memory, workers",
        ("", "figure", "bar"),
        (
            (
                "from the command to SERVING, from a path, s",
                seconds.text(2),
                tables.held(seconds.median, START),
            ),
            (
                "memory of a worker after 2,000 requests, MB",
                memory.text(),
                tables.held(memory.median, MEMORY),
            ),
            ("requests/s, one worker", one.text(), ""),
            ("requests/s, two workers", two.text(), ""),
            ("two workers against one, times", times.text(2), bar),
        ),
        (
            f"Medians of {many} rounds. Requests of one row, {AT_ONCE} under way on {CONNECTIONS} "
            f"connections of each of {askers} processes that ask; {cores} cores"
            f"{', which who asks shares with the service' if cores < CORES else ''}.",
        ),
    )
