"""Mutated messages to every method: what the service answers to each, and whether it stays well."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import messages
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]
from mutations import Mutations

from serving.wire import inference_pb2, ordinal_pb2

AT_ONCE = 16
_DEADLINE = 30.0  # seconds
# What gRPC's asyncio client says in place of the service's status where it was still sending when that
# came: https://github.com/grpc/grpc/issues/36066
_LOST = "Internal error from Core"
_TRIES = 20

ALLOWED = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"})
"""How a call may end, whatever was sent."""

_ORDINAL = messages.PREDICT.rpartition("/")[0]
_INFERENCE = messages.MODEL_INFER.rpartition("/")[0]
_HEALTH = "/grpc.health.v1.Health"
_REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@dataclass(frozen=True)
class Method:
    """A method, and good messages for it."""

    path: str
    kind: type[Message]
    good: Sequence[bytes]
    stream: bool = False
    endless: bool = False
    """Whether its replies do not end by themselves."""

    @property
    def name(self) -> str:
        """Without its service."""
        return self.path.rpartition("/")[2]


@dataclass(eq=False)
class Seen:
    """How calls of a method have ended."""

    statuses: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Status, text and message of those that must not be."""

    def note(self, status: str, text: str, message: bytes) -> None:
        """Count a call."""
        self.statuses[status] += 1
        if status not in ALLOWED:
            self.bad.append((status, text, message))


def methods(model: str, predict: Sequence[bytes], infer: Sequence[bytes]) -> list[Method]:
    """Return all methods of all services, with good messages about a model."""
    plain = {
        "GetModel": ordinal_pb2.GetModelRequest(model=model, version="0"),
        "ListModels": ordinal_pb2.ListModelsRequest(),
        "RecordOutcome": ordinal_pb2.RecordOutcomeRequest(
            request_id="7", outcomes=[ordinal_pb2.Outcome(row=0, label="grade 1")]
        ),
    }
    inference = {
        "ServerLive": inference_pb2.ServerLiveRequest(),
        "ServerReady": inference_pb2.ServerReadyRequest(),
        "ModelReady": inference_pb2.ModelReadyRequest(name=model, version="0"),
        "ServerMetadata": inference_pb2.ServerMetadataRequest(),
        "ModelMetadata": inference_pb2.ModelMetadataRequest(name=model, version="0"),
    }
    health = [health_pb2.HealthCheckRequest(service=name).SerializeToString() for name in (model, "")]
    return [
        Method(messages.PREDICT, ordinal_pb2.PredictRequest, predict),
        Method(messages.PREDICT_STREAM, ordinal_pb2.PredictRequest, predict, stream=True),
        *(Method(f"{_ORDINAL}/{n}", type(m), [m.SerializeToString()]) for n, m in plain.items()),
        Method(messages.MODEL_INFER, inference_pb2.ModelInferRequest, infer),
        *(Method(f"{_INFERENCE}/{n}", type(m), [m.SerializeToString()]) for n, m in inference.items()),
        Method(f"{_HEALTH}/Check", health_pb2.HealthCheckRequest, health),
        Method(f"{_HEALTH}/Watch", health_pb2.HealthCheckRequest, health, endless=True),
        Method(_REFLECT, reflection_pb2.ServerReflectionRequest, list(_reflect()), stream=True),
    ]


def _reflect() -> Iterator[bytes]:
    """Yield a message of each kind that server reflection knows."""
    request = reflection_pb2.ServerReflectionRequest
    extension = reflection_pb2.ExtensionRequest(
        containing_type="google.protobuf.MessageOptions", extension_number=1
    )
    for one in (
        request(list_services=""),
        request(file_by_filename="ordinal.proto"),
        request(file_containing_symbol="ordinal.v1.OrdinalService"),
        request(file_containing_extension=extension),
        request(all_extension_numbers_of_type="google.protobuf.MessageOptions"),
    ):
        yield one.SerializeToString()


async def fuzz(address: str, method: Method, count: int, seed: int) -> Seen:
    """Send so many mutated messages to a method, and return how that ended."""
    seen, mutations = Seen(), Mutations(method.kind, method.good, seed)
    left = iter(range(count))
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        unary, stream = channel.unary_unary(method.path), channel.stream_stream(method.path)
        endless = channel.unary_stream(method.path)

        async def ask(message: bytes, around: Sequence[bytes]) -> tuple[str, str]:
            try:
                if method.stream:
                    async for _ in stream(iter([*around, message, *around]), timeout=_DEADLINE):
                        pass
                elif method.endless:
                    watched = endless(message, timeout=_DEADLINE)
                    await watched.read()
                    watched.cancel()
                else:
                    await unary(message, timeout=_DEADLINE)
            except grpc.aio.AioRpcError as error:
                return error.code().name, error.details() or ""
            return "OK", ""

        async def caller() -> None:
            for number in left:
                message = mutations.next()
                # Good ones around it, now and then: the first must be answered.
                around = [method.good[0]] if number % 4 == 0 else []
                for _ in range(_TRIES):
                    status, text = await ask(message, around)
                    if text != _LOST:
                        break
                seen.note(status, text, message)

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return seen


def keep(seen: Seen, name: str, folder: Path) -> None:
    """Write down the messages that ended as none may, so that they can be sent again."""
    for number, (status, text, message) in enumerate(seen.bad[:20]):
        (folder / f"{name}-{number}.bin").write_bytes(message)
        (folder / f"{name}-{number}.txt").write_text(f"{status}: {text}\n", encoding="utf-8")
