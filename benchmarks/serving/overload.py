"""What four times too many requests do: to those that are answered, to those that are refused, to health.

A model whose run takes ten milliseconds, without batching. Server and generator have a core each. What can
be done at most is measured before and after, since machines have faster and slower minutes.
`python benchmarks/serving/overload.py`
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import checked
import cpu
import grpc
import model
import numpy as np
import processes
import tables
import uvloop
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from numpy.typing import NDArray
from rounds import progress

from serving.bench.drive import Done, Job, drive
from serving.bench.load import OK, Record, percentiles, schedule
from serving.bench.ordinal_speech import SPEECH

MILLISECONDS = 10.0  # of a run; the bar asks for five at least
TIMES = 4
KEPT, REFUSED, GROWN = 0.8, 50.0, 1.05  # of saturation; milliseconds; times the memory
AT_ONCE, CONNECTIONS = 32, 4
EACH = 0.1  # seconds between health checks
_CHECK = "/grpc.health.v1.Health/Check"
_EXHAUSTED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class Health:
    """What health checks said: how often anything but SERVING, and the seconds that each took."""

    other: int
    took: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """What came out.

    Attributes:
        before: Answers a second of a closed loop, before the overload.
        after: The same after it.
        done: The overload.
        health: What health checks said meanwhile.
        memory: Megabytes of the worker early on, and at the end.
        wrong: Answers that were not those of a local run.
        example: What is wrong with the first of them.
    """

    before: float
    after: float
    done: Done
    health: Health
    memory: tuple[float, float]
    wrong: int
    example: str


async def measure(server: processes.Server, path: Path, seconds: float) -> Found:
    """Find out what the service can do, then ask for four times as much."""
    asked = checked.requests(path)
    progress("what the service can do at most")
    before = (await drive(_job(server, asked, seconds=seconds / 6), Record())).load.rate
    intended = schedule(TIMES * before, seconds, "constant")
    progress(f"{TIMES * before:.0f} requests/s for {seconds:.0f} s")
    done, health, memory = await asyncio.gather(
        drive(_job(server, asked, seconds=seconds, intended=intended), Record()),
        _check_health(server.address, seconds),
        _remember(server, (seconds / 6, seconds)),
    )
    progress("what the service can do at most, once more")
    after = (await drive(_job(server, asked, seconds=seconds / 6), Record())).load.rate
    wrong, example = asked.wrong(done.seen)
    return Found(before, after, done, health, memory, wrong, example)


def _job(server: processes.Server, asked: checked.Requests, **more: object) -> Job:
    return Job(
        address=server.address,
        path=SPEECH.method,
        stream=False,
        requests=asked.sent,
        connections=CONNECTIONS,
        deadline=30.0,
        concurrency=AT_ONCE,
        warmup=1.0,
        **more,  # type: ignore[arg-type]
    )


async def _check_health(address: str, seconds: float) -> Health:
    """Ask for health again and again, on a connection of its own."""
    other, took = 0, []
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        check = channel.unary_unary(_CHECK)
        for _ in range(round(seconds / EACH)):
            started = time.monotonic()
            try:
                said = health_pb2.HealthCheckResponse.FromString(await check(b"", timeout=5))
                other += said.status != health_pb2.HealthCheckResponse.SERVING
            except grpc.aio.AioRpcError:
                other += 1
            took.append(time.monotonic() - started)
            await asyncio.sleep(max(0.0, started + EACH - time.monotonic()))
    return Health(other, np.array(took))


async def _remember(server: processes.Server, moments: Sequence[float]) -> tuple[float, float]:
    """Return the megabytes of the largest process of the service, which is the worker, at two moments."""
    found, started = [], time.monotonic()
    for moment in moments:
        await asyncio.sleep(started + moment - time.monotonic())
        found.append(max(map(cpu.resident, server.pids())))
    return found[0], found[1]


def show(found: Found, seconds: float) -> None:
    """Print the table."""
    load = found.done.load
    good, refused = load.status == OK, load.status == _EXHAUSTED
    others = "; ".join(str(one) for one in found.done.failures() if one.status != _EXHAUSTED)
    saturated = (found.before + found.after) / 2
    kept = load.rate / saturated
    p99, most = (1e3 * value for value in percentiles(load.latency[refused], (99, 100)))
    late = 1e3 * percentiles(load.lateness, (99,))[0]
    early, at_end = found.memory

    def told(latencies: NDArray[np.float64]) -> list[str]:
        return [f"{1e3 * value:.1f}" for value in percentiles(latencies, (50, 99, 100))]

    tables.show(
        f"{TIMES} times overload for {seconds:.0f} s, a run of {MILLISECONDS:g} ms, batching off",
        ("", "a second", "p50, ms", "p99, ms", "most, ms", "bar"),
        (
            ("saturated, before and after", f"{found.before:.0f}, {found.after:.0f}", "", "", "", ""),
            ("asked", f"{len(load.sent) / load.seconds:.0f}", "", "", "", ""),
            (
                "answered",
                f"{load.rate:.0f}",
                *told(load.latency[good]),
                f"of saturated {kept:.2f} {tables.held(kept, KEPT, most=False)}",
            ),
            (
                _EXHAUSTED,
                f"{refused.sum() / load.seconds:.0f}",
                *told(load.latency[refused]),
                f"p99 {tables.held(p99, REFUSED)}, most {tables.held(most, REFUSED)}",
            ),
            (
                "health checks",
                f"{len(found.health.took) / seconds:.0f}",
                *told(found.health.took),
                f"{found.health.other} not SERVING {tables.held(found.health.other, 0)}",
            ),
        ),
        (
            f"Memory of the worker {early:.0f} MB after {seconds / 6:.0f} s and {at_end:.0f} MB after "
            f"{seconds:.0f} s: times {at_end / early:.3f} {tables.held(at_end / early, GROWN)}.",
            f"Other endings: {others or 'none'}. Of {int(good.sum()):,} answers {found.wrong} were wrong"
            f"{f': {found.example}' if found.wrong else ''}.",
            "Server and generator have a core each; the generator took "
            f"{found.done.cpu / found.done.wall:.0%} of its own, and sent late by {late:.1f} ms (p99), "
            "which counts as latency.",
        ),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten seconds instead of sixty")
    seconds = 10.0 if parser.parse_args().quick else 60.0
    ours, theirs = cpu.cores()[1], cpu.cores()[0]
    with tempfile.TemporaryDirectory() as folder:
        progress("making the model")
        with cpu.pinned(theirs):
            path = model.make_model(Path(folder) / "slow.onnx", name="slow", milliseconds=MILLISECONDS)
        with processes.service(path, "--batch", "off", on=[theirs]) as server, cpu.pinned(ours):
            found = uvloop.run(measure(server, path, seconds))
    progress("")
    show(found, seconds)


if __name__ == "__main__":
    main()
