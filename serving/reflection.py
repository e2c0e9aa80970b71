"""Server reflection: the descriptors of every service that is served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]

from serving.calls import Context, parsed, refuse
from serving.errors import OrdinalError
from serving.wire.pool import POOL

NAME: str = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


def handlers(services: Sequence[str]) -> grpc.GenericRpcHandler:
    """Return the handlers to register, which describe these services and reflection itself.

    They take and return bytes: where gRPC reads messages itself, what is no message ends as UNKNOWN, with
    a traceback in the log.
    """
    servicer = reflection.aio.ReflectionServicer([*services, NAME], pool=reflection_pool())

    async def answer(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            async for received in messages:
                yield parsed(reflection_pb2.ServerReflectionRequest, received)

        try:
            async for reply in servicer.ServerReflectionInfo(requests(), context):
                yield reply.SerializeToString()
        except OrdinalError as error:
            await refuse(context, error)

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(answer)
    return grpc.method_handlers_generic_handler(NAME, {"ServerReflectionInfo": method})


def reflection_pool() -> DescriptorPool:
    """Return the pool of our own protos, with those of health and reflection beside them."""
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        # What is there already is added once.
        POOL.AddSerializedFile(file.serialized_pb)  # type: ignore[no-untyped-call]
    return POOL
