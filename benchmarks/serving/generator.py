"""Who asks the servers: a process of its own that knows no messages, only their bytes.

It reads a `Load` as a line of JSON, does it, and writes a line with the `Outcome`; `asking.Generator` is
what starts it. Processor time is read right before the first request that counts and after the last one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import cpu
import grpc
import numpy as np
import uvloop

from serving.bench.load import OK, open_loop
from serving.bench.plan import Arrivals

Call = Callable[[bytes], Awaitable[bytes]]
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]  # else channels to one address share a connection
_FAILURES = (grpc.aio.AioRpcError, OSError, asyncio.IncompleteReadError)


async def _nothing() -> None:
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """Requests to be sent, all the same."""

    address: str
    method: str  # of gRPC, or the path of an HTTP address
    request: bytes
    kind: Literal["unary", "stream", "http"] = "unary"
    count: int
    warm: int = 0  # requests before, which do not count
    at_once: int = 1  # requests that are under way at a time
    connections: int = 1  # that unary requests take in turn
    rate: float = 0.0  # a second, sent whether others are answered or not; 0: each after a reply
    arrivals: Arrivals = "constant"  # of such requests: at equal distances, or as chance has it
    pids: tuple[int, ...] = ()  # whose processor time is read

    def to_json(self) -> str:
        """Return it as a line."""
        content = dataclasses.asdict(self)
        return json.dumps({**content, "request": base64.b64encode(self.request).decode()})

    @classmethod
    def from_json(cls, line: str) -> Load:
        """Read what `to_json` has written."""
        content = json.loads(line)
        return cls(
            **{**content, "request": base64.b64decode(content["request"]), "pids": tuple(content["pids"])}
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of them."""

    answered: int
    seconds: float
    pids: tuple[int, ...]  # of the load
    cpu: tuple[float, ...]  # seconds of each of them
    own_cpu: float
    p50: float  # seconds; from the time at which a request was to be sent
    p99: float
    failed: int
    failure: str  # the first one
    reply: bytes  # the last one
    other_sizes: int  # replies with another number of bytes than the last one

    def with_answered(self, count: int) -> Outcome:
        """Return the same with another number of replies: those of others, at the same time, too."""
        return dataclasses.replace(self, answered=count)

    def to_json(self) -> str:
        """Return it as a line."""
        return json.dumps({**dataclasses.asdict(self), "reply": base64.b64encode(self.reply).decode()})

    @classmethod
    def from_json(cls, line: str) -> Outcome:
        """Read what `to_json` has written."""
        content = json.loads(line)
        return cls(**{**content, "reply": base64.b64decode(content["reply"]), "cpu": tuple(content["cpu"])})


