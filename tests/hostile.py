"""Hostile callers on raw HTTP/2, which a gRPC library would not let one be."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = struct.pack(">I", 8)
INITIAL_WINDOW = 4  # a setting

PREDICT = "/ordinal.v1.OrdinalService/Predict"
STREAM = "/ordinal.v1.OrdinalService/PredictStream"
NAMES = {DATA: "data", HEADERS: "headers", RST_STREAM: "reset", GOAWAY: "goaway", SETTINGS: "settings"}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value: str | bytes) -> bytes:
    """A string of HPACK, as it is."""
    content = value if isinstance(value, bytes) else value.encode()
    if len(content) < 127:
        return bytes([len(content)]) + content
    left, length = len(content) - 127, bytearray([127])
    while left >= 128:
        length.append(left % 128 + 128)
        left //= 128
    return bytes(length) + bytes([left]) + content


def headers(path: str = PREDICT, metadata: Iterable[tuple[str, str]] = ()) -> bytes:
    """The headers of a gRPC call, each in full."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *metadata,
    )
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def message(content: bytes) -> bytes:
    """A message as gRPC frames it."""
    return b"\0" + struct.pack(">I", len(content)) + content


class Connection:
    """A connection that sends whatever it is told to; what comes back is counted and forgotten.

    It answers SETTINGS and PING, as long as it reads at all.
    """

    def __init__(self, address: str, *, window: int | None = None, reads: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 10)
        self._lock = threading.Lock()
        self.received: Counter[str] = Counter()
        self.ended = threading.Event()
        self._pongs = 0
        self._room = 2**16 - 1  # bytes that the service still takes on this connection
        self._more = threading.Condition()
        settings = b"" if window is None else struct.pack(">HI", INITIAL_WINDOW, window)
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reads:
            self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._reader.is_alive():
            self._reader.join(10)

    def send(self, content: bytes) -> None:
        """Send bytes; raises OSError where the service has cut off the connection."""
        with self._lock:
            self._socket.sendall(content)

    def ask(self, stream: int, block: bytes, content: bytes) -> None:
        """Send a call with one message, of less than 64 KiB, as soon as the service takes it.

        Raises OSError where it does not.
        """
        content = message(content)
        with self._more:
            if not self._more.wait_for(lambda: self._room >= len(content) or self.ended.is_set(), 30):
                raise TimeoutError("the service takes nothing for 30 s")
            self._room -= len(content)
        parts = [content[start : start + 2**14] for start in range(0, len(content), 2**14)]
        frames = [frame(DATA, END_STREAM if part is parts[-1] else 0, stream, part) for part in parts]
        self.send(frame(HEADERS, END_HEADERS, stream, block) + b"".join(frames))

    def settle(self, seconds: float = 60) -> bool:
        """Wait until the service has read all that was sent; false where it has cut off the connection."""
        answered = self._pongs
        self.send(frame(PING, 0, 0, bytes(8)))
        end = time.monotonic() + seconds
        while self._pongs == answered and not self.ended.is_set():
            if time.monotonic() > end:
                raise TimeoutError(f"the service has not answered a ping for {seconds:g} s")
            time.sleep(0.002)
        return not self.ended.is_set()

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as stream:
                while len(head := stream.read(9)) == 9:
                    size = int.from_bytes(head[:3], "big")
                    kind, flags = head[3], head[4]
                    payload = stream.read(size)
                    self.received[NAMES.get(kind, str(kind))] += 1
                    self.received["ended"] += kind == HEADERS and flags & END_STREAM
                    if kind == SETTINGS and not flags & ACK:
                        self.send(frame(SETTINGS, ACK, 0))
                    elif kind == WINDOW_UPDATE and not int.from_bytes(head[5:9], "big"):
                        with self._more:
                            self._room += int.from_bytes(payload, "big")
                            self._more.notify_all()
                    elif kind == PING and flags & ACK:
                        self._pongs += 1
                    elif kind == PING:
                        self.send(frame(PING, ACK, 0, payload))
        except OSError:
            pass  # cut off, or closed by us
        finally:
            self.ended.set()
            with self._more:
                self._more.notify_all()


def flood(
    address: str,
    streams: int,
    *,
    path: str = PREDICT,
    metadata: Iterable[tuple[str, str]] = (),
    at_once: int = 500,
    rest: float = 0.0,
) -> Counter[str]:
    """Open so many streams and drop each at once, without waiting for answers; return what came back.

    After each `at_once` of them it rests. Where the service cuts off the connection, another one goes on.
    """
    block = headers(path, metadata)
    back: Counter[str] = Counter()
    left = streams
    while left:
        with Connection(address) as connection:
            number = 1
            try:
                while left and number < 2**31 - 1 and not connection.ended.is_set():
                    some = min(at_once, left)
                    frames = []
                    for _ in range(some):
                        frames.append(frame(HEADERS, END_HEADERS, number, block))
                        frames.append(frame(RST_STREAM, 0, number, CANCEL))
                        number += 2
                    connection.send(b"".join(frames))
                    left -= some
                    time.sleep(rest)
                connection.settle()
            except OSError:
                back["cut off"] += 1
            back.update(connection.received)
    return back


@contextlib.contextmanager
def silent(address: str, connections: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that send only that, and then say nothing."""
    host, _, port = address.rpartition(":")
    opened: list[socket.socket] = []
    try:
        for _ in range(connections):
            opened.append(socket.create_connection((host, int(port)), 10))
            opened[-1].sendall(first)
        yield opened
    finally:
        for one in opened:
            one.close()


def closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes a connection within so many seconds."""
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(2**16):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False
