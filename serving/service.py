"""The servicer of ordinal.v1: look up, convert, ask the graph, convert."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import NoReturn, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from serving import calls, policies, replies, streams
from serving.artifact import Answer
from serving.batching import Batching
from serving.errors import InvalidRequest, Unavailable, Unimplemented
from serving.policies import Rule
from serving.question import Question
from serving.repository import Repository, Served
from serving.rows import rows_of
from serving.tallies import Version
from serving.telemetry import Telemetry
from serving.unsent import Unsent
from serving.waiting import Caller
from serving.wire import ordinal_pb2 as wire

NAME: str = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name

_Request = TypeVar("_Request", bound=Message)


class OrdinalService:
    """Answers the calls of ordinal.v1 from the repository, while there is one."""

    def __init__(self, batching: Batching, telemetry: Telemetry) -> None:
        self._repository: Repository | None = None
        self._absence = "the service is loading its models"
        self._closed = asyncio.Event()
        self._batching = batching
        self._telemetry = telemetry

    def open(self, repository: Repository) -> None:
        """Answer from this repository from now on."""
        self._repository = repository

    def close(self) -> None:
        """Refuse what comes from now on; what was accepted, running or waiting, goes on."""
        self._repository = None
        self._absence = "the service is shutting down"
        self._closed.set()

    def abandon(self) -> int:
        """Forget what waits; return how many requests go on, since onnxruntime cannot be interrupted."""
        return self._batching.abandon()

    def live(self) -> Repository:
        """Return what is served; raises Unavailable while nothing is."""
        if self._repository is None:
            raise Unavailable(self._absence)
        return self._repository

    def handlers(self, unsent: Unsent) -> grpc.GenericRpcHandler:
        """Return the handlers to register; large replies are counted in `unsent`.

        They take and return bytes: gRPC's own parsing answers UNKNOWN to bytes that are no message.
        """
        stream = self._telemetry.call("PredictStream")
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Predict": calls.unary(self._predict, self._telemetry.call("Predict"), unsent),
                "PredictStream": streams.streamed(self._predict, stream, self._closed),
                "GetModel": self._plain("GetModel", wire.GetModelRequest, _get_model),
                "ListModels": self._plain("ListModels", wire.ListModelsRequest, _list_models),
                "RecordOutcome": self._plain("RecordOutcome", wire.RecordOutcomeRequest, _record_outcome),
            },
        )

    def _predict(self, received: bytes, caller: Caller) -> bytes | Future[bytes]:
        # Whoever is accepted here is answered, also when a drain begins before a thread is free.
        return self._batching.submit(_Prediction(self.live(), received, self._telemetry), caller)

    def _plain(
        self, name: str, kind: type[_Request], method: Callable[[Repository, _Request], Message]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of a method that runs no graph."""

        def answer(received: bytes, _: Caller) -> bytes:
            try:
                return method(self.live(), calls.parsed(kind, received)).SerializeToString()
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
                raise calls.failure(name, "", error) from None

        return calls.unary(answer, self._telemetry.call(name))


class _Prediction:
    """A request to predict, as `batching.Work`."""

    def __init__(self, repository: Repository, received: bytes, telemetry: Telemetry) -> None:
        self.size = len(received)
        self._telemetry = telemetry
        self._trace = telemetry.trace
        self._counts: Version | None = None
        self._repository = repository
        self._received = received
        self._request = wire.PredictRequest()
        self._served: Served
        self._rules: list[Rule]
        self._outputs: frozenset[int]

    def question(self) -> Question:
        request = self._request = calls.parsed(wire.PredictRequest, self._received)
        self._received = b""
        served = self._served = self._repository.lookup(request.model, request.version)
        counts = self._counts = self._telemetry.version(served)
        manifest = served.artifact.manifest
        self._outputs = replies.outputs_of(request)
        rows = rows_of(request, served.inputs)
        count = len(next(iter(rows.values())))
        labels = len(manifest.labels)
        if count * labels > policies.MAX_COSTS:
            raise InvalidRequest(
                request.WhichOneof("rows") or "",
                f"rows × labels must be at most {policies.MAX_COSTS}, got {count} × {labels}; "
                "send fewer at a time",
            )
        self._rules = policies.rules_of(
            request.policies, served.profiles, manifest.default_profile, manifest.labels, count
        )
        # Requests that leave these to the model share one object, which `batching` need not repeat.
        cost = policies.stacked_cost(self._rules) if request.policies else served.cost
        coverage = _coverage(request) if request.HasField("coverage") else served.coverage
        return Question(served.artifact, rows, cost, coverage, counts)

    def reply(self, answer: Answer) -> bytes:
        if self._counts is not None:
            self._counts.answered(answer, self._rules)
        return replies.prediction(self._request, self._served, self._rules, self._outputs, answer)

    def failure(self, error: Exception) -> Exception:
        return calls.failure("Predict", self._request.request_id, error, self._counts, self._trace)


def _coverage(request: wire.PredictRequest) -> NDArray[np.float32]:
    if not 0 < request.coverage < 1:  # NaN fails both comparisons
        raise InvalidRequest("coverage", f"must lie between 0 and 1, got {request.coverage:g}")
    return np.array([request.coverage], np.float32)


def _get_model(repository: Repository, request: wire.GetModelRequest) -> wire.Model:
    return _described(repository, repository.lookup(request.model, request.version))


def _list_models(repository: Repository, _: wire.ListModelsRequest) -> wire.ListModelsResponse:
    served = sorted(repository, key=lambda one: (one.name, int(one.version)))
    return wire.ListModelsResponse(models=[_described(repository, one) for one in served])


def _described(repository: Repository, served: Served) -> wire.Model:
    return replies.description(served, repository.refusals.get(served.name, ()))


def _record_outcome(_: Repository, request: wire.RecordOutcomeRequest) -> NoReturn:
    raise Unimplemented(
        f"outcomes are not kept yet: the true labels of {len(request.outcomes)} rows were not recorded"
    )