class Sending:
    """The requests of one load, and what came back."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._left = 0
        self._took: list[float] = []
        self._sizes: list[int] = []
        self._failures: list[str] = []
        self._reply = b""

    async def outcome(self) -> Outcome:
        """Warm up, send and count."""
        load = self._load
        send = {"unary": self._unary, "stream": self._stream, "http": self._http}[load.kind]
        try:
            return await send()
        except _FAILURES as error:  # of the connection, before any request
            self._failures.append(str(error))
            return await self._measured(_nothing)

    async def _unary(self) -> Outcome:
        async with contextlib.AsyncExitStack() as open_:
            channels = [
                await open_.enter_async_context(grpc.aio.insecure_channel(self._load.address, _OPTIONS))
                for _ in range(self._load.connections)
            ]
            calls = [channel.unary_unary(self._load.method) for channel in channels]
            return await self._counted([calls[n % len(calls)] for n in range(self._load.at_once)])

    async def _http(self) -> Outcome:
        host, _, port = self._load.address.rpartition(":")
        head = (
            f"POST {self._load.method} HTTP/1.1\r\nHost: {self._load.address}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(self._load.request)}\r\n\r\n"
        ).encode()
        lines = [await asyncio.open_connection(host, int(port)) for _ in range(self._load.at_once)]

        def over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
            async def call(request: bytes) -> bytes:
                writer.write(head + request)
                answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(answered.partition("content-length:")[2].split()[0])
                body = await reader.readexactly(length)
                if " 200 " not in answered.partition("\r\n")[0]:
                    raise ConnectionError(f"{answered.partition(chr(13))[0]}: {body[:200]!r}")
                return body

            return call

        try:
            return await self._counted([over(*line) for line in lines])
        finally:
            for _, writer in lines:
                writer.close()

    async def _stream(self) -> Outcome:
        """Send messages on one stream, `at_once` of them ahead of the replies."""
        async with grpc.aio.insecure_channel(self._load.address) as channel:
            call = channel.stream_stream(self._load.method)()

            async def pumped(count: int) -> None:
                sent: list[float] = []
                for number in range(count + self._load.at_once):
                    if number < count:
                        sent.append(time.perf_counter())
                        await call.write(self._load.request)
                    if number >= self._load.at_once:
                        reply = await call.read()
                        if reply is grpc.aio.EOF:
                            raise ConnectionError(f"the stream ended: {await call.code()}")
                        self._received(reply, sent[number - self._load.at_once])

            await pumped(max(self._load.warm, 1))
            outcome = await self._measured(lambda: pumped(self._load.count))
            await call.done_writing()
            return outcome

    async def _counted(self, calls: list[Call]) -> Outcome:
        await self._closed(calls, max(self._load.warm, 1))
        if self._load.rate:
            return await self._measured(lambda: self._open(calls[0]))
        return await self._measured(lambda: self._closed(calls, self._load.count))

    async def _closed(self, calls: list[Call], count: int) -> None:
        """Send `count` requests over all calls, each when the one before has been answered."""
        self._left = count

        async def one_after_the_other(call: Call) -> None:
            while self._left:
                self._left -= 1
                await self._send(call, time.perf_counter())

        await asyncio.gather(*(one_after_the_other(call) for call in calls))

    async def _open(self, call: Call) -> None:
        """Send requests by the clock, whatever became of those before."""

        async def send(_number: int) -> str:
            return OK if await self._send(call, time.perf_counter()) else "failed"

        load = self._load
        done = await open_loop(send, load.rate, load.count / load.rate, arrivals=load.arrivals)
        self._took = done.latency.tolist()  # from the time at which each was due

    async def _send(self, call: Call, due: float) -> bool:
        """Send a request, note what comes, and return whether that is an answer."""
        try:
            self._received(await call(self._load.request), due)
        except _FAILURES as error:
            self._failures.append(str(error))
            return False
        return True

    def _received(self, reply: bytes, due: float) -> None:
        self._took.append(time.perf_counter() - due)
        self._sizes.append(len(reply))
        self._reply = reply

    async def _measured(self, send: Callable[[], Awaitable[None]]) -> Outcome:
        self._took.clear()
        self._sizes.clear()
        before, own = [cpu.spent(pid) for pid in self._load.pids], time.process_time()
        started = time.perf_counter()
        await send()
        seconds = time.perf_counter() - started
        after, own = [cpu.spent(pid) for pid in self._load.pids], time.process_time() - own
        p50, p99 = np.percentile(self._took, [50, 99]).tolist() if self._took else (0.0, 0.0)
        return Outcome(
            answered=len(self._took),
            seconds=seconds,
            pids=self._load.pids,
            cpu=tuple(late - early for early, late in zip(before, after, strict=True)),
            own_cpu=own,
            p50=p50,
            p99=p99,
            failed=len(self._failures),
            failure=self._failures[0] if self._failures else "",
            reply=self._reply,
            other_sizes=sum(size != len(self._reply) for size in self._sizes),
        )


def main() -> None:
    """Do one load after the other until there are no more."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            outcome: Any = runner.run(Sending(Load.from_json(line)).outcome())
            print(outcome.to_json(), flush=True)


if __name__ == "__main__":
    main()
