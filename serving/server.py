"""One gRPC server: `create_server` binds the port, `load` makes it SERVING, `drain` ends it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]

from serving import repository, service
from serving.batching import Batching
from serving.errors import AddressError
from serving.health import Health
from serving.repository import Repository
from serving.resolve import resolve
from serving.settings import Settings

HEALTH_NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION_NAME: str = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name

# Calls that have come but are not looked at yet would be told CANCELLED by a stop, which no client retries.
_LAST_CALLS = 0.1  # seconds

logger = logging.getLogger(__name__)


class Server:
    """A service that listens on `port`; made by `create_server`."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        listener: grpc.aio.Server,
        health: Health,
        ordinal: service.OrdinalService,
    ) -> None:
        self.port = port
        self.address = _joined(settings.host, port)
        self._settings = settings
        self._listener = listener
        self._health = health
        self._ordinal = ordinal

    async def load(self, models: Sequence[str]) -> Repository:
        """Resolve, load and warm `models`, and report SERVING; return what is served.

        They take the place of whatever was served before, all at once and only when all of them may be
        served.

        Raises RegistryError, ArtifactError or DeviceError; the server then goes on as it was: with what
        it served, or NOT_SERVING where that was nothing.
        """
        resolved = await resolve(models, self._settings)
        loaded = await asyncio.to_thread(repository.load, resolved, self._settings.device)
        self._ordinal.open(loaded)
        await self._health.set_serving(True)
        return loaded

    async def drain(self) -> None:
        """Report NOT_SERVING, pause, refuse new requests, let those in flight finish, and stop."""
        await self._health.set_serving(False)
        await asyncio.sleep(self._settings.pause)
        self._ordinal.close()
        await asyncio.sleep(_LAST_CALLS)
        await self._health.close()
        await self._listener.stop(self._settings.grace)

    async def close(self) -> None:
        """Stop at once."""
        self._ordinal.close()
        await self._health.close()
        await self._listener.stop(None)

    def abandon(self) -> int:
        """After `close`: return how many requests go on in threads that nothing can end."""
        return self._ordinal.abandon()


async def create_server(settings: Settings) -> Server:
    """Return a server that listens and answers health, NOT_SERVING until `Server.load` is done.

    With port 0 any free port is taken; `Server.port` tells which.

    Raises:
        AddressError: Where the host and port cannot be listened on.
    """
    _check_address(settings.host, settings.port)
    listener = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),  # else a second service on the port is silently accepted
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", -1),  # bounded by the limits on what is asked
        ]
    )
    health = Health(["", service.NAME])
    ordinal = service.OrdinalService(
        Batching(threads=min(4, os.cpu_count() or 1), most_rows=settings.max_batch_rows)
    )
    listener.add_generic_rpc_handlers((ordinal.handlers(),))
    health_pb2_grpc.add_HealthServicer_to_server(health, listener)
    reflection.enable_server_reflection([service.NAME, HEALTH_NAME, REFLECTION_NAME], listener)
    try:
        port = listener.add_insecure_port(_joined(settings.host, settings.port))
    except RuntimeError as error:
        raise AddressError(f"cannot listen on {_joined(settings.host, settings.port)}: {error}") from error
    await listener.start()
    return Server(settings, port, listener, health, ordinal)


async def run(models: Sequence[str], settings: Settings) -> int:
    """Serve `models` until SIGTERM or SIGINT, then drain; return how many requests outlived the grace.

    Raises AddressError, RegistryError, ArtifactError or DeviceError where the start fails.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await create_server(settings)
    logger.info("listening on %s, NOT_SERVING yet", server.address)
    loading = asyncio.create_task(server.load(models))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if loading.done():
            _announce(server, loading.result(), _age_of_process())
            await stopping
            logger.info("draining: at most %g s for the requests in flight", settings.grace)
            await server.drain()
    finally:
        loading.cancel()
        stopping.cancel()
        await server.close()
    abandoned = server.abandon()
    if abandoned:
        logger.warning("%d requests are not done after %g s and are abandoned", abandoned, settings.grace)
    logger.info("stopped")
    return abandoned


def _age_of_process() -> float:
    """Seconds since the kernel started this process, imports included."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # proc(5), field 22
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def _announce(server: Server, served: Repository, seconds: float) -> None:
    for one in served:
        logger.info(
            "%s version %s%s on %s: labels %s",
            one.name,
            one.version,
            "".join(f" @{alias}" for alias in one.aliases),
            one.artifact.provider,
            one.artifact.manifest.order,
        )
    # Whoever starts the service on port 0 reads the port here.
    logger.info("SERVING on %s, %.1f s after the start", server.address, seconds)


def _check_address(host: str, port: int) -> None:
    """Bind the address for a moment: the system's reason for refusing is clearer than gRPC's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "; another service may be running there, or use --port 0" if _taken(error) else ""
        raise AddressError(f"cannot listen on {_joined(host, port)}: {reason}{hint}") from error


def _taken(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
