"""The standard health service, grpc.health.v1.

The stock asyncio servicer stops telling all other watchers of a name when one of them leaves, and an open
`Watch` holds a drain until its grace is over; this one does neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

Response = health_pb2.HealthCheckResponse


class Health:
    """One status for all `names`, NOT_SERVING at first."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._serving = False
        self._closed = False
        self._changed = asyncio.Condition()

    async def set_serving(self, serving: bool) -> None:
        """Tell whether requests are answered from now on."""
        async with self._changed:
            self._serving = serving
            self._changed.notify_all()

    async def close(self) -> None:
        """End all watches, each after it was told the last status."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def Check(  # noqa: N802 - named by the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Answer the status once; NOT_FOUND for a name that is not known."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service is known here")
        return Response(status=self._status(request.service))

    async def Watch(  # noqa: N802 - named by the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer the status now and whenever it changes."""
        del context
        told = None
        closed = False
        while not closed:
            async with self._changed:
                while not self._closed and self._status(request.service) == told:
                    await self._changed.wait()
                status, closed = self._status(request.service), self._closed
            if status != told:
                yield Response(status=status)
                told = status

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service not in self._names:
            return Response.SERVICE_UNKNOWN
        return Response.SERVING if self._serving else Response.NOT_SERVING
