"""Requests as bytes, and whether the replies say what onnxruntime says of the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from serving.wire import ordinal_pb2

Arrays = dict[str, NDArray[np.generic]]

PREDICT = "/ordinal.v1.OrdinalService/Predict"
PREDICT_STREAM = "/ordinal.v1.OrdinalService/PredictStream"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"

_DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}


@dataclass(frozen=True)
class Asked:
    """A request, and how its reply is checked."""

    request: bytes
    read: Callable[[bytes], Arrays]
    expected: Arrays

    def check(self, reply: bytes) -> None:
        """Raise RuntimeError where a reply differs from the local answer beyond rounding."""
        answer = self.read(reply)
        for name, value in answer.items():
            local = self.expected[name]
            # Triton, where it batches, has no output of rows alone: it makes them a column.
            if value.size != local.size or not np.allclose(value.reshape(local.shape), local, 1e-5, 1e-5):
                raise RuntimeError(f"{name} of the reply is {value}, onnxruntime says {local}")


def expected(session: ort.InferenceSession, rows: NDArray[np.float32]) -> Arrays:
    """Return all outputs of the graph for rows, by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"numeric": rows}), strict=True))


def predict(model: str, rows: NDArray[np.float32], local: Arrays) -> Asked:
    """Return a request of the product's own protocol."""
    request = ordinal_pb2.PredictRequest(
        model=model,
        tensor=ordinal_pb2.Tensor(dtype=ordinal_pb2.FLOAT32, shape=rows.shape, data=rows.tobytes()),
    )
    return Asked(request.SerializeToString(), _read_prediction, local)


def infer(model: str, rows: NDArray[np.float32], local: Arrays) -> Asked:
    """Return a request of the Open Inference Protocol, its contents raw."""
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[rows.tobytes()])
    request.inputs.add(name="numeric", datatype="FP32", shape=rows.shape)

    def read(reply: bytes) -> Arrays:
        answer = _read_inference(reply)
        if sorted(answer) != sorted(local):
            raise RuntimeError(f"the reply holds {sorted(answer)}, the graph has {sorted(local)}")
        return answer

    return Asked(request.SerializeToString(), read, local)


def raw(rows: NDArray[np.float32], local: Arrays) -> Asked:
    """Return the bare numbers, to be answered with all outputs one after the other."""

    def read(reply: bytes) -> Arrays:
        answer: Arrays = {}
        start = 0
        for name, value in local.items():
            answer[name] = np.frombuffer(reply, value.dtype, value.size, start).reshape(value.shape)
            start += value.nbytes
        if start != len(reply):
            raise RuntimeError(f"the reply has {len(reply)} bytes, all outputs have {start}")
        return answer

    return Asked(rows.tobytes(), read, local)


def _read_prediction(reply: bytes) -> Arrays:
    message = ordinal_pb2.PredictResponse.FromString(reply)
    (decision,) = message.decisions
    rows = message.rows
    return {
        "probabilities": np.array(message.probabilities, np.float32).reshape(rows, -1),
        "expected_value": np.array(message.expected_value, np.float32),
        "decision": np.array(decision.action, np.int64)[:, np.newaxis],
        "margin": np.array(decision.margin, np.float32)[:, np.newaxis],
        "interval": np.stack([message.interval.lower, message.interval.upper], axis=1),
        "uncertainty": np.stack([message.uncertainty.aleatoric, message.uncertainty.epistemic], axis=1),
    }


def _read_inference(reply: bytes) -> Arrays:
    message = service_pb2.ModelInferResponse.FromString(reply)
    dtypes = {name: dtype for dtype, name in _DATATYPES.items()}
    return {
        output.name: np.frombuffer(content, dtypes[output.datatype]).reshape(tuple(output.shape))
        for output, content in zip(message.outputs, message.raw_output_contents, strict=True)
    }
