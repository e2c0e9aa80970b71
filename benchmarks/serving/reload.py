"""Whether those who ask notice that a model is loaded: another file every two seconds, one of 50 MB.

The file that is served is replaced by another one, and SIGHUP has the service look at it. Requests come in
an open loop all the time, first without reloads, then with them. Every answer has to be what the model
that it names says. `python benchmarks/serving/reload.py`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import checked
import grpc
import model
import processes
import tables
import uvloop
from rounds import progress

from serving.bench.drive import Done, Job, drive
from serving.bench.load import Record, percentiles, schedule
from serving.bench.ordinal_speech import SPEECH
from serving.bench.picture import over_time
from serving.seal import check_seal
from serving.wire import ordinal_pb2 as wire

MEGABYTES = 50
EVERY = 2.0  # seconds
SHARE = 0.5  # of saturation
BAR = 3.0  # times, of the 99th percentile
AT_ONCE, CONNECTIONS = 32, 4
WARM_UP = 2.0  # seconds
_GET_MODEL = f"{SPEECH.method.rpartition('/')[0]}/GetModel"


@dataclass(frozen=True)
class Phases:
    """Seconds without reloads, and with them."""

    steady: float
    reloading: float


@dataclass(frozen=True, eq=False)
class Found:
    """What came out: of so many `reloads` the service had `taken` some when the next one was due."""

    saturated: float
    rate: float
    done: Done
    reloads: int
    taken: int
    wrong: int
    example: str


async def measure(
    server: processes.Server, served: Path, files: Mapping[Path, str], phases: Phases
) -> Found:
    """Find out what the service can do, then ask it half as much, and reload meanwhile.

    `files` have their digests; the first one is what is served.
    """
    asked = checked.requests(*files)
    progress("what the service can do at most")
    saturated = (await drive(_job(server, asked, seconds=5.0), Record())).load.rate
    rate = SHARE * saturated
    seconds = phases.steady + phases.reloading
    start = time.monotonic() + WARM_UP + 0.5
    intended = schedule(rate, seconds, "constant")
    progress(f"{rate:.0f} requests/s for {seconds:.0f} s")
    reloads = round(phases.reloading / EVERY)
    done, taken = await asyncio.gather(
        drive(_job(server, asked, seconds=seconds, intended=intended, start=start), Record()),
        _reload(server, served, files, start + phases.steady, reloads),
    )
    progress("comparing answers")
    wrong, example = asked.wrong(done.seen)
    return Found(saturated, rate, done, reloads, taken, wrong, example)


def _job(server: processes.Server, asked: checked.Requests, **more: object) -> Job:
    return Job(
        address=server.address,
        path=SPEECH.method,
        stream=False,
        requests=asked.sent,
        connections=CONNECTIONS,
        deadline=10.0,
        concurrency=AT_ONCE,
        warmup=WARM_UP,
        **more,  # type: ignore[arg-type]
    )


async def _reload(
    server: processes.Server, served: Path, files: Mapping[Path, str], begin: float, many: int
) -> int:
    """Replace the file every two seconds; return how often it was served when it was replaced again."""
    taken, others = 0, list(files)
    async with grpc.aio.insecure_channel(server.address) as channel:
        get_model = channel.unary_unary(_GET_MODEL)
        for number in range(many):
            await asyncio.sleep(begin + number * EVERY - time.monotonic())
            file = others[(number + 1) % len(others)]
            beside = served.with_suffix(".next")
            os.link(file, beside)
            beside.replace(served)
            os.kill(server.pid, signal.SIGHUP)
            await asyncio.sleep(begin + (number + 0.95) * EVERY - time.monotonic())
            with contextlib.suppress(grpc.aio.AioRpcError):  # which is then not told to be served
                taken += wire.Model.FromString(await get_model(b"")).digest == files[file]
    return taken


def show(found: Found, phases: Phases) -> None:
    """Print the table."""
    load = found.done.load
    good, reloading = load.status == "OK", load.intended >= phases.steady
    lines, tails = [], {}
    for name, seconds, those in (
        ("none", phases.steady, ~reloading),
        (f"every {EVERY:g} s", phases.reloading, reloading),
    ):
        p50, p99, most = percentiles(load.latency[good & those], (50, 99, 100))
        tails[name] = p99
        lines.append(
            (
                name,
                f"{seconds:.0f}",
                f"{those.sum():,}",
                f"{(those & ~good).sum()}",
                *(f"{1e3 * value:.2f}" for value in (p50, p99, most)),
            )
        )
    steady, loaded = tails.values()
    bars, top = over_time(load.intended[good], load.latency[good], load.seconds)
    failures = "; ".join(map(str, found.done.failures()))
    tables.show(
        f"Reloads under load, one model of {MEGABYTES} MB and a small one in turn",
        ("reloads", "seconds", "requests", "failed", "p50, ms", "p99, ms", "most, ms"),
        lines,
        (
            f"Failed: {tables.held(len(load.sent) - int(good.sum()), 0)}. p99 is {loaded / steady:.1f} "
            f"times the steady one: {tables.held(loaded / steady, BAR)}. Of {found.reloads} reloads "
            f"{found.taken} were served when the next one came. Of {int(good.sum()):,} answers "
            f"{found.wrong} were not those of the model that they name.",
            *([f"The first wrong one: {found.example}"] if found.wrong else []),
            *([f"Failures: {failures}"] if failures else []),
            f"{found.rate:.0f} requests/s of one row, half of what {AT_ONCE} under way reach "
            f"({found.saturated:.0f}); the generator took "
            f"{1e6 * found.done.cpu / len(load.sent):.0f} µs of CPU for each. "
            f"{len(os.sched_getaffinity(0))} cores for both.",
            f"`{bars}` the highest latency of each moment, up to {1e3 * top:.0f} ms",
        ),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few reloads")
    quick = parser.parse_args().quick
    phases = Phases(6, 12) if quick else Phases(30, 60)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("making models")
        paths = [
            model.make_model(folder / "small.onnx", name="small", seed=1),
            model.make_model(folder / "large.onnx", name="large", seed=2, megabytes=MEGABYTES),
        ]
        files = {path: check_seal(path) for path in paths}
        served = folder / "served.onnx"
        os.link(paths[0], served)
        everywhere = sorted(os.sched_getaffinity(0))
        with processes.service(served, "--poll", "0", on=everywhere) as server:
            found = uvloop.run(measure(server, served, files, phases))
    progress("")
    show(found, phases)


if __name__ == "__main__":
    main()
