"""The standard health service, grpc.health.v1.

The stock asyncio servicer stops telling all other watchers of a name when one of them leaves, and an open
`Watch` holds a drain until its grace is over; this one does neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator

import grpc
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from serving.calls import Context, parsed, refuse
from serving.errors import InvalidRequest, ModelNotFound, OrdinalError
from serving.repository import Served

NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

Response = health_pb2.HealthCheckResponse

_LONGEST = 4096  # bytes of a request, which is a name


def names(served: Iterable[Served]) -> Iterator[str]:
    """Yield the names under which the health of models is told: NAME, NAME/VERSION and NAME@ALIAS."""
    for one in served:
        yield one.name
        yield f"{one.name}/{one.version}"
        yield from (f"{one.name}@{alias}" for alias in one.aliases)


class Health:
    """The status of `services`, NOT_SERVING at first, and of models, unknown at first."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._models = frozenset[str]()
        self._serving = False
        self._draining = False
        self._closed = False
        self._changed = asyncio.Condition()

    def ready(self, name: str = "") -> bool:
        """Tell whether a service or a model is SERVING; left out, all that is wanted."""
        return bool(self._status(name) == Response.SERVING)

    async def serve(self, models: Iterable[str], serving: bool = True) -> None:
        """Tell that these models are answered from now on, and whether that is all that services need."""
        async with self._changed:
            self._models = frozenset(models) - self._services
            self._serving = serving
            self._changed.notify_all()

    async def drain(self) -> None:
        """Tell that nothing is answered any more, whatever is told later."""
        async with self._changed:
            self._draining = True
            self._changed.notify_all()

    async def close(self) -> None:
        """End all watches, each after it was told the last status."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to register; they take and return bytes.

        Where gRPC reads messages itself, what is no message ends as UNKNOWN, with a traceback in the log.
        """
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            },
        )

    async def _check(self, received: bytes, context: Context) -> bytes:
        """Answer the status once; NOT_FOUND for a name that is not known."""
        try:
            status = self._status(_asked(received))
            if status == Response.SERVICE_UNKNOWN:
                raise ModelNotFound("no such service or model is known here")
        except OrdinalError as error:
            await refuse(context, error)
        return _response(status)

    async def _watch(self, received: bytes, context: Context) -> AsyncIterator[bytes]:
        """Answer the status now and whenever it changes."""
        try:
            service = _asked(received)
        except OrdinalError as error:
            await refuse(context, error)
        told = None
        closed = False
        while not closed:
            async with self._changed:
                while not self._closed and self._status(service) == told:
                    await self._changed.wait()
                status, closed = self._status(service), self._closed
            if status != told:
                yield _response(status)
                told = status

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service in self._services:
            return Response.SERVING if self._serving and not self._draining else Response.NOT_SERVING
        if service in self._models:
            return Response.NOT_SERVING if self._draining else Response.SERVING
        return Response.SERVICE_UNKNOWN


def _asked(received: bytes) -> str:
    """Return the name that is asked for; a watch keeps it for as long as it is under way."""
    if len(received) > _LONGEST:
        raise InvalidRequest(
            "", f"a request to the health service must have at most {_LONGEST} bytes, got {len(received)}"
        )
    return str(parsed(health_pb2.HealthCheckRequest, received).service)


def _response(status: health_pb2.HealthCheckResponse.ServingStatus) -> bytes:
    return bytes(Response(status=status).SerializeToString())
