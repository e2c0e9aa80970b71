"""One gRPC server: `create_server` binds the port, `load` or `apply` makes it SERVING, `drain` ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Mapping, Sequence

import grpc

from serving import health, ports, reflection
from serving.batching import Batching
from serving.errors import AddressError
from serving.health import Health
from serving.inference import protocol
from serving.inference.protocol import InferenceService
from serving.live import Live
from serving.orders import Applied, Refusal, Wanted
from serving.repository import Repository
from serving.resolve import resolve
from serving.security import Security
from serving.security.guard import Guard
from serving.service import NAME, OrdinalService
from serving.settings import Settings
from serving.telemetry import Telemetry
from serving.unsent import Unsent

_LAST_CALLS = 0.1  # seconds until what has come is looked at, or what was answered is sent
_LOOK = 0.01  # seconds between looks at what is in flight


# Calls that gRPC holds until they are looked at. Of more it ends some by chance, as CANCELLED; its own
# default, 1,000, is what comes in during a short stall.
_HELD = 2**14
_STREAMS = 1000  # calls at a time on one connection; its client holds back the others
_MESSAGES = 16  # of the largest size, that may wait for their answers in all
# Times the largest request: replies that wait until callers take them, in all, and on one connection.
_UNSENT, _UNSENT_OF_ONE = 64, 8

_FILES = 128  # that a worker may open beside its connections
_CONNECTIONS = 2**14  # of a worker; each takes some 50 KB

# What gRPC bounds before any code of this service sees a call; docs/serving.md says what that is good for.
_BOUNDS = (
    # Of all metadata of a call. By default gRPC refuses some by chance from half of that on.
    ("grpc.max_metadata_size", 2**14),
    ("grpc.absolute_max_metadata_size", 2**14),
    ("grpc.server_handshake_timeout_ms", 10_000),  # for TLS and HTTP/2 together; by default two minutes
    # Callers that do not answer a ping are gone, or hold a connection on purpose; by default two hours.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    (
        "grpc.http2.ping_timeout_ms",
        20_000,
    ),  # without it gRPC waits for a minute, whatever the line before says
    # Callers may ping every 10 seconds, also between calls; whoever does so more often is cut off.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
)


class Server:
    """A service that listens on `port`; made by `create_server`."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        listener: grpc.aio.Server,
        health_: Health,
        ordinal: OrdinalService,
        batching: Batching,
        telemetry: Telemetry,
        security: Security,
    ) -> None:
        self.port = port
        self.address = ports.joined(settings.host, port)
        self.telemetry = telemetry
        self._settings = settings
        self._listener = listener
        self._health = health_
        self._ordinal = ordinal
        self._batching = batching
        self._live = Live(settings)
        self._draining = False
        self._looking = asyncio.create_task(security.keep_looking())

    async def load(self, models: Sequence[str]) -> Repository:
        """Resolve, load and warm `models`, and report SERVING; return what is served.

        They take the place of whatever was served before, all at once and only when all of them may be
        served.

        Raises RegistryError, ArtifactError or DeviceError; the server then goes on as it was: with what
        it served, or NOT_SERVING where that was nothing.
        """
        names = dict.fromkeys(models)
        wanted = dict(zip(names, await resolve(models, self._settings), strict=True))
        loaded = await self._live.load(wanted)
        for error in loaded.errors.values():
            raise error
        self._live.take(wanted, loaded)
        return await self._open({}, complete=True)

    async def apply(self, wanted: Wanted) -> Applied:
        """Serve what is wanted, and tell callers what was refused before; return what is served.

        A MODEL that cannot be loaded stays what it was. The server is SERVING once there is something to
        answer with for each.
        """
        loaded = await self._live.load(wanted.models, wanted.kept)
        applied = self._live.take(wanted.models, loaded)
        complete = applied.served.keys() == wanted.models.keys()
        await self._open({**wanted.refused, **applied.refused}, complete)
        return applied

    async def finish(self) -> None:
        """Report NOT_SERVING, pause, refuse new requests, and let those in flight finish; still listen.

        A process then best ends without stopping the server, which would tell CANCELLED to what arrives at
        that moment; a broken connection means UNAVAILABLE, and calls are made again.
        """
        self._draining = True
        await self._health.drain()
        await asyncio.sleep(self._settings.pause)
        self._ordinal.close()
        await self._health.close()
        await asyncio.sleep(_LAST_CALLS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace):
                while self.telemetry.under_way:
                    await asyncio.sleep(_LOOK)
        await asyncio.sleep(_LAST_CALLS)

    async def drain(self) -> None:
        """Finish, and stop."""
        await self.finish()
        self._looking.cancel()
        await self._listener.stop(0)

    async def close(self) -> None:
        """Stop at once."""
        self._draining = True
        self._looking.cancel()
        self._ordinal.close()
        await self._health.close()
        await self._listener.stop(None)

    def abandon(self) -> int:
        """After `close`: return how many requests go on in threads that nothing can end."""
        return self._ordinal.abandon()

    async def _open(self, refused: Mapping[str, Refusal], complete: bool) -> Repository:
        repository = self._live.repository(refused)
        # Without any model callers are told UNAVAILABLE, and ask another worker.
        if any(repository) and not self._draining:
            self._ordinal.open(repository)
            await self._health.serve(health.names(repository), complete)
        return repository


