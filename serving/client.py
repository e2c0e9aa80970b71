"""The typed client: NumPy arrays in, NumPy arrays out.

```python
import numpy as np
from serving.client import Client, Policy

triage = Policy("triage", cost=np.array([[5, 0], [2, 1], [0, 9]]), actions=["page", "ignore"])
with Client("127.0.0.1:50051") as client:
    print(client.model().labels)
    answer = client.predict(np.zeros((2, 4), np.float32), policies=["absolute", triage])
    print(answer.probabilities, answer.decisions["triage"].chosen, answer.interval)
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from numpy.typing import ArrayLike

from serving.answers import Decision, Interval, Prediction, Uncertainty, prediction
from serving.errors import InvalidRequest, ModelNotFound, OrdinalError, Unavailable
from serving.model_info import ModelInfo, model_info
from serving.requests import Output, Policy, prediction_request
from serving.wire import ordinal_pb2 as wire

__all__ = [
    "Client",
    "Decision",
    "Interval",
    "ModelInfo",
    "OrdinalError",
    "Policy",
    "Prediction",
    "Uncertainty",
]

_SERVICE: str = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name
_DETAILS = "grpc-status-details-bin"
_THIS_MACHINE = ("127.", "localhost:", "[::1]:")

_Request = TypeVar("_Request", wire.PredictRequest, wire.GetModelRequest, wire.ListModelsRequest)
_Response = TypeVar("_Response", wire.PredictResponse, wire.Model, wire.ListModelsResponse)


class Client:
    """A connection to a service; close it, or use it in a `with` statement. Threads may share it."""

    def __init__(self, address: str = "127.0.0.1:50051") -> None:
        """Prepare to call `address`, `host:port`; nothing is sent yet."""
        self.address = address
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # gRPC would ask the proxy of `http_proxy` for this very machine too.
                ("grpc.enable_http_proxy", int(not address.startswith(_THIS_MACHINE))),
            ],
        )
        self._predict = self._method("Predict", wire.PredictRequest, wire.PredictResponse)
        self._get_model = self._method("GetModel", wire.GetModelRequest, wire.Model)
        self._list_models = self._method("ListModels", wire.ListModelsRequest, wire.ListModelsResponse)
        self._stream: grpc.StreamStreamMultiCallable[wire.PredictRequest, wire.PredictResponse] = (
            self._channel.stream_stream(
                f"/{_SERVICE}/PredictStream",
                request_serializer=wire.PredictRequest.SerializeToString,
                response_deserializer=wire.PredictResponse.FromString,
            )
        )

    def predict(
        self,
        rows: ArrayLike | Mapping[str, ArrayLike],
        model: str = "",
        version: str = "",
        policies: Sequence[str | Policy] = (),
        coverage: float | None = None,
        outputs: Sequence[Output] = (),
        request_id: str = "",
        timeout: float | None = 10.0,
    ) -> Prediction:
        """Return probabilities, expected values, decisions, intervals and uncertainty of rows.

        Args:
            rows: `(rows, *shape)`, `shape` being that of the model's input; float32 or uint8, as the model
                has it, other floats being sent as float32. Or a table: each feature's name with its
                column, in any order, and the only way for categories. A column is numbers, booleans being 0
                and 1, or texts. None stands for a missing value of either, NaN too: it is sent as NaN among
                numbers and as an empty text among texts. A column of None alone is taken for texts, so that
                one of numbers is written with NaN.
            model: Name; empty for the only model served.
            version: Number or alias; empty for the champion, or the only version served.
            policies: Names of the model's cost profiles, or policies of your own; as many decisions come
                back, from one run of the model. Empty: the default profile.
            coverage: Wanted coverage of the interval, in (0, 1). None: the model's own.
            outputs: What the prediction is to hold. Empty: all but `action_costs`.
            request_id: Returned with the prediction; in the service's log where the request fails.
            timeout: Seconds to wait; None for ever.

        Raises:
            TypeError: Rows of integers other than uint8, or of something else than numbers; a column of
                something else than numbers or texts, or of both.
            ValueError: A policy whose cost does not fit its actions, an unknown output.
            InvalidRequest: The service refuses the request; `field` names the part that is wrong.
            ModelNotFound: No such model or version is served.
            Unavailable: Nobody answers at the address, or the service is loading or draining.
            OrdinalError: Anything else, such as a timeout.

        Example:
            >>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
            ...     client.predict({"alcohol": [9.4], "pH": [3.51]}).decisions["absolute"].chosen
            ['5']
        """
        request = prediction_request(rows, model, version, policies, coverage, outputs, request_id)
        return prediction(self._call(self._predict, request, timeout))

    def predict_stream(
        self,
        batches: Iterable[ArrayLike | Mapping[str, ArrayLike]],
        model: str = "",
        version: str = "",
        policies: Sequence[str | Policy] = (),
        coverage: float | None = None,
        outputs: Sequence[Output] = (),
        timeout: float | None = None,
    ) -> Iterator[Prediction]:
        """Yield the prediction of each batch of rows, in order, over one stream.

        Batches are taken and sent ahead of the replies: an endless generator is read no further than the
        service and the network hold. What is refused ends the stream.

        Args:
            batches: Each as `rows` of `predict`, which has the other arguments and errors too; an error of
                the iterable's own ends the stream and is raised.
            model: Of all of them.
            version: Of all of them.
            policies: Of all of them.
            coverage: Of all of them.
            outputs: Of all of them.
            timeout: Seconds for the whole stream; None for ever.

        Example:
            >>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
            ...     for answer in client.predict_stream(np.array_split(rows, 100)):
            ...         print(answer.expected_value)
        """
        failed: list[Exception] = []

        def requests() -> Iterator[wire.PredictRequest]:
            try:
                for rows in batches:
                    yield prediction_request(rows, model, version, policies, coverage, outputs, "")
            except Exception as error:
                failed.append(error)  # gRPC would log it, and tell the caller that a call was cancelled
                raise

        stream = self._stream(requests(), timeout=timeout)
        try:
            for message in stream:
                yield prediction(message)
        except grpc.RpcError as error:
            if failed:
                raise failed[0] from None
            raise _raised(error, self.address) from error
        finally:
            stream.cancel()

    def model(self, name: str = "", version: str = "", timeout: float | None = 10.0) -> ModelInfo:
        """Describe a served model; `name` and `version` as `model` and `version` of `predict`.

        Raises:
            ModelNotFound: No such model or version is served.
            Unavailable: Nobody answers at the address, or the service is loading or draining.
            OrdinalError: Anything else, such as a timeout.
        """
        request = wire.GetModelRequest(model=name, version=version)
        return model_info(self._call(self._get_model, request, timeout))

    def models(self, timeout: float | None = 10.0) -> list[ModelInfo]:
        """Describe every version of every model that is served; raises as `model` does."""
        reply = self._call(self._list_models, wire.ListModelsRequest(), timeout)
        return [model_info(one) for one in reply.models]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def _method(
        self, name: str, request: type[_Request], response: type[_Response]
    ) -> grpc.UnaryUnaryMultiCallable[_Request, _Response]:
        return self._channel.unary_unary(
            f"/{_SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def _call(
        self, method: Callable[..., _Response], request: _Request, timeout: float | None
    ) -> _Response:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _raised(error, self.address) from error


def _raised(error: Any, address: str) -> OrdinalError:
    """Return the error of the tree that a failed call stands for."""
    code, details = error.code(), error.details()
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            return _invalid(details, dict(error.trailing_metadata() or ()).get(_DETAILS))
        case grpc.StatusCode.NOT_FOUND:
            return ModelNotFound(details)
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(f"{address}: {details}")
        case _:
            return OrdinalError(f"{code.name}: {details}")


def _invalid(details: str, packed: bytes | None) -> InvalidRequest:
    refused = error_details_pb2.BadRequest()
    if packed is not None:
        for detail in status_pb2.Status.FromString(packed).details:
            if detail.Unpack(refused) and refused.field_violations:
                violation = refused.field_violations[0]  # the service stops at the first
                return InvalidRequest(violation.field, violation.description)
    return InvalidRequest("", details)
