"""The typed client: NumPy arrays in, NumPy arrays out.

```python
import numpy as np
from serving.client import Client, Policy

triage = Policy("triage", cost=np.array([[5, 0], [2, 1], [0, 9]]), actions=["page", "ignore"])
with Client("127.0.0.1:50051") as client:
    print(client.model().labels)
    answer = client.predict(np.zeros((2, 4), np.float32), policies=["absolute", triage])
    print(answer.probabilities, answer.decisions["triage"].chosen)
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from numpy.typing import ArrayLike

from serving.answers import Decision, ModelInfo, Prediction, model_info, prediction
from serving.errors import InvalidRequest, ModelNotFound, OrdinalError, Unavailable
from serving.wire import ordinal_pb2 as wire

__all__ = ["Client", "Decision", "ModelInfo", "Policy", "Prediction"]

_SERVICE: str = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name
_DETAILS = "grpc-status-details-bin"

_Request = TypeVar("_Request", wire.PredictRequest, wire.GetModelRequest)
_Response = TypeVar("_Response", wire.PredictResponse, wire.Model)


@dataclass(frozen=True, eq=False)
class Policy:
    """Costs of the caller's own to decide by.

    Attributes:
        name: Returned with the decision; unique in a request.
        cost: `(K, A)`, `cost[true label, action]`; finite, not negative.
        actions: A names, at least two; left out, the actions are the labels and A = K.
    """

    name: str
    cost: ArrayLike
    actions: Sequence[str] = ()

    def message(self) -> wire.Policy:
        """The policy as it is sent; raises ValueError where `cost` is not `(K, A)`."""
        cost = np.asarray(self.cost, np.float32)
        if cost.ndim != 2 or (self.actions and cost.shape[1] != len(self.actions)):
            columns = f"{len(self.actions)}, one column for each action" if self.actions else "actions"
            raise ValueError(
                f"policy {self.name!r}: cost must be (labels, {columns}), got shape {cost.shape}"
            )
        matrix = wire.CostMatrix(actions=self.actions, cost=cost.ravel().tolist())
        return wire.Policy(name=self.name, cost=matrix)


class Client:
    """A connection to a service; close it, or use it in a `with` statement. Threads may share it."""

    def __init__(self, address: str = "127.0.0.1:50051") -> None:
        """Prepare to call `address`, `host:port`; nothing is sent yet."""
        self.address = address
        self._channel = grpc.insecure_channel(
            address,
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self._predict = self._method("Predict", wire.PredictRequest, wire.PredictResponse)
        self._get_model = self._method("GetModel", wire.GetModelRequest, wire.Model)

    def predict(
        self,
        rows: ArrayLike,
        model: str = "",
        version: str = "",
        policies: Sequence[str | Policy] = (),
        request_id: str = "",
        timeout: float | None = 10.0,
    ) -> Prediction:
        """Return probabilities, expected values and decisions for rows.

        Args:
            rows: `(rows, *shape)`, `shape` being that of the model's input; float32 or uint8, as the model
                has it. Other floats are sent as float32.
            model: Name; empty for the only model served.
            version: Number or alias; empty for the champion, or the only version served.
            policies: Names of the model's cost profiles, or policies of your own; as many decisions come
                back, from one run of the model. Empty: the default profile.
            request_id: Returned with the prediction; in the service's log where the request fails.
            timeout: Seconds to wait; None for ever.

        Raises:
            TypeError: Rows of integers other than uint8, or of something else than numbers.
            ValueError: A policy whose cost does not fit its actions.
            InvalidRequest: The service refuses the request; `field` names the part that is wrong.
            ModelNotFound: No such model or version is served.
            Unavailable: Nobody answers at the address, or the service is loading or draining.
            OrdinalError: Anything else, such as a timeout.

        Example:
            >>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
            ...     client.predict(np.zeros((2, 4), np.float32)).probabilities.shape
            (2, 5)
        """
        request = wire.PredictRequest(
            model=model,
            version=version,
            request_id=request_id,
            tensor=_tensor(rows),
            policies=[
                wire.Policy(profile=one) if isinstance(one, str) else one.message() for one in policies
            ],
        )
        return prediction(self._call(self._predict, request, timeout))

    def model(self, name: str = "", version: str = "", timeout: float | None = 10.0) -> ModelInfo:
        """Describe a served model; `name` and `version` as `model` and `version` of `predict`.

        Raises:
            ModelNotFound: No such model or version is served.
            Unavailable: Nobody answers at the address, or the service is loading or draining.
            OrdinalError: Anything else, such as a timeout.
        """
        request = wire.GetModelRequest(model=name, version=version)
        return model_info(self._call(self._get_model, request, timeout))

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


def _tensor(rows: ArrayLike) -> wire.Tensor:
    array = np.asarray(rows)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows becomes infinite, which the service refuses
            array = array.astype("<f4")  # little-endian, as the wire has it
    elif array.dtype != np.uint8:
        raise TypeError(
            f"rows must be float32 or uint8, as the model's input is, got {array.dtype}; "
            "convert them, as with rows.astype(np.float32)"
        )
    dtype = wire.UINT8 if array.dtype == np.uint8 else wire.FLOAT32
    return wire.Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())


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
