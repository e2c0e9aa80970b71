"""The least that a Python server can be: it answers any request with bytes that it was given before.

`python echo.py FILE…` serves `/echo/unary0` and `/echo/stream0` with the bytes of the first file, and so
on. It runs on the same event loop as the service, and does nothing beside.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import uvloop


def handlers(number: int, reply: bytes) -> dict[str, grpc.RpcMethodHandler]:
    """Return the two methods that answer with `reply`."""

    async def unary(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return reply

    async def stream(
        requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield reply

    return {
        f"unary{number}": grpc.unary_unary_rpc_method_handler(unary),
        f"stream{number}": grpc.stream_stream_rpc_method_handler(stream),
    }


async def serve(replies: list[bytes]) -> None:
    """Answer until the process is ended."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods: dict[str, grpc.RpcMethodHandler] = {}
    for number, reply in enumerate(replies):
        methods |= handlers(number, reply)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"SERVING on 127.0.0.1:{port}, fixed replies", file=sys.stderr, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve([Path(path).read_bytes() for path in sys.argv[1:]]))
