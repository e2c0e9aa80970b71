"""What clients ask, and how they read what comes back, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from serving.answers import Prediction, prediction
from serving.model_info import ModelInfo, model_info
from serving.requests import Output, Policy, Rows, prediction_request
from serving.wire import ordinal_pb2 as wire

SERVICE: str = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name
STREAM = "PredictStream"
"""The method whose requests and replies are those of `Predict`."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Exchange(Generic[Answer]):
    """A call of one request and one reply.

    Attributes:
        method: Name of it.
        request: The message that is sent.
        read: Makes an answer of the message that comes back.
    """

    method: str
    request: Message
    read: Callable[[Any], Answer]


def predict(
    rows: Rows,
    model: str,
    version: str,
    policies: Sequence[str | Policy],
    coverage: float | None,
    outputs: Sequence[Output],
    request_id: str,
) -> Exchange[Prediction]:
    """Ask about rows; arguments and errors as those of `Client.predict`."""
    request = prediction_request(rows, model, version, policies, coverage, outputs, request_id)
    return Exchange("Predict", request, prediction)


def model(name: str, version: str) -> Exchange[ModelInfo]:
    """Ask what a model is."""
    return Exchange("GetModel", wire.GetModelRequest(model=name, version=version), model_info)


def models() -> Exchange[list[ModelInfo]]:
    """Ask what all models are."""
    return Exchange("ListModels", wire.ListModelsRequest(), _models)


def _models(reply: wire.ListModelsResponse) -> list[ModelInfo]:
    return [model_info(one) for one in reply.models]
