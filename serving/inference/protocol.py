"""The servicer of the Open Inference Protocol: look up, convert, ask the graph, convert."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from serving import calls
from serving.artifact import Answer
from serving.batching import Batching
from serving.errors import InvalidRequest, ModelNotFound, Unavailable
from serving.inference import metadata
from serving.inference.asked import Asked, read
from serving.inference.model import Model
from serving.inference.reply import reply
from serving.question import Question
from serving.repository import Repository, Served
from serving.tallies import Version
from serving.telemetry import Telemetry
from serving.unsent import Unsent
from serving.waiting import Caller
from serving.wire import inference_pb2 as wire

NAME: str = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

_Request = TypeVar("_Request", bound=Message)


class InferenceService:
    """Answers the calls of the protocol from what is served."""

    def __init__(
        self,
        live: Callable[[], Repository],
        batching: Batching,
        telemetry: Telemetry,
        ready: Callable[[str], bool],
    ) -> None:
        """Answer from what is served.

        Args:
            live: Returns it; raises Unavailable while there is nothing.
            batching: Runs the graphs.
            telemetry: Where calls are counted.
            ready: Whether a model, or with no name the service, is ready for requests; not from the
                moment on that a drain begins, while those that come still are answered.
        """
        self._live = live
        self._ready = ready
        self._batching = batching
        self._telemetry = telemetry
        # A version that is no longer served is forgotten with the last request about it.
        self._models: weakref.WeakKeyDictionary[Served, Model] = weakref.WeakKeyDictionary()

    def handlers(self, unsent: Unsent) -> grpc.GenericRpcHandler:
        """Return the handlers to register; they take and return bytes, as those of ordinal.v1 do.

        Large replies are counted in `unsent`.
        """
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "ServerLive": self._plain("ServerLive", wire.ServerLiveRequest, _live, told=False),
                "ServerReady": self._plain(
                    "ServerReady", wire.ServerReadyRequest, self._server_ready, told=False
                ),
                "ModelReady": self._plain("ModelReady", wire.ModelReadyRequest, self._model_ready),
                "ServerMetadata": self._plain("ServerMetadata", wire.ServerMetadataRequest, _metadata),
                "ModelMetadata": self._plain(
                    "ModelMetadata", wire.ModelMetadataRequest, self._model_metadata
                ),
                "ModelInfer": calls.unary(self._infer, self._telemetry.call("ModelInfer"), unsent),
            },
        )

    def _infer(self, received: bytes, caller: Caller) -> bytes | Future[bytes]:
        work = _Inference(self._live(), self._model, received, self._telemetry)
        return self._batching.submit(work, caller)

    def _model(self, served: Served) -> Model:
        model = self._models.get(served)
        if model is None:
            model = self._models[served] = Model(served)
        return model

    def _plain(
        self, name: str, kind: type[_Request], method: Callable[[_Request], Message], *, told: bool = True
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of a method that runs no graph.

        A wrong request is `told` in the log, but not where anybody may call, with as many as they like.
        """

        def answer(received: bytes, _: Caller) -> bytes:
            try:
                return method(calls.parsed(kind, received)).SerializeToString()
            except Exception as error:  # whatever it is, the caller is told
                if isinstance(error, InvalidRequest) and not told:
                    raise
                raise calls.failure(name, "", error) from None

        return calls.unary(answer, self._telemetry.call(name))

    def _server_ready(self, _: wire.ServerReadyRequest) -> wire.ServerReadyResponse:
        return wire.ServerReadyResponse(ready=self._ready(""))

    def _model_ready(self, request: wire.ModelReadyRequest) -> wire.ModelReadyResponse:
        try:
            served = self._live().lookup(request.name, request.version)
        except (Unavailable, ModelNotFound):
            return wire.ModelReadyResponse(ready=False)
        return wire.ModelReadyResponse(ready=self._ready(f"{served.name}/{served.version}"))

    def _model_metadata(self, request: wire.ModelMetadataRequest) -> wire.ModelMetadataResponse:
        repository = self._live()
        served = repository.lookup(request.name, request.version)
        versions = sorted((one.version for one in repository if one.name == served.name), key=int)
        return metadata.model(served.name, versions, self._model(served))


class _Inference:
    """A request to infer, as `batching.Work`."""

    def __init__(
        self,
        repository: Repository,
        model_of: Callable[[Served], Model],
        received: bytes,
        telemetry: Telemetry,
    ) -> None:
        self.size = len(received)
        self._telemetry = telemetry
        self._trace = telemetry.trace
        self._counts: Version | None = None
        self._repository = repository
        self._model_of = model_of
        self._received = received
        self._id = ""
        self._raw = False
        self._model: Model
        self._asked: Asked

    def question(self) -> Question:
        request = calls.parsed(wire.ModelInferRequest, self._received)
        self._received = b""
        self._id = request.id
        self._raw = bool(request.raw_input_contents)
        served = self._repository.lookup(request.model_name, request.model_version)
        self._counts = self._telemetry.version(served)
        self._model = self._model_of(served)
        self._asked = read(request, self._model)
        question = self._asked.question
        question.counts = self._counts
        return question

    def reply(self, answer: Answer) -> bytes:
        _, outputs, rules = self._asked
        if self._counts is not None:
            self._counts.answered(answer, rules or ())
        return reply(self._model.heading(outputs, rules), self._id, outputs, answer, raw=self._raw)

    def failure(self, error: Exception) -> Exception:
        return calls.failure("ModelInfer", self._id, error, self._counts, self._trace)


def _live(_: wire.ServerLiveRequest) -> wire.ServerLiveResponse:
    return wire.ServerLiveResponse(live=True)


def _metadata(_: wire.ServerMetadataRequest) -> wire.ServerMetadataResponse:
    return metadata.server()
