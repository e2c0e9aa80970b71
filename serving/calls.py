"""How a method from bytes to bytes becomes a gRPC handler: replies, refusals, faults of ours."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from serving.errors import InvalidRequest, OrdinalError
from serving.quote import quoted

# Details travel in HTTP/2 headers, of which gRPC accepts 8 KiB; escaping may triple a message.
_LONGEST_MESSAGE = 1000
# What is read of a stream before the reply to the first of it is sent:
_AHEAD = 64  # messages
_AHEAD_BYTES = 2**23

logger = logging.getLogger(__name__)

Start = Callable[[bytes], Future[bytes]]
"""Begins to answer a request; raises OrdinalError where it is refused at once, as its future may do."""

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Request = TypeVar("_Request", bound=Message)


def parsed(kind: type[_Request], received: bytes) -> _Request:
    """Return the message that these bytes are; raises InvalidRequest where they are none."""
    try:
        return kind.FromString(received)
    except DecodeError as error:
        raise InvalidRequest(
            "", f"these {len(received)} bytes are no {kind.DESCRIPTOR.full_name}"
        ) from error


def failure(method: str, request_id: str, error: Exception) -> OrdinalError:
    """Return what the caller is told of an error, and log it.

    Of a fault of ours that is a number, under which the log has what happened.
    """
    if isinstance(error, OrdinalError):
        logger.info("%s refused, request id %s: %s", method, quoted(request_id), _cut(str(error)))
        return error
    number = secrets.token_hex(6)
    logger.error("%s failed, request id %s: error %s", method, quoted(request_id), number, exc_info=error)
    return OrdinalError(f"internal error {number}; the service's log tells more")


def unary(start: Start) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of a method with one request and one reply."""

    async def handle(received: bytes, context: _Context) -> bytes:
        try:
            reply = asyncio.wrap_future(start(received))
            del received  # what gRPC keeps of a refused call is this frame, until the collector comes by
            return await reply
        except OrdinalError as error:
            await _refuse(context, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def streamed(start: Start, closed: asyncio.Event) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of a method with many requests on a stream, answered in order.

    Requests are begun as they come, up to a limit ahead of the replies. The first one that is refused
    ends the stream. Once `closed` is set no more are read, and those that were are answered.
    """

    async def handle(received: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        ahead = _Ahead()
        reading = asyncio.create_task(_read(received, start, ahead))
        closing = asyncio.create_task(closed.wait())
        closing.add_done_callback(lambda _: reading.cancel())
        try:
            for number in itertools.count():
                begun = await ahead.begun.get()
                if begun is None:
                    break
                reply, size = begun
                try:
                    yield await reply
                except OrdinalError as error:
                    await _refuse(context, error, f"message {number} of the stream: ")
                ahead.leave(size)
            if closed.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is shutting down")
            await reading
        finally:
            reading.cancel()
            closing.cancel()
            ahead.cancel()

    return grpc.stream_stream_rpc_method_handler(handle)


class _Ahead:
    """The requests of a stream that are begun and whose replies are not sent yet."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[tuple[asyncio.Future[bytes], int] | None] = asyncio.Queue()
        self._count = self._bytes = 0
        self._changed = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room for a request of so many bytes; one alone always has room."""
        while self._count and (self._count >= _AHEAD or self._bytes + size > _AHEAD_BYTES):
            self._changed.clear()
            await self._changed.wait()
        self._count += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        """Make room: the reply to a request of so many bytes is on its way."""
        self._count -= 1
        self._bytes -= size
        self._changed.set()

    def cancel(self) -> None:
        """Forget what is begun."""
        while not self.begun.empty():
            left = self.begun.get_nowait()
            if left is not None:
                left[0].cancel()


async def _read(received: AsyncIterator[bytes], start: Start, ahead: _Ahead) -> None:
    """Begin what comes, until the caller is done or this is cancelled."""
    try:
        async for message in received:
            await ahead.enter(len(message))
            ahead.begun.put_nowait((_begun(start, message), len(message)))
    finally:
        ahead.begun.put_nowait(None)


def _begun(start: Start, message: bytes) -> asyncio.Future[bytes]:
    try:
        return asyncio.wrap_future(start(message))
    except OrdinalError as error:
        refused: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        refused.set_exception(error)
        return refused


async def _refuse(context: _Context, error: OrdinalError, where: str = "") -> NoReturn:
    message = _cut(where + str(error))
    if not isinstance(error, InvalidRequest):
        await context.abort(error.status, message)
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=error.field, description=_cut(where + error.message)
    )
    status = status_pb2.Status(code=error.status.value[0], message=message)
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    await context.abort(error.status, message, (("grpc-status-details-bin", status.SerializeToString()),))


def _cut(message: str) -> str:
    kept = message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore")
    return kept if kept == message else f"{kept}…"
