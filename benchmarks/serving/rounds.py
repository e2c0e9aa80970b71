"""Contenders take turns, so that the machine's faster and slower minutes come to all of them."""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cpu
from asking import Generator
from generator import Load, Outcome
from messages import Asked
from processes import Server

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Contender:
    """What a server is asked; `load.request` is that of `asked`, `load.pids` are filled in."""

    server: Server
    asked: Asked
    load: Load

    def with_load(self, **changes: object) -> Contender:
        """Return the same, asked in another way."""
        return dataclasses.replace(self, load=dataclasses.replace(self.load, **changes))  # type: ignore[arg-type]

    def turn(self, generator: Generator) -> Outcome:
        """Do the load once, and check its last reply.

        Raises RuntimeError where a request failed or the reply is wrong.
        """
        outcome = generator.outcome(dataclasses.replace(self.load, pids=self.server.pids()))
        self.asked.check(outcome.reply)
        return outcome


@dataclass(frozen=True)
class Spread:
    """The same figure of several rounds."""

    figures: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.figures)

    def text(self, digits: int = 0) -> str:
        """Return the median, and between which the rounds were."""
        low, high = min(self.figures), max(self.figures)
        return f"{self.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"

    def over(self, other: Spread) -> Spread:
        """Return how many times the other's figure of the same round each is."""
        return Spread(tuple(own / base for own, base in zip(self.figures, other.figures, strict=True)))


def contender(server: Server, method: str, asked: Asked, **load: object) -> Contender:
    """Return a server that is asked something in some way."""
    return Contender(
        server,
        asked,
        Load(address=server.address, method=method, request=asked.request, **load),  # type: ignore[arg-type]
    )


def taking_turns(turns: Mapping[Name, Callable[[], Outcome]], rounds: int) -> dict[Name, list[Outcome]]:
    """Return what became of each in each round; whoever began a round ends the next one."""
    outcomes: dict[Name, list[Outcome]] = {name: [] for name in turns}
    order = list(turns)
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for name in order:
            outcomes[name].append(turns[name]())
        order = order[1:] + order[:1]
    progress("")
    return outcomes


def of_worker(outcomes: Sequence[Outcome]) -> Spread:
    """Return µs of CPU a request, of the one process of a server that answers."""
    return Spread(tuple(1e6 * max(one.cpu) / one.answered for one in outcomes))


def of_all(outcomes: Sequence[Outcome]) -> Spread:
    """Return µs of CPU a request, of all processes of a server."""
    return Spread(tuple(1e6 * sum(one.cpu) / one.answered for one in outcomes))


def alone(run: Callable[[], object], count: int) -> Callable[[], Outcome]:
    """Return turns of something that this process does by itself, on the servers' core."""

    def turn() -> Outcome:
        with cpu.pinned(cpu.cores()[0]):
            for _ in range(count // 10 + 1):
                run()
            started, before = time.perf_counter(), time.thread_time()
            for _ in range(count):
                run()
            spent, seconds = time.thread_time() - before, time.perf_counter() - started
        return Outcome(
            answered=count,
            seconds=seconds,
            pids=(os.getpid(),),
            cpu=(spent,),
            own_cpu=spent,
            p50=seconds / count,
            p99=seconds / count,
            failed=0,
            failure="",
            reply=b"",
            other_sizes=0,
        )

    return turn


def progress(what: str) -> None:
    """Tell whoever waits what is being done; nothing where nobody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)
