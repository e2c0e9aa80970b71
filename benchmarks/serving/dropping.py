"""A hostile caller who opens streams and drops them at once, and whether good ones notice."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import cpu
import grpc
import processes
import tables
from journal import Journal
from mixture import Kind

_TESTS = Path(__file__).parent.parent.parent / "tests"


async def drop(server: processes.Server, asked: Kind, count: int, journal: Journal) -> bool:
    """Have a hostile caller open and drop streams; return whether a good one was answered all the time."""
    sys.path.append(str(_TESTS))
    from hostile import flood  # raw HTTP/2, which the tests have too

    before = max(map(cpu.resident, server.pids()))
    latencies, failed = [], 0
    flooding = asyncio.create_task(asyncio.to_thread(flood, server.address, count, at_once=100, rest=0.005))
    async with grpc.aio.insecure_channel(server.address) as channel:
        method = channel.unary_unary(asked.method)
        while not flooding.done():
            began = time.monotonic()
            try:
                failed += bool(asked.wrong(await method(asked.request, timeout=10)))
            except grpc.aio.AioRpcError as error:
                failed += 1
                journal.write(f"FAILED beside dropped streams: {error.code().name} {error.details()}")
            latencies.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    back = dict(await flooding)
    after = max(map(cpu.resident, server.pids()))
    tables.show(
        f"{count:,} streams opened and dropped on one connection",
        ("", "figure", "bar"),
        [
            ("good calls meanwhile", f"{len(latencies):,}", ""),
            ("… failed or wrong", f"{failed}", tables.held(failed, 0)),
            ("… slowest, ms", f"{1e3 * max(latencies):.0f}", ""),
            ("worker, MB, before and after", f"{before:.1f}, {after:.1f}", ""),
        ],
        (f"What came back: {back}.",),
    )
    return not failed
