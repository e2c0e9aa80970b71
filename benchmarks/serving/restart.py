"""Whether those who ask notice that a replica is restarted: SIGTERM to one of two in turn, under load.

The client of this repository asks both, and makes calls again that end UNAVAILABLE. Each SIGTERM has to end
the replica with status 0; it is then started anew, at the same port. Every answer is compared with a local
run. `python benchmarks/serving/restart.py`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import model
import numpy as np
import tables
import uvloop
from rounds import Spread, progress

from serving.artifact import Artifact
from serving.bench.load import OK, Load, Record, open_loop, percentiles
from serving.bench.picture import over_time
from serving.client import Client
from serving.errors import OrdinalError

RATE = 200.0  # requests a second
THREADS = 128  # that calls wait in
PEACE = 2.0  # seconds after a start, in which the client finds the replica again
ROWS = 64
_START, _END = 60.0, 40.0  # seconds that a replica may take


class Replica:
    """A service on a port of its own, that can be started and ended again and again."""

    def __init__(self, path: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [sys.executable, "-m", "serving", "serve", str(path), "--port", str(self.port)]
        self._log = folder / f"{self.port}.log"

    def start(self) -> float:
        """Start it, and return the seconds until it was SERVING; raises RuntimeError where it is not."""
        started = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, "--device", "cpu"], stderr=log, stdout=log, stdin=subprocess.DEVNULL
            )
        while time.monotonic() < started + _START and self._process.poll() is None:
            if re.search(r"SERVING on \S", self._log.read_text()):
                return time.monotonic() - started
            time.sleep(0.01)
        raise RuntimeError(f"a replica does not start; it wrote:\n{self._log.read_text()}")

    def end(self) -> tuple[int, float]:
        """End it by SIGTERM; return its exit status, and how many seconds it took."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_END), time.monotonic() - started

    def kill(self) -> None:
        """End it at once, if it runs."""
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Restarts:
    """What became of the replicas: the exit statuses, and seconds."""

    statuses: tuple[int, ...]
    ends: Spread
    starts: Spread


@dataclass(frozen=True, eq=False)
class Found:
    """What came out; requests are `disturbed` from the first SIGTERM on."""

    load: Load
    disturbed: float
    restarts: Restarts
    wrong: int
    texts: dict[str, str]


class Asking:
    """Who asks, in threads, and compares the answers."""

    def __init__(self, client: Client, path: Path) -> None:
        self.wrong = 0
        self.texts: dict[str, str] = {}
        self._client = client
        self._rows = model.rows(ROWS)
        self._expected = Artifact(path, "cpu").run({"numeric": self._rows})
        self._threads = ThreadPoolExecutor(THREADS)

    async def send(self, number: int) -> str:
        """Ask about a row; return OK, or the name of the error."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, number % ROWS)

    def _ask(self, row: int) -> str:
        try:
            answer = self._client.predict(self._rows[row : row + 1])
        except OrdinalError as error:
            name = type(error).__name__
            self.texts.setdefault(name, str(error))
            return name
        if not np.allclose(answer.probabilities, self._expected.probabilities[row], atol=1e-5):
            self.wrong += 1
        return OK


async def measure(replicas: Sequence[Replica], path: Path, many: int) -> Found:
    """Ask all the time, and restart the replicas in turn."""
    record = Record()
    target = ",".join(f"127.0.0.1:{replica.port}" for replica in replicas)
    with Client(f"ipv4:{target}") as client:
        asking = Asking(client, path)
        load = asyncio.create_task(open_loop(asking.send, RATE, 60 + 60 * many, record=record))
        await asyncio.sleep(3 * PEACE)
        disturbed = record.now()
        restarts = await asyncio.to_thread(_restart, replicas, many)
        record.stop()
        return Found(await load, disturbed, restarts, asking.wrong, asking.texts)


def _restart(replicas: Sequence[Replica], many: int) -> Restarts:
    statuses, ends, starts = [], [], []
    for number in range(many):
        progress(f"restart {number + 1} of {many}")
        replica = replicas[number % len(replicas)]
        status, seconds = replica.end()
        statuses.append(status)
        ends.append(seconds)
        starts.append(replica.start())
        time.sleep(PEACE)
    return Restarts(tuple(statuses), Spread(tuple(ends)), Spread(tuple(starts)))


def show(found: Found) -> None:
    """Print the table."""
    load, restarts = found.load, found.restarts
    good, later = load.status == OK, load.intended >= found.disturbed
    lines = []
    for name, those in (("before", ~later), (f"with {len(restarts.statuses)} restarts", later)):
        lines.append(
            (
                name,
                f"{those.sum():,}",
                f"{(those & ~good).sum()}",
                *(f"{1e3 * value:.1f}" for value in percentiles(load.latency[good & those], (50, 99, 100))),
            )
        )
    failed = len(load.sent) - int(good.sum())
    bars, top = over_time(load.intended[good], load.latency[good], load.seconds)
    wrong_ends = [status for status in restarts.statuses if status]
    tables.show(
        f"SIGTERM to one of two replicas {len(restarts.statuses)} times, under load",
        ("", "requests", "failed", "p50, ms", "p99, ms", "most, ms"),
        lines,
        (
            f"Failed: {tables.held(failed, 0)}. Exit statuses other than 0: {wrong_ends or 'none'}. "
            f"Wrong answers: {found.wrong}.",
            *(f"{name}: {text}" for name, text in found.texts.items()),
            f"From SIGTERM to the end {restarts.ends.text(2)} s, from the start to SERVING "
            f"{restarts.starts.text(2)} s. {RATE:.0f} requests/s of one row by the client, who makes calls "
            f"again that end UNAVAILABLE; {len(os.sched_getaffinity(0))} cores for all.",
            f"`{bars}` the highest latency of each moment, up to {1e3 * top:.0f} ms",
        ),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four restarts instead of twenty")
    many = 4 if parser.parse_args().quick else 20
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        path = model.make_model(Path(name) / "bench.onnx")
        replicas = [Replica(path, Path(name)) for _ in range(2)]
        for replica in replicas:
            replica.start()
            running.callback(replica.kill)
        found = uvloop.run(measure(replicas, path, many))
    progress("")
    show(found)


if __name__ == "__main__":
    main()
