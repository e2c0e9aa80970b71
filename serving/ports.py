"""The address of a service: taken by one service alone, and shared by its workers."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from serving.errors import AddressError

_WILDCARDS = ("0.0.0.0", "::")  # gRPC makes one socket for both families of either


class Reserved:
    """A port that only those who know of it listen on, until it is closed.

    Workers share the port by SO_REUSEPORT, which by itself lets in a second service unseen. Against that
    stand a lock, and a socket that is bound and never listens: it gets no connections, and keeps others off
    while no worker is there.
    """

    def __init__(self, host: str, port: int) -> None:
        """Reserve a port; 0 for any free one.

        Raises AddressError where it cannot be listened on.
        """
        with ExitStack() as undone:
            try:
                family, address = _resolved(host, port)
                if port:
                    undone.enter_context(_lock(address))
                    _bound(family, address, socket.SO_REUSEADDR).close()  # refused by whoever listens there
                held = undone.enter_context(_held(family, address))
            except (OSError, OverflowError) as error:
                raise _refusal(host, port, error) from error
            self.port: int = held.getsockname()[1]
            self._undone = undone.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undone.close()


def check(host: str, port: int) -> None:
    """Bind an address for a moment: the system's reason for refusing is clearer than gRPC's.

    Raises AddressError where it cannot be listened on.
    """
    try:
        _bound(*_resolved(host, port), socket.SO_REUSEADDR).close()
    except (OSError, OverflowError) as error:
        raise _refusal(host, port, error) from error


def joined(host: str, port: int) -> str:
    """Return `host:port` as gRPC reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parted(address: str, host: str) -> tuple[str, int]:
    """Return host and port of an address; of `:PORT` the host given.

    Raises AddressError where it has no port.
    """
    named, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressError(
            f"an address must be HOST:PORT, where PORT is a number up to 65535, got {address!r}"
        )
    return named.removeprefix("[").removesuffix("]") or host, int(port)


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    if host in _WILDCARDS and socket.has_dualstack_ipv6():
        return socket.AF_INET6, ("::", port)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _bound(family: socket.AddressFamily, address: tuple[str, int], *options: int) -> socket.socket:
    """Return a socket that is bound, and does not listen."""
    with ExitStack() as undone:
        made = undone.enter_context(socket.socket(family, socket.SOCK_STREAM))
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        made.bind(address)
        undone.pop_all()
    return made


def _held(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    try:
        # Without SO_REUSEADDR, so that the sockets of other services cannot be bound beside it.
        return _bound(family, address, socket.SO_REUSEPORT)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # What has listened here a minute ago has left connections that the kernel still waits for.
        return _bound(family, address, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _lock(address: tuple[str, int]) -> socket.socket:
    """Return what no other process has as long as it is open; the kernel closes it for the dead."""
    with ExitStack() as undone:
        lock = undone.enter_context(socket.socket(socket.AF_UNIX))
        lock.bind(f"\0ordinal-serving {joined(*address)}")
        undone.pop_all()
    return lock


def _refusal(host: str, port: int, error: OSError | OverflowError) -> AddressError:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    hint = "; another service may be running there, or use --port 0" if taken else ""
    return AddressError(f"cannot listen on {joined(host, port)}: {reason}{hint}")
