"""What stands before all calls where tokens are on: who sends none is not even read."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import grpc

from serving.calls import refuse
from serving.errors import Exhausted, Forbidden, OrdinalError, Unauthenticated
from serving.security.open_methods import OpenMethods, no_message
from serving.security.refusals import Refusals
from serving.security.tokens import Token, Tokens
from serving.telemetry import Telemetry

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context = grpc.aio.ServicerContext[Any, Any]

BEARER = "bearer "
_SEND = "this service needs a token: send it once, as metadata `authorization: Bearer TOKEN`"
_BUSY = 0.1  # seconds until calls beyond `concurrent` may be made again
_LONGEST = 1.0  # seconds until it is seen that a token is gone, or allows more

# Probes have no tokens. These tell whether the service is there and ready, and nothing else.
_OPEN = ("/grpc.health.v1.Health/",)
_OPEN_METHODS = frozenset(
    f"/inference.GRPCInferenceService/{method}" for method in ("ServerLive", "ServerReady")
)
_ADMIN = ("/grpc.reflection.",)


class Guard(grpc.GenericRpcHandler):
    """Finds the handler of a call as gRPC would, if its token allows it."""

    def __init__(
        self, handlers: Sequence[grpc.GenericRpcHandler], tokens: Tokens, telemetry: Telemetry
    ) -> None:
        self._handlers = tuple(handlers)
        self._tokens = tokens
        self._refusals = Refusals(telemetry)
        self._open = OpenMethods(self._refusals)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """Return the handler of a call: its own, one that refuses it, or None where there is none."""
        method: Any = handler_call_details.method
        handler = self._find(handler_call_details)
        if method in _OPEN_METHODS or method.startswith(_OPEN):
            return None if handler is None else self._open.handler(method, handler)
        try:
            token = self._token(handler_call_details.invocation_metadata)
            if not token.entry.admin and method.startswith(_ADMIN):
                raise Forbidden("this method administers: it needs a token with `admin = true`")
            if handler is None:
                return None
            if not handler.request_streaming:
                _count(token)
        except OrdinalError as error:
            if handler is not None:
                self._refusals.count(method, error)
            # Without its traceback, whose frames have what was sent.
            return _refusing(error.with_traceback(None))
        # Held before it is looked into: a file that is read meanwhile puts another one in its place, and
        # what is made of limits that were valid before is not kept.
        handlers = token.handlers
        guarded = handlers.get(method)
        if guarded is None:
            guarded = handlers[method] = _guarded(method, handler, token, self._refusals)
        return guarded

    def _find(self, details: grpc.HandlerCallDetails) -> _Handler | None:
        for each in self._handlers:
            found = each.service(details)
            if found is not None:
                return found
        return None

    def _token(self, metadata: Any) -> Token:
        """Return the token of a call; raises Unauthenticated, which never says what came instead."""
        sent = None
        for key, value in metadata:
            if key == "authorization":
                if sent is not None:
                    sent = None
                    break
                sent = value
        if isinstance(sent, str) and sent[: len(BEARER)].lower() == BEARER:
            token = self._tokens.find(sent[len(BEARER) :])
            if token is not None:
                return token
        self._refusals.tell("calls that were refused, since they had no valid token")
        raise Unauthenticated(_SEND)


def _count(token: Token) -> None:
    wait = token.wait()
    if wait:
        raise Exhausted(
            f"this token allows {token.entry.requests_per_second:g} requests a second to each worker",
            retry_after=wait,
        )
    token.take()


def _refusing(error: OrdinalError) -> _Handler:
    """Return a handler that refuses a call, of whatever kind, without reading what it sends."""

    async def handle(_: Any, context: _Context) -> None:
        await refuse(context, error)

    return grpc.stream_stream_rpc_method_handler(handle)


def _guarded(method: str, handler: _Handler, token: Token, refusals: Refusals) -> _Handler:
    """Return what does the same within the limits of a token."""
    if not handler.request_streaming and token.entry.concurrent is None:
        return handler  # what has to be looked at was looked at
    serve: Any = handler.stream_stream if handler.request_streaming else handler.unary_unary
    answer = _stream if handler.request_streaming else _single

    async def handle(_: Any, context: _Context) -> None:
        try:
            with _under_way(token):
                await answer(serve, context, token)
        except OrdinalError as error:
            refusals.count(method, error)
            await refuse(context, error)

    # A single call too is read here, so that what is beyond the limit is refused unread.
    return grpc.stream_stream_rpc_method_handler(
        handle, handler.request_deserializer, handler.response_serializer
    )


@contextlib.contextmanager
def _under_way(token: Token) -> Iterator[None]:
    """Count a call as long as the context is open; raises Exhausted where there are too many."""
    most = token.entry.concurrent
    if most is not None and token.under_way >= most:
        raise Exhausted(
            f"this token allows {most} calls at a time to each worker, and as many are under way",
            retry_after=_BUSY,
        )
    token.under_way += 1
    try:
        yield
    finally:
        token.under_way -= 1


async def _single(serve: Any, context: _Context, _: Token) -> None:
    received = await context.read()
    if received is grpc.aio.EOF:
        raise no_message()
    await context.write(await serve(received, context))


async def _stream(serve: Any, context: _Context, token: Token) -> None:
    watched = _Watched(context, token)
    if inspect.isasyncgenfunction(serve):
        async for reply in serve(watched, watched):
            await context.write(reply)
    else:
        await serve(watched, watched)


class _Watched:
    """A stream's context whose messages are counted; no more are read once its token is gone."""

    def __init__(self, context: _Context, token: Token) -> None:
        self._context = context
        self._token = token
        # What is asked for each message is found at once, all else by the line below.
        self.write, self.time_remaining = context.write, context.time_remaining

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        received = await self.read()
        if received is grpc.aio.EOF:
            raise StopAsyncIteration
        return received

    async def read(self) -> Any:
        """Return the next message, or the end of the stream; raises Unauthenticated once its token is gone.

        A stream that sends more than its token allows is read more slowly, and its sender held back.
        """
        received = await self._context.read()
        if received is grpc.aio.EOF:
            return received
        token = self._token
        if token.entry.requests_per_second is not None:
            # In turn: of many streams that have a message one waits for the clock, the others for it.
            async with token.turn:
                while token.valid and (wait := token.wait()):
                    await asyncio.sleep(min(wait, _LONGEST))
                token.take()
        if not token.valid:
            raise Unauthenticated(f"the token of this stream is valid no longer; {_SEND}")
        return received
