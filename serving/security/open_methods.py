"""Methods that need no token, although tokens are on: bounds of what all their callers may hold."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc

from serving.calls import refuse
from serving.errors import Exhausted, InvalidRequest, OrdinalError
from serving.security.refusals import Refusals

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context = grpc.aio.ServicerContext[Any, Any]

# gRPC takes a message of any method up to --max-message-bytes, and holds what has come of it. Those of
# these methods are tiny, and mostly there as soon as their call is.
_READING = 16  # calls whose message may take _SECONDS at a time
_SECONDS = 3.0
_MANY = 0.25  # seconds that it may take where there are more: it may be there, and the worker busy
_WATCHING = 1000  # calls with many replies, which have no end of their own
_RETRY = 1.0  # seconds until these may be made again


class OpenMethods:
    """Handlers of methods that anybody may call; used on the event loop's thread."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._handlers: dict[str, _Handler] = {}
        self._reading: dict[asyncio.Timeout, float] = {}  # since when, the oldest first
        self._watching = 0

    def handler(self, method: str, handler: _Handler) -> _Handler:
        """Return what does the same as the handler of a method, within these bounds."""
        found = self._handlers.get(method)
        if found is None:
            found = self._handlers[method] = self._bounded(method, handler)
        return found

    def _bounded(self, method: str, handler: _Handler) -> _Handler:
        answer = self._watch if handler.response_streaming else self._single
        serve: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

        async def handle(_: Any, context: _Context) -> None:
            try:
                await answer(serve, context)
            except OrdinalError as error:
                self._refusals.count(method, error)
                await refuse(context, error)

        return grpc.stream_stream_rpc_method_handler(
            handle, handler.request_deserializer, handler.response_serializer
        )

    async def _single(self, serve: Any, context: _Context) -> None:
        await context.write(await serve(await self._read(context), context))

    async def _watch(self, serve: Any, context: _Context) -> None:
        if self._watching >= _WATCHING:
            self._refusals.tell("watches of health that were refused, since so many are under way")
            raise Exhausted(
                f"each worker has {_WATCHING} watches of health at a time, and as many are under way",
                retry_after=_RETRY,
            )
        self._watching += 1
        try:
            async for reply in serve(await self._read(context), context):
                await context.write(reply)
        finally:
            self._watching -= 1

    async def _read(self, context: _Context) -> Any:
        """Return a call's message.

        Where too many are read already, the one that takes longest gets less time in place of refusing the
        newest: else callers that send nothing could keep out the probes.
        """
        now = asyncio.get_running_loop().time()
        if len(self._reading) >= _READING:
            oldest = next(iter(self._reading))
            began = self._reading.pop(oldest)
            if not oldest.expired():
                oldest.reschedule(max(now, began + _MANY))
        limit = asyncio.timeout(_SECONDS)
        try:
            async with limit:
                self._reading[limit] = now
                try:
                    received = await context.read()
                finally:
                    self._reading.pop(limit, None)
        except TimeoutError:
            self._refusals.tell("calls without a token that were cut off, since their message did not come")
            raise Exhausted(
                f"the message of a call that needs no token must come within {_SECONDS:g} s, and "
                f"within {_MANY:g} s where many others are awaited; this one has not",
                retry_after=_RETRY,
            ) from None
        if received is grpc.aio.EOF:
            raise no_message()
        return received


def no_message() -> InvalidRequest:
    """Return why a call without any message is refused."""
    return InvalidRequest("", "a call must have a message, this one has none")