async def create_server(settings: Settings, *, reserved: bool = False) -> Server:
    """Return a server that listens and answers health, NOT_SERVING until models are loaded.

    With port 0 any free port is taken; `Server.port` tells which. A port that is `reserved` for a service
    (see `ports.Reserved`) is shared by its workers.

    Raises:
        AddressError: Where the host and port cannot be listened on.
        SettingError: Where the settings of TLS and tokens, or their files, cannot be used.
    """
    security = Security(settings)
    if not reserved:
        ports.check(settings.host, settings.port)
    listener = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", int(reserved)),  # 1 would silently accept a second service on the port
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", -1),  # bounded by the limits on what is asked
            ("grpc.server.max_pending_requests", _HELD),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _HELD),
            ("grpc.max_concurrent_streams", _STREAMS),
            *_BOUNDS,
            ("grpc.max_allowed_incoming_connections", _most_connections()),
            *_ages(settings),
        ]
    )
    telemetry = Telemetry()
    batching = Batching(
        min(4, len(os.sched_getaffinity(0))),
        telemetry,
        batch=settings.batch,
        most_rows=settings.max_batch_rows,
        delay=settings.batch_delay,
        most_waiting=settings.max_queue,
        most_bytes=_MESSAGES * settings.max_message_bytes,
    )
    ordinal = OrdinalService(batching, telemetry)
    health_ = Health(["", NAME, protocol.NAME])
    inference = InferenceService(ordinal.live, batching, telemetry, health_.ready)
    unsent = Unsent(
        _UNSENT * settings.max_message_bytes, most_of_one=_UNSENT_OF_ONE * settings.max_message_bytes
    )
    handlers = [ordinal.handlers(unsent), inference.handlers(unsent), health_.handlers()]
    if settings.reflection:
        handlers.append(reflection.handlers([NAME, protocol.NAME, health.NAME]))
    if security.tokens is not None:
        handlers = [Guard(handlers, security.tokens, telemetry)]
    listener.add_generic_rpc_handlers(handlers)
    address = ports.joined(settings.host, settings.port)
    try:
        if security.certificates is not None:
            port = listener.add_secure_port(address, security.certificates.credentials())
        else:
            port = listener.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressError(f"cannot listen on {address}: {error}") from error
    await listener.start()
    return Server(settings, port, listener, health_, ordinal, batching, telemetry, security)


def _most_connections() -> int:
    """Return how many there may be at a time: with all files open nothing could be loaded any more."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _CONNECTIONS
    return max(1, min(_CONNECTIONS, files - _FILES))


def _ages(settings: Settings) -> list[tuple[str, int]]:
    """Return the options that let connections end; calls on them have all the time that they need."""
    if not settings.max_connection_age:
        return []
    # Without a grace of its own, gRPC lets streams go on for as long as they like.
    return [("grpc.max_connection_age_ms", max(1, round(settings.max_connection_age * 1000)))]
