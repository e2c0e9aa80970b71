"""The graph's answer becomes the bytes of a reply."""

from __future__ import annotations

import functools
import math
from typing import Any

from numpy.typing import NDArray

from serving.artifact import Answer
from serving.encoding import Field, packed
from serving.wire import inference_pb2 as wire

_TENSOR = wire.ModelInferResponse.InferOutputTensor
_ID = Field(wire.ModelInferResponse, "id")
_OUTPUTS = Field(wire.ModelInferResponse, "outputs")
_RAW = Field(wire.ModelInferResponse, "raw_output_contents")
_TYPED = Field(_TENSOR, "contents")
_FP32 = Field(wire.InferTensorContents, "fp32_contents")
_INT64 = Field(wire.InferTensorContents, "int64_contents")
_INTEGERS = frozenset(("decision", "interval"))
_SIZES = {"FP32": 4, "INT64": 8}  # bytes of an element

_Shape = tuple[int, ...]


def datatype(output: str) -> str:
    """Return the datatype of an output."""
    return "INT64" if output in _INTEGERS else "FP32"


def reply(heading: bytes, request_id: str, outputs: tuple[str, ...], answer: Answer, *, raw: bool) -> bytes:
    """Return the bytes of a `ModelInferResponse`.

    Args:
        heading: What it begins with, the bytes of one.
        request_id: Of the request.
        outputs: Those to hold, named as the fields of `answer`.
        answer: The graph's.
        raw: Whether elements are raw or typed, as they were in the request.
    """
    fields = [heading]
    if request_id:
        fields.append(_ID.nested(request_id.encode()))
    arrays = [getattr(answer, name) for name in outputs]
    if raw:
        tensors, heads = _layout(outputs, tuple([array.shape for array in arrays]))
        fields.append(tensors)
        for head, array in zip(heads, arrays, strict=True):
            fields += (head, array.tobytes())  # little-endian, as is all that this service runs on
    else:
        for name, array in zip(outputs, arrays, strict=True):
            contents = _TYPED.nested(_typed(name, array))
            fields.append(_OUTPUTS.nested(_described(name, array.shape) + contents))
    return b"".join(fields)


@functools.lru_cache(maxsize=1024)
def _layout(outputs: tuple[str, ...], shapes: tuple[_Shape, ...]) -> tuple[bytes, list[bytes]]:
    """Return the bytes of outputs without elements, and what comes before the raw ones of each.

    Callers send few different numbers of rows.
    """
    tensors = [_OUTPUTS.nested(_described(*one)) for one in zip(outputs, shapes, strict=True)]
    sizes = (_SIZES[datatype(name)] * math.prod(shape) for name, shape in zip(outputs, shapes, strict=True))
    return b"".join(tensors), [_RAW.head(size) for size in sizes]


def _described(name: str, shape: _Shape) -> bytes:
    return _TENSOR(name=name, datatype=datatype(name), shape=shape).SerializeToString()


def _typed(name: str, array: NDArray[Any]) -> bytes:
    if name in _INTEGERS:
        return _INT64.nested(packed(array.ravel(), int(array.max()) + 1))
    return _FP32.nested(array.tobytes())
