"""Clients' connections: several, used in turn, and what gRPC does where one of them fails."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from serving.access import on_this_machine
from serving.exchange import SERVICE, STREAM
from serving.wire import ordinal_pb2 as wire

# At most 5 attempts, as gRPC has it; before them 0.1, 0.3, 0.9 and 2.7 seconds, each a fifth more or less.
# For single calls only: of a stream that is made again, grpcio 1.85 silently loses a message now and then.
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "backoffMultiplier": 3,
    "maxBackoff": "3s",
    # CANCELLED comes from a server that ends before it has looked at a call. RESOURCE_EXHAUSTED is not here
    # but in attempts.py, since gRPC would send a message again that is too large.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
# Calls are made again as long as this holds what was sent; gRPC's own 256 KiB are less than many a batch.
_KEPT = 2**26  # bytes
# gRPC would wait a second before it looks again for a server that was gone, and soon minutes.
_RECONNECT, _RECONNECT_AT_MOST = 100, 1000  # milliseconds

_REPLIES: dict[str, type[Message]] = {
    "Predict": wire.PredictResponse,
    "GetModel": wire.Model,
    "ListModels": wire.ListModelsResponse,
}

Channel = TypeVar("Channel", bound="grpc.Channel | grpc.aio.Channel")


class Connection(Generic[Channel]):
    """One connection, with the methods of the service; nothing is sent before the first call.

    What a method returns is a reply, or, on the channel of an event loop, what is to be awaited for it.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.methods: dict[str, Callable[..., Any]] = {
            name: channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=_serialized,
                response_deserializer=reply.FromString,
            )
            for name, reply in _REPLIES.items()
        }
        self.stream: Callable[..., Any] = channel.stream_stream(
            f"/{SERVICE}/{STREAM}",
            request_serializer=_serialized,
            response_deserializer=wire.PredictResponse.FromString,
        )


class Connections(Generic[Channel]):
    """Up to `count` connections, opened as they are needed; threads may share them.

    The kernel gives each to one of the workers that listen on the port, so that a single one would keep a
    single worker busy.
    """

    def __init__(self, address: str, count: int, channel: Callable[[], Channel]) -> None:
        if count < 1:
            raise ValueError(f"connections must be at least 1, got {count}")
        self._address = address
        self._channel = channel
        self._turns = itertools.cycle(range(count))
        self._opened: dict[int, Connection[Channel]] = {}
        self._closed = False
        self._lock = threading.Lock()

    def next(self) -> Connection[Channel]:
        """Return the connection whose turn it is; raises ValueError after `close`."""
        with self._lock:
            if self._closed:
                raise ValueError(f"the client of {self._address} is closed")
            turn = next(self._turns)
            if turn not in self._opened:
                self._opened[turn] = Connection(self._channel())
            return self._opened[turn]

    def close(self) -> list[Channel]:
        """Open no more; return the channels that are left to be closed, the second time none."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, {}
        return [connection.channel for connection in opened.values()]


def options(address: str, *, retry: bool) -> list[tuple[str, str | int]]:
    """Return how gRPC is to treat the channels to an address."""
    # Of several addresses all are used; one that does not answer is left out until it does.
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if "," in address or address.startswith("dns:"):
        # A server that drains says so by its health, before it refuses anything.
        config["healthCheckConfig"] = {"serviceName": ""}
    if retry:
        config["methodConfig"] = [{"name": [{"service": SERVICE}], "retryPolicy": _RETRIES}]
    return [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # gRPC would ask the proxy of `http_proxy` for this very machine too.
        ("grpc.enable_http_proxy", int(not on_this_machine(address))),
        # gRPC would let all channels to an address share one connection.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_retries", int(retry)),
        ("grpc.per_rpc_retry_buffer_size", _KEPT),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_AT_MOST),
    ]


def _serialized(message: Any) -> bytes:
    packed: bytes = message.SerializeToString()
    return packed
