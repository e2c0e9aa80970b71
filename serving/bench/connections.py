"""Connections to a service that carry bytes as they are, without messages."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

from serving.access import Access
from serving.bench.load import OK, Send
from serving.errors import Unavailable

_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a connection
    ("grpc.enable_http_proxy", 0),  # a proxy would be measured instead
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
_PATIENCE = 10.0  # seconds

Note = Callable[[int, bytes], None]


class Connections:
    """Some connections that requests take in turn; `texts` has what the first of each failure said."""

    def __init__(self, address: str, count: int, access: Access | None = None) -> None:
        self.texts: dict[str, str] = {}
        self._address = address
        self._target = (access or Access()).target(address)
        self._count = count

    async def __aenter__(self) -> Self:
        self._channels = [self._target.asynchronous_channel(_OPTIONS) for _ in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()

    async def ready(self) -> None:
        """Return when all are connected; raises Unavailable where that takes longer than ten seconds."""
        try:
            async with asyncio.timeout(_PATIENCE):
                for channel in self._channels:
                    await channel.channel_ready()
        except TimeoutError as error:
            raise Unavailable(
                f"{self._address}: no connection within {_PATIENCE:g} s; does the service listen there?"
            ) from error

    def unary(self, path: str, requests: Sequence[bytes], deadline: float, note: Note) -> Send:
        """Return what sends `requests` in turn, and notes the replies that are OK."""
        methods: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(path) for channel in self._channels
        ]

        metadata = self._target.metadata or None

        async def send(number: int) -> str:
            request = number % len(requests)
            try:
                reply = await methods[number % len(methods)](
                    requests[request], timeout=deadline, metadata=metadata
                )
            except grpc.aio.AioRpcError as error:
                return self._failed(error)
            note(request, reply)
            return OK

        return send

    def streamed(self, path: str, requests: Sequence[bytes], note: Note) -> Send:
        """As `unary`, on a stream for each connection; one that fails is followed by another."""
        streams = [
            _Stream(functools.partial(channel.stream_stream(path), metadata=self._target.metadata))
            for channel in self._channels
        ]

        async def send(number: int) -> str:
            request = number % len(requests)
            try:
                reply = await streams[number % len(streams)].ask(requests[request])
            except grpc.aio.AioRpcError as error:
                return self._failed(error)
            note(request, reply)
            return OK

        return send

    def _failed(self, error: grpc.aio.AioRpcError) -> str:
        name: str = error.code().name
        self.texts.setdefault(name, error.details() or "")
        return name


class _Stream:
    """A stream whose replies come in the order of its requests."""

    def __init__(self, method: Callable[[], grpc.aio.StreamStreamCall[bytes, bytes]]) -> None:
        self._method = method
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] | None = None
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._writing = asyncio.Lock()  # gRPC takes one message at a time

    async def ask(self, request: bytes) -> bytes:
        """Send a request, and return the reply; raises what ended the stream before it."""
        async with self._writing:
            if self._call is None:
                self._call = self._method()
                self._reading = asyncio.get_running_loop().create_task(self._read(self._call))
            reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._waiting.append(reply)
            # Whoever reads is told why a stream takes no more, and tells all that wait.
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(request)
        return await reply

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        try:
            async for message in call:
                reply = self._waiting.popleft()
                if not reply.done():  # whoever asked may have gone
                    reply.set_result(message)
            ended = grpc.aio.AioRpcError(
                grpc.StatusCode.UNKNOWN,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                "the service ended the stream",
            )
        except grpc.aio.AioRpcError as error:
            ended = error
        self._call, waiting, self._waiting = None, self._waiting, deque()
        for reply in waiting:
            if not reply.done():
                reply.set_exception(ended)
