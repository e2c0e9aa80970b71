"""How a method from bytes to bytes becomes a gRPC handler: replies, refusals, faults of ours."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from serving.errors import DeadlineExceeded, Exhausted, InvalidRequest, OrdinalError
from serving.quote import quoted
from serving.unsent import LARGE, Unsent

if TYPE_CHECKING:
    from serving.tallies import Version
    from serving.traces import Trace, Tracer

# Details travel in HTTP/2 headers, of which gRPC accepts 8 KiB; escaping may triple a message.
_LONGEST_MESSAGE = 1000

OK = grpc.StatusCode.OK.name
CANCELLED = grpc.StatusCode.CANCELLED.name

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]
_Request = TypeVar("_Request", bound=Message)

Start = Callable[[bytes, Context], "bytes | Future[bytes]"]
"""Answers a request, now or later; raises OrdinalError where it is refused, at once or by its future."""


class Counted(Protocol):
    """Where the calls of a method are counted, and traced if there is a `tracer`.

    `under_way` are those that are not answered yet.
    """

    method: str
    under_way: int
    tracer: Tracer | None

    def done(self, code: str, seconds: float) -> None:
        """Count a call that ended so, after so long."""
        ...


def parsed(kind: type[_Request], received: bytes) -> _Request:
    """Return the message that these bytes are; raises InvalidRequest where they are none."""
    try:
        return kind.FromString(received)
    except DecodeError as error:
        raise InvalidRequest(
            "", f"these {len(received)} bytes are no {kind.DESCRIPTOR.full_name}"
        ) from error


def failure(
    method: str,
    request_id: str,
    error: Exception,
    version: Version | None = None,
    trace: Trace | None = None,
) -> OrdinalError:
    """Return what the caller is told of an error, and log it with what is known of its request.

    Of a fault of ours that is a number, under which the log has what happened.
    """
    if isinstance(error, (Exhausted, DeadlineExceeded)):
        return error  # counted; a line for each would be one more load
    more = {
        "method": method,
        "request_id": quoted(request_id) if request_id else "",
        "code": status_of(error).name,
        "model": "" if version is None else version.model,
        "version": "" if version is None else version.version,
        "trace_id": "" if trace is None else trace.id,
    }
    if isinstance(error, OrdinalError):
        text = "%s refused, request id %s: %s"
        logger.info(text, method, quoted(request_id), _cut(str(error)), extra=more)
        return error
    more["error"] = number = secrets.token_hex(6)
    text = "%s failed, request id %s: error %s"
    logger.error(text, method, quoted(request_id), number, exc_info=error, extra=more)
    return OrdinalError(f"internal error {number}; the service's log tells more")


def unary(
    start: Start, counted: Counted, unsent: Unsent | None = None
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of a method with one request and one reply; large ones are counted."""

    async def handle(received: bytes, context: Context) -> bytes:
        began = time.perf_counter()
        code = CANCELLED
        counted.under_way += 1
        trace = None if counted.tracer is None else counted.tracer.begin(context, counted.method)
        try:
            reply = start(received, context)
            del received  # what gRPC keeps of a refused call is this frame, until the collector comes by
            if not isinstance(reply, bytes):
                reply = await asyncio.wrap_future(reply)
            if unsent is not None and len(reply) > LARGE and (refusal := unsent.hold(len(reply), context)):
                del reply
                raise refusal
            code = OK
            return reply
        except Exception as error:  # noqa: BLE001 - gRPC would answer UNKNOWN, with the error's text
            code = status_of(error).name
            await refuse(context, error)
        finally:
            counted.under_way -= 1
            counted.done(code, time.perf_counter() - began)
            if trace is not None:
                trace.end(code)

    return grpc.unary_unary_rpc_method_handler(handle)


def status_of(error: Exception) -> grpc.StatusCode:
    """Return the status that a call ends with which has raised this."""
    return error.status if isinstance(error, OrdinalError) else OrdinalError.status


async def refuse(context: Context, error: Exception, where: str = "") -> NoReturn:
    """End a call with the status and the details of an error; what is none of ours becomes INTERNAL."""
    if not isinstance(error, OrdinalError):
        error = failure("a call", "", error)
    message = _cut(where + str(error))
    match error:
        case InvalidRequest():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=error.field, description=_cut(where + error.message)
            )
            detail = error_details_pb2.BadRequest(field_violations=[violation])
            more: tuple[tuple[str, str | bytes], ...] = ()
        case Exhausted():
            detail = error_details_pb2.RetryInfo()
            detail.retry_delay.FromMilliseconds(_milliseconds(error))
            more = (("grpc-retry-pushback-ms", str(_milliseconds(error))),)  # what gRPC's own retries read
        case _:
            await context.abort(error.status, message)
    status = status_pb2.Status(code=error.status.value[0], message=message)
    status.details.add().Pack(detail)
    details = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(error.status, message, (details, *more))


def _milliseconds(error: Exhausted) -> int:
    return math.ceil(error.retry_after * 1000)


def _cut(message: str) -> str:
    kept = message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore")
    return kept if kept == message else f"{kept}…"
