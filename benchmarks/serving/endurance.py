"""A million requests of all kinds and sizes, mutated messages to each method, a million dropped streams.

The service runs as it is started by anybody, with two models, one of which is replaced every half minute
by another file that answers alike. Every reply is compared with a local run. Memory may grow by 5 % at
most after the first tenth of the requests. What was seen is written to a journal as it comes:
`make bench-endurance`, or with `--requests 20000 --messages 500 --streams 20000` to see whether it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import cpu
import dropping
import exported
import fuzzing
import grpc
import messages
import model
import processes
import tables
import uvloop
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from journal import Journal
from mixture import Kind, kinds

from serving.artifact import Artifact

KEPT = Path(__file__).parent.parent.parent / ".bench" / "endurance"
AT_ONCE, STREAMS, CONNECTIONS = 12, 2, 4
ON_A_STREAM = 1000  # messages, before another one is opened
GROWTH = 1.05
_LOOK, _TELL, _RELOAD = 0.5, 30.0, 30.0  # seconds
_CHECK = "/grpc.health.v1.Health/Check"


@dataclass(eq=False)
class Seen:
    """What became of the requests so far; `memory` are MB of the worker after so many requests."""

    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, float]] = field(default_factory=list)
    supervisor: list[float] = field(default_factory=list)
    slowest: float = 0.0
    reloads: int = 0

    def growth(self, total: int) -> tuple[float, float]:
        """Return the MB in the second tenth of the requests, and in the last: the middle of each."""
        early = [size for requests, size in self.memory if 0.1 * total <= requests <= 0.2 * total]
        late = [size for requests, size in self.memory if requests >= 0.9 * total]
        return statistics.median(early), statistics.median(late)


class Endurance:
    """The load, on one service."""

    def __init__(
        self, server: processes.Server, asked: Sequence[Kind], total: int, journal: Journal
    ) -> None:
        self.seen = Seen()
        self._server = server
        self._total = total
        self._journal = journal
        self._random = random.Random(0)
        self._unary = [kind for kind in asked if not kind.stream]
        self._streamed = [kind for kind in asked if kind.stream]
        self._left = total

    async def run(self, served: Path, files: Sequence[Path]) -> None:
        """Send all requests, and replace the file that is served meanwhile."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channels = [grpc.aio.insecure_channel(self._server.address, options) for _ in range(CONNECTIONS)]
        watching = [
            asyncio.create_task(one)
            for one in (self._remember(), self._tell(), self._reload(served, files))
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(AT_ONCE):
                    group.create_task(self._call(channels[number % CONNECTIONS]))
                for number in range(STREAMS):
                    group.create_task(self._stream(channels[number % CONNECTIONS]))
        finally:
            for one in watching:
                one.cancel()
            for channel in channels:
                await channel.close()

    def _next(self, asked: Sequence[Kind]) -> list[Kind]:
        """Return some hundred requests to send, of as many as are left."""
        count = min(250, self._left)
        self._left -= count
        return self._random.choices(asked, [kind.weight for kind in asked], k=count)

    async def _call(self, channel: grpc.aio.Channel) -> None:
        methods = {path: channel.unary_unary(path) for path in {kind.method for kind in self._unary}}
        while batch := self._next(self._unary):
            for kind in batch:
                began = time.monotonic()
                try:
                    self._note(kind, await methods[kind.method](kind.request), began)
                except grpc.aio.AioRpcError as error:
                    self._failed(kind, error)

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        method = channel.stream_stream(messages.PREDICT_STREAM)
        while self._left:
            call = method()
            try:
                for _ in range(ON_A_STREAM // 250):
                    for kind in self._next(self._streamed):
                        began = time.monotonic()
                        await call.write(kind.request)
                        self._note(kind, await call.read(), began)
                await call.done_writing()
                if await call.read() is not grpc.aio.EOF:
                    self.seen.wrong["a reply too many on a stream"] += 1
            except grpc.aio.AioRpcError as error:
                self._failed(self._streamed[0], error)
            finally:
                call.cancel()

    def _note(self, kind: Kind, reply: bytes, began: float) -> None:
        seen = self.seen
        seen.requests += 1
        seen.statuses["OK"] += 1
        seen.slowest = max(seen.slowest, time.monotonic() - began)
        fault = kind.wrong(reply)
        if fault:
            seen.wrong[fault] += 1
            self._journal.write(f"WRONG {kind.name}: {fault}")

    def _failed(self, kind: Kind, error: grpc.aio.AioRpcError) -> None:
        self.seen.requests += 1
        self.seen.statuses[error.code().name] += 1
        self._journal.write(f"FAILED {kind.name}: {error.code().name} {error.details()}")

    async def _remember(self) -> None:
        while True:
            sizes = sorted(map(cpu.resident, self._server.pids()))
            self.seen.memory.append((self.seen.requests, sizes[-1]))
            self.seen.supervisor.append(cpu.resident(self._server.pid))
            await asyncio.sleep(_LOOK)

    async def _tell(self) -> None:
        while True:
            before, began = self.seen.requests, time.monotonic()
            await asyncio.sleep(_TELL)
            seen = self.seen
            rate = (seen.requests - before) / (time.monotonic() - began)
            self._journal.write(
                f"{seen.requests:>9,} of {self._total:,} requests, {rate:.0f}/s, worker "
                f"{seen.memory[-1][1]:.1f} MB, supervisor {seen.supervisor[-1]:.1f} MB, slowest "
                f"{1e3 * seen.slowest:.0f} ms, {seen.reloads} reloads, "
                f"{seen.requests - seen.statuses['OK']} failed, {sum(seen.wrong.values())} wrong"
            )
            seen.slowest = 0.0

    async def _reload(self, served: Path, files: Sequence[Path]) -> None:
        while True:
            await asyncio.sleep(_RELOAD)
            self.seen.reloads += 1
            beside = served.with_suffix(".next")
            os.link(files[self.seen.reloads % len(files)], beside)
            beside.replace(served)
            os.kill(self._server.pid, signal.SIGHUP)


async def _status(address: str) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        reply = await channel.unary_unary(_CHECK)(b"", timeout=10)
    status = health_pb2.HealthCheckResponse.FromString(reply).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def _show_requests(seen: Seen, total: int, seconds: float) -> bool:
    early, late = seen.growth(total)
    failed = seen.requests - seen.statuses["OK"]
    wrong = sum(seen.wrong.values())
    tables.show(
        f"{seen.requests:,} requests of mixed sizes in {seconds / 60:.0f} minutes",
        ("", "figure", "bar"),
        [
            ("failed", f"{failed:,}", tables.held(failed, 0)),
            ("wrong answers", f"{wrong:,}", tables.held(wrong, 0)),
            ("worker, MB, after a tenth and at the end", f"{early:.1f}, {late:.1f}", ""),
            ("… times", f"{late / early:.3f}", tables.held(late / early, GROWTH)),
            ("supervisor, MB, at most", f"{max(seen.supervisor):.1f}", ""),
            ("reloads meanwhile", f"{seen.reloads}", ""),
            ("requests/s", f"{seen.requests / seconds:.0f}", ""),
        ],
        (f"Statuses: {dict(seen.statuses)}.",),
    )
    return not failed and not wrong and late / early <= GROWTH


async def _fuzz(
    server: processes.Server, methods: Sequence[fuzzing.Method], count: int, journal: Journal
) -> bool:
    """Send mutated messages to each method; return whether all ended as they may."""
    pids, lines, good = server.pids(), [], True
    early = 0.0
    for number, method in enumerate(methods):
        seen = await fuzzing.fuzz(server.address, method, count, seed=number)
        fuzzing.keep(seen, method.name, journal.path.parent)
        memory = max(map(cpu.resident, server.pids()))
        early = early or memory
        statuses = ", ".join(f"{status} {times:,}" for status, times in seen.statuses.most_common())
        journal.write(f"{method.name}: {statuses}; worker {memory:.1f} MB")
        for status, text, message in seen.bad[:3]:
            journal.write(
                f"BAD {method.name}: {status} {text!r} to {len(message)} bytes {message[:60].hex()}"
            )
        lines.append(
            (method.name, f"{sum(seen.statuses.values()):,}", statuses, f"{len(seen.bad)}", f"{memory:.1f}")
        )
        good = good and not seen.bad
    status, same = await _status(server.address), server.pids() == pids
    late = max(map(cpu.resident, server.pids()))
    tables.show(
        f"{count:,} mutated messages to each method",
        ("", "messages", "ended", "otherwise", "worker, MB"),
        lines,
        (
            f"Otherwise: with another status than {', '.join(sorted(fuzzing.ALLOWED))}. Processes are "
            f"{'the same as before' if same else 'NOT THE SAME as before'}; health is {status}.",
            "Memory after the first method and at the end: "
            f"times {late / early:.3f} {tables.held(late / early, GROWTH)}.",
        ),
    )
    return good and same and status == "SERVING" and late / early <= GROWTH


def main() -> int:
    """Run, print, and keep the journal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=20_000, help="mutated ones to each method")
    parser.add_argument("--streams", type=int, default=1_000_000, help="opened and dropped")
    given = parser.parse_args()
    started = datetime.now()
    journal = Journal(KEPT / f"{started:%Y-%m-%d-%H%M%S}" / "journal.txt")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, what = exported.bench_model(KEPT.parent / "serving")
        journal.write(f"models: {what}; one of benchmarks/serving/model.py, with and without 5 MB more")
        files = [
            model.make_model(folder / "second.onnx", name="second", seed=2),
            model.make_model(folder / "larger.onnx", name="second", seed=2, megabytes=5),
        ]
        served = folder / "served.onnx"
        os.link(files[0], served)
        artifacts = [Artifact(path, "cpu"), Artifact(files[0], "cpu")]
        asked = kinds(artifacts)
        everywhere = sorted(os.sched_getaffinity(0))
        options = [str(served), "--poll", "0"]
        held = []
        with processes.service(path, *options, on=everywhere) as server:
            journal.write(f"serving on {server.address}; {len(asked)} different requests")
            load = Endurance(server, asked, given.requests, journal)
            began = time.monotonic()
            uvloop.run(load.run(served, files))
            held.append(_show_requests(load.seen, given.requests, time.monotonic() - began))
            predict = [k.request for k in asked if k.method == messages.PREDICT and len(k.request) < 5000]
            infer = [k.request for k in asked if k.method == messages.MODEL_INFER and len(k.request) < 5000]
            methods = fuzzing.methods(exported.NAME, predict, infer)
            held.append(uvloop.run(_fuzz(server, methods, given.messages, journal)))
            held.append(uvloop.run(dropping.drop(server, asked[0], given.streams, journal)))
            journal.write(f"health at the end: {uvloop.run(_status(server.address))}")
    journal.write(f"done: {'all holds' if all(held) else 'NOT all holds'}; journal {journal.path}")
    journal.close()
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
