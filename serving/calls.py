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
_AHEAD = 64  # messages of a stream that are read before the reply to the first of them is sent

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
            return await asyncio.wrap_future(start(received))
        except OrdinalError as error:
            await _refuse(context, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def streamed(start: Start) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of a method with many requests on a stream, answered in order.

    Requests are begun as they come, up to a limit ahead of the replies. The first one that is refused
    ends the stream.
    """

    async def handle(received: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        replies: asyncio.Queue[asyncio.Future[bytes] | None] = asyncio.Queue()
        room = asyncio.Semaphore(_AHEAD)

        async def read() -> None:
            try:
                async for message in received:
                    await room.acquire()
                    replies.put_nowait(_begun(start, message))
            finally:
                replies.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            for number in itertools.count():
                reply = await replies.get()
                if reply is None:
                    break
                try:
                    yield await reply
                except OrdinalError as error:
                    await _refuse(context, error, f"message {number} of the stream: ")
                room.release()
            await reading
        finally:
            reading.cancel()
            while not replies.empty():
                left = replies.get_nowait()
                if left is not None:
                    left.cancel()

    return grpc.stream_stream_rpc_method_handler(handle)


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
