"""The Open Inference Protocol, version 2, with raw contents."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Answer
from serving.bench.speech import Outputs, Speech
from serving.manifest import Manifest
from serving.random_rows import Rows
from serving.wire import inference_pb2 as wire

_SERVICE: str = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_DATATYPES = {"float32": "FP32", "uint8": "UINT8", "string": "BYTES"}
_DTYPES = {"FP32": "<f4", "INT64": "<i8"}  # of replies


def _request(manifest: Manifest, rows: Rows, model: str, version: str) -> bytes:
    return wire.ModelInferRequest(
        model_name=model,
        model_version=version,
        inputs=[
            wire.ModelInferRequest.InferInputTensor(
                name=spec.name, datatype=_DATATYPES[spec.dtype], shape=rows[spec.name].shape
            )
            for spec in manifest.inputs
        ],
        raw_input_contents=[_raw(rows[spec.name]) for spec in manifest.inputs],
    ).SerializeToString()


def _raw(array: NDArray[np.generic]) -> bytes:
    if array.dtype != np.object_:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [str(text).encode() for text in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _outputs(reply: bytes) -> Outputs:
    message = wire.ModelInferResponse.FromString(reply)
    if len(message.raw_output_contents) != len(message.outputs):
        raise ValueError(
            f"{len(message.outputs)} outputs must have their bytes, {len(message.raw_output_contents)} do"
        )
    outputs: Outputs = {}
    for output, raw in zip(message.outputs, message.raw_output_contents, strict=True):
        if output.datatype not in _DTYPES:
            raise ValueError(
                f"output {output.name!r} must be {' or '.join(_DTYPES)}, got {output.datatype!r}"
            )
        outputs[output.name] = np.frombuffer(raw, _DTYPES[output.datatype]).reshape(tuple(output.shape))
    return outputs


def _expected(answer: Answer) -> Outputs:
    return {name: value for name, value in answer._asdict().items() if value is not None}


SPEECH = Speech(
    method=f"/{_SERVICE}/ModelInfer",
    stream="",
    request=_request,
    outputs=_outputs,
    expected=_expected,
)
