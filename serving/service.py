"""The servicer of ordinal.v1: parse, look up, convert, run, convert."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from serving import convert, policies
from serving.errors import InvalidRequest, OrdinalError, Unavailable
from serving.quote import quoted
from serving.repository import Repository
from serving.wire import ordinal_pb2 as wire

NAME: str = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name

# Details travel in HTTP/2 headers, of which gRPC accepts 8 KiB; escaping may triple a message.
_LONGEST_MESSAGE = 1000

logger = logging.getLogger(__name__)

_Request = TypeVar("_Request", bound=Message)


class OrdinalService:
    """Answers `Predict` and `GetModel` from the repository, while there is one."""

    def __init__(self, threads: int) -> None:
        self._repository: Repository | None = None
        self._absence = "the service is loading its models"
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._accepted: set[Future[bytes]] = set()

    def open(self, repository: Repository) -> None:
        """Answer from this repository from now on."""
        self._repository = repository

    def close(self) -> None:
        """Refuse what comes from now on; what was accepted, running or waiting, goes on."""
        self._repository = None
        self._absence = "the service is shutting down"

    def abandon(self) -> int:
        """Forget what waits; return how many runs go on, since onnxruntime cannot be interrupted."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        return sum(work.running() for work in self._accepted)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to register.

        They take and return bytes: gRPC's own parsing answers UNKNOWN to bytes that are no message.
        """
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Predict": self._handler("Predict", wire.PredictRequest, self._predict),
                "GetModel": self._handler("GetModel", wire.GetModelRequest, self._get_model),
            },
        )

    @staticmethod
    def _predict(repository: Repository, request: wire.PredictRequest) -> wire.PredictResponse:
        served = repository.lookup(request.model, request.version)
        manifest = served.artifact.manifest
        rows = convert.rows_of(request, manifest.inputs)
        rules = policies.rules_of(
            request.policies, served.profiles, manifest.default_profile, manifest.labels
        )
        cost = policies.stacked_cost(rules, request.tensor.shape[0])
        return convert.prediction(request, served, rules, served.artifact.run(rows, cost))

    @staticmethod
    def _get_model(repository: Repository, request: wire.GetModelRequest) -> wire.Model:
        return convert.description(repository.lookup(request.model, request.version))

    def _live(self) -> Repository:
        if self._repository is None:
            raise Unavailable(self._absence)
        return self._repository

    def _handler(
        self, name: str, kind: type[_Request], method: Callable[[Repository, _Request], Message]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of one method: it runs on a thread, so that health is answered meanwhile."""

        def answer(repository: Repository, received: bytes) -> bytes:
            request = _parsed(kind, received)
            try:
                return method(repository, request).SerializeToString()
            except OrdinalError as error:
                logger.info("%s refused, request id %s: %s", name, _request_id(request), _cut(str(error)))
                raise
            except Exception as error:  # the caller gets a number; what happened stays in the log
                number = secrets.token_hex(6)
                logger.exception("%s failed, request id %s: error %s", name, _request_id(request), number)
                raise OrdinalError(f"internal error {number}; the service's log tells more") from error

        async def handle(received: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            try:
                # Whoever is accepted here is answered, also when a drain begins before a thread is free.
                work = self._executor.submit(answer, self._live(), received)
                self._accepted.add(work)
                work.add_done_callback(self._accepted.discard)
                return await asyncio.wrap_future(work)
            except OrdinalError as error:
                await _refuse(context, error)

        return grpc.unary_unary_rpc_method_handler(handle)


async def _refuse(context: grpc.aio.ServicerContext[bytes, bytes], error: OrdinalError) -> NoReturn:
    message = _cut(str(error))
    if not isinstance(error, InvalidRequest):
        await context.abort(error.status, message)
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=error.field, description=_cut(error.message)
    )
    status = status_pb2.Status(code=error.status.value[0], message=message)
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    await context.abort(error.status, message, (("grpc-status-details-bin", status.SerializeToString()),))


def _cut(message: str) -> str:
    kept = message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore")
    return kept if kept == message else f"{kept}…"


def _parsed(kind: type[_Request], received: bytes) -> _Request:
    try:
        return kind.FromString(received)
    except DecodeError as error:
        raise InvalidRequest(
            "", f"these {len(received)} bytes are no {kind.DESCRIPTOR.full_name}"
        ) from error


def _request_id(request: Message) -> str:
    return quoted(request.request_id) if isinstance(request, wire.PredictRequest) else "''"
