"""The protocol of this service, ordinal.v1: tensors, or tables where rows have categories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.artifact import Answer
from serving.bench.speech import Outputs, Speech
from serving.manifest import Manifest
from serving.random_rows import Rows
from serving.requests import prediction_request
from serving.wire import ordinal_pb2 as wire

_SERVICE: str = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name


def _request(manifest: Manifest, rows: Rows, model: str, version: str) -> bytes:
    if len(manifest.inputs) == 1 and manifest.inputs[0].dtype != "string":
        tensor = rows[manifest.inputs[0].name]
        return prediction_request(tensor, model, version, (), None, (), "").SerializeToString()
    table: dict[str, ArrayLike] = {}
    for spec in manifest.inputs:
        table |= dict(zip(spec.features, rows[spec.name].T, strict=True))
    return prediction_request(table, model, version, (), None, (), "").SerializeToString()


def _outputs(reply: bytes) -> Outputs:
    message = wire.PredictResponse.FromString(reply)
    if len(message.decisions) != 1:
        raise ValueError(f"one policy was asked for, the reply has {len(message.decisions)} decisions")
    (decision,) = message.decisions
    outputs: Outputs = {
        "probabilities": _floats(message.probabilities).reshape(message.rows, len(message.labels)),
        "expected_value": _floats(message.expected_value),
        "expected_cost": _floats(decision.expected_cost),
        "decision": np.array(decision.action, np.int64),
        "margin": _floats(decision.margin),
        "interval": np.array([message.interval.lower, message.interval.upper], np.int64).T,
        "uncertainty": _floats([message.uncertainty.aleatoric, message.uncertainty.epistemic]).T,
    }
    if message.resultant:
        outputs["resultant"] = _floats(message.resultant)
    return outputs


def _floats(numbers: Any) -> NDArray[np.float32]:
    return np.array(numbers, np.float32)


def _expected(answer: Answer) -> Outputs:
    """Return the answer with the expected cost of the decision alone, as a reply has it."""
    outputs: Outputs = {name: value for name, value in answer._asdict().items() if value is not None}
    outputs["decision"], outputs["margin"] = answer.decision[:, 0], answer.margin[:, 0]
    outputs["expected_cost"] = np.take_along_axis(answer.expected_cost[:, 0], answer.decision, axis=1)[:, 0]
    return outputs


SPEECH = Speech(
    method=f"/{_SERVICE}/Predict",
    stream=f"/{_SERVICE}/PredictStream",
    request=_request,
    outputs=_outputs,
    expected=_expected,
)
