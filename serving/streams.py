"""How a stream of requests becomes a gRPC handler: answered in order, read ahead as far as is good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from serving.calls import CANCELLED, OK, Context, Counted, Start, refuse, status_of
from serving.errors import Exhausted, OrdinalError

if TYPE_CHECKING:
    from serving.traces import Trace

# What is read of a stream before the reply to the first of it is sent:
_AHEAD = 64  # messages
_AHEAD_BYTES = 2**23


def streamed(start: Start, counted: Counted, closed: asyncio.Event) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of a method with many requests on a stream, answered in order.

    The first one that is refused ends the stream. Once `closed` is set no more are read, and those that
    were are answered. As long as replies come at once, requests are read one at a time; from the first one
    that is queued on they are begun as they come, up to a limit ahead of the replies.
    """

    async def handle(_: AsyncIterator[bytes], context: Context) -> None:
        stream = _Stream(context, start, counted)
        closing = asyncio.create_task(closed.wait())
        closing.add_done_callback(lambda _: stream.close())
        counted.under_way += 1
        if counted.tracer is not None:
            stream.trace = counted.tracer.begin(context, counted.method)
        try:
            while (received := await stream.read()) is not None:
                began = time.perf_counter()
                reply = stream.begin(received)
                if isinstance(reply, bytes):
                    del received
                    await stream.send(reply, began)
                else:
                    await stream.go_ahead(reply, len(received), began)
            if stream.ended:
                stream.code = OK
            else:
                stream.code = grpc.StatusCode.UNAVAILABLE.name
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is shutting down")
        finally:
            closing.cancel()
            counted.under_way -= 1
            if stream.trace is not None:
                stream.trace.end(stream.code)

    return grpc.stream_stream_rpc_method_handler(handle)


class _Stream:
    """One stream: its requests are begun in order, and answered in order."""

    def __init__(self, context: Context, start: Start, counted: Counted) -> None:
        self._context = context
        self._start = start
        self._counted = counted
        self._number = 0
        self._reader: asyncio.Task[Any] | None = None  # while it waits for the caller
        self._closed = self._cut_off = False
        self.ended = False  # by the caller, who sends no more
        self.code = CANCELLED  # that it ends with, as far as is known
        self.trace: Trace | None = None

    async def read(self) -> bytes | None:
        """Return the next request; None where no more come, or no more shall."""
        if self._closed or self.ended:
            return None
        task = self._reader = asyncio.current_task()
        try:
            received: object = await self._context.read()
        except OrdinalError as error:  # what stands before all calls ends the stream
            self.code = status_of(error).name
            raise
        except asyncio.CancelledError:
            if task is None or not self._cut_off:
                raise
            task.uncancel()
            return None
        finally:
            self._reader = None
        if isinstance(received, bytes):
            return received
        self.ended = True
        return None

    def close(self) -> None:
        """Read no more."""
        self._closed = True
        if self._reader is not None:
            self._cut_off = True
            self._reader.cancel()

    def begin(self, received: bytes) -> bytes | asyncio.Future[bytes]:
        """Begin to answer a request; a refusal comes as a future, so that it waits for its turn."""
        if self._counted.tracer is not None:
            self._counted.tracer.again(self.trace)
        try:
            reply = self._start(received, self._context)
        except Exception as error:  # noqa: BLE001 - as for a single call
            refused: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused
        return reply if isinstance(reply, bytes) else asyncio.wrap_future(reply)

    async def send(self, reply: bytes, began: float) -> None:
        """Send the next reply, to a request that came at `began`."""
        self._counted.done(OK, time.perf_counter() - began)
        self._number += 1
        await self._context.write(reply)

    async def go_ahead(self, reply: asyncio.Future[bytes], size: int, began: float) -> None:
        """Read the rest of the stream ahead of the replies, the first of which is on its way."""
        ahead = _Ahead()
        await ahead.enter(size)
        ahead.begun.put_nowait((reply, size, began))
        reading = asyncio.create_task(self._read_ahead(ahead))
        try:
            while (begun := await ahead.begun.get()) is not None:
                waiting, size, began = begun
                reply_ = waiting if isinstance(waiting, bytes) else await self._awaited(waiting, began)
                await self.send(reply_, began)
                ahead.leave(size)
            await reading
        finally:
            reading.cancel()
            if reading.done() and not reading.cancelled():
                reading.exception()  # what ends the stream is known already
            ahead.cancel()

    async def _read_ahead(self, ahead: _Ahead) -> None:
        """Begin what comes, until the caller is done or the service closes."""
        try:
            while (received := await self.read()) is not None:
                await ahead.enter(len(received))
                began = time.perf_counter()
                begun = self.begin(received)
                # Where the queue is full of what this stream has sent ahead, it need not be refused.
                while _is_too_much(begun) and await ahead.one_left():
                    begun = self.begin(received)
                ahead.begun.put_nowait((begun, len(received), began))
        finally:
            ahead.begun.put_nowait(None)

    async def _awaited(self, waiting: asyncio.Future[bytes], began: float) -> bytes:
        code = CANCELLED
        try:
            reply = await waiting
            code = OK
            return reply
        except Exception as error:  # noqa: BLE001 - as for a single call
            code = self.code = status_of(error).name
            await refuse(self._context, error, f"message {self._number} of the stream: ")
        finally:
            if code != OK:
                self._counted.done(code, time.perf_counter() - began)


def _is_too_much(begun: bytes | asyncio.Future[bytes]) -> bool:
    if isinstance(begun, bytes) or not begun.done() or begun.cancelled():
        return False
    return isinstance(begun.exception(), Exhausted)


_Begun = tuple[bytes | asyncio.Future[bytes], int, float]
"""A reply, now or later; the bytes of its request; when that came."""


class _Ahead:
    """The requests of a stream that are begun and whose replies are not sent yet."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[_Begun | None] = asyncio.Queue()
        self._count = self._bytes = 0
        self._changed = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room for a request of so many bytes; one alone always has room."""
        while self._count and (self._count >= _AHEAD or self._bytes + size > _AHEAD_BYTES):
            self._changed.clear()
            await self._changed.wait()
        self._count += 1
        self._bytes += size

    async def one_left(self) -> bool:
        """Wait until a request has left, and return true; false where there is none but the newest."""
        if self._count <= 1:
            return False
        self._changed.clear()
        await self._changed.wait()
        return True

    def leave(self, size: int) -> None:
        """Make room: the reply to a request of so many bytes is on its way."""
        self._count -= 1
        self._bytes -= size
        self._changed.set()

    def cancel(self) -> None:
        """Forget what is begun."""
        while not self.begun.empty():
            left = self.begun.get_nowait()
            if left is None or isinstance(left[0], bytes):
                continue
            if not left[0].cancel() and not left[0].cancelled():
                left[0].exception()  # nobody wants to know, and asyncio would tell that in the log
