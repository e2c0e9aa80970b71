"""A gRPC server that answers ListModels as a test wants, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

SERVICE = "ordinal.v1.OrdinalService"


@contextlib.contextmanager
def served_by(
    answer: Callable[[grpc.ServicerContext], bytes],
    credentials: grpc.ServerCredentials | None = None,
    **methods: Any,
) -> Iterator[str]:
    """The address of a server whose ListModels is `answer`; `methods` are handlers of others, by name."""
    handler = grpc.unary_unary_rpc_method_handler(lambda _, context: answer(context))
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"ListModels": handler, **methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def refuse(context: grpc.ServicerContext, milliseconds: int | None) -> bytes:
    """End a call for want of room, with the time to come again, as the service does, or without."""
    if milliseconds is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(milliseconds)
        status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full")
        status.details.add().Pack(info)
        context.set_trailing_metadata(
            [
                ("grpc-status-details-bin", status.SerializeToString()),
                ("grpc-retry-pushback-ms", str(milliseconds)),
            ]
        )
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    return b""
