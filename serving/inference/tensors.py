"""Tensors of a request become arrays: raw or typed contents, and strict about what they let in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.entries import neighbour
from serving.errors import InvalidRequest
from serving.inference.parameters import check_input
from serving.quote import listed, quoted
from serving.wire import inference_pb2 as wire

_TYPED = {"FP32": "fp32_contents", "UINT8": "uint_contents", "BYTES": "bytes_contents"}
_DTYPES: dict[str, np.dtype[np.generic]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
_CONVERT = {"FP32": "np.float32", "UINT8": "np.uint8"}
_LENGTH = 4  # bytes before each element of raw BYTES, which say how long it is


@dataclass(frozen=True)
class Spec:
    """A tensor that a model takes; a size that a request may choose is None."""

    name: str
    datatype: str
    shape: tuple[int | None, ...]  # without rows
    sizes: tuple[str, ...]  # the same for reading, rows too
    optional: bool = False


class Given(NamedTuple):
    """A tensor of a request, `(rows, …)`, and where in the request its elements are."""

    at: int
    array: NDArray[np.generic]
    typed: str  # the field of typed contents; empty of raw ones

    def field(self, place: Sequence[int] | None = None) -> str:
        """Return the path of the elements, or where they have one of their own, of that at a place."""
        if not self.typed:
            return f"raw_input_contents[{self.at}]"
        at = "" if place is None else f"[{int(np.ravel_multi_index(tuple(place), self.array.shape))}]"
        return f"inputs[{self.at}].contents.{self.typed}{at}"

    @property
    def shape_field(self) -> str:
        """Return the path of the shape."""
        return f"inputs[{self.at}].shape"


def given(request: wire.ModelInferRequest, specs: Mapping[str, Spec]) -> dict[str, Given]:
    """Return the tensors of a request by name.

    Texts come as an array of objects, as onnxruntime takes them. What the elements say is not looked at.

    Raises InvalidRequest, naming the field that is wrong, what must hold, and what came.
    """
    tensors = request.inputs
    raw = request.raw_input_contents
    if raw and len(raw) != len(tensors):
        raise InvalidRequest(
            "raw_input_contents",
            f"must be empty, or have the bytes of each of {len(tensors)} inputs, got {len(raw)}",
        )
    found: dict[str, Given] = {}
    for index, tensor in enumerate(tensors):
        name = tensor.name
        spec = specs.get(name)
        if spec is None or name in found:
            raise _wrong_name(index, name, specs)
        if tensor.parameters:
            check_input(tensor.parameters, f"inputs[{index}].parameters")
        if tensor.datatype != spec.datatype:
            raise _wrong_datatype(index, tensor.datatype, spec)
        shape = _checked_shape(index, tensor, spec)
        if not raw:
            array, typed = _from_typed(index, tensor, shape, spec.datatype)
            found[name] = Given(index, array, typed)
            continue
        if tensor.HasField("contents") and tensor.contents.ListFields():
            raise InvalidRequest(
                f"inputs[{index}].contents", "must be empty where raw_input_contents has the elements"
            )
        found[name] = Given(index, _from_raw(index, raw[index], shape, spec.datatype), "")
    left_out = [spec.name for spec in specs.values() if not spec.optional and spec.name not in found]
    if left_out:
        raise InvalidRequest(
            "inputs", f"must hold every input of the model; missing are {listed(left_out)}"
        )
    return found


def _wrong_name(index: int, name: str, specs: Mapping[str, Spec]) -> InvalidRequest:
    field = f"inputs[{index}].name"
    if name in specs:
        return InvalidRequest(field, f"names must differ, {quoted(name)} comes twice")
    names = list(specs)
    return InvalidRequest(
        field, f"must be one of {listed(names)}, got {quoted(name)}{neighbour(name, names)}"
    )


def _wrong_datatype(index: int, datatype: str, spec: Spec) -> InvalidRequest:
    hint = ""
    if spec.datatype in _CONVERT and datatype != "BYTES":
        hint = f"; nothing is converted here: send array.astype({_CONVERT[spec.datatype]})"
    return InvalidRequest(
        f"inputs[{index}].datatype",
        f"must be {spec.datatype} of {quoted(spec.name)}, got {quoted(datatype)}{hint}",
    )


def _checked_shape(
    index: int, tensor: wire.ModelInferRequest.InferInputTensor, spec: Spec
) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) != len(spec.sizes) or (shape[1:] != spec.shape and not _fits(shape[1:], spec.shape)):
        raise InvalidRequest(
            f"inputs[{index}].shape",
            f"must be [{', '.join(spec.sizes)}] of {quoted(spec.name)}, got {listed(shape)}",
        )
    if min(shape) < 1:
        place = next(place for place, size in enumerate(shape) if size < 1)
        raise InvalidRequest(
            f"inputs[{index}].shape[{place}]",
            f"must be at least 1 ({spec.sizes[place]}), got {shape[place]}",
        )
    return shape


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return all(size == one or one is None for size, one in zip(shape, wanted, strict=True))


def _from_raw(index: int, raw: bytes, shape: tuple[int, ...], datatype: str) -> NDArray[np.generic]:
    if datatype == "BYTES":
        return _objects(_texts(index, raw, math.prod(shape)), shape)
    dtype = _DTYPES[datatype]
    size = math.prod(shape) * dtype.itemsize
    if len(raw) != size:
        raise InvalidRequest(
            f"raw_input_contents[{index}]",
            f"shape {listed(shape)} of {datatype} needs {size} bytes, got {len(raw)}",
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def _texts(index: int, raw: bytes, count: int) -> list[str]:
    """Return the elements of raw BYTES; sizes are compared before anything is allocated."""
    field = f"raw_input_contents[{index}]"
    if count * _LENGTH > len(raw):
        raise InvalidRequest(
            field,
            f"{count} elements of BYTES, each after {_LENGTH} bytes of its length, need at least "
            f"{count * _LENGTH} bytes, got {len(raw)}",
        )
    found: list[str] = []
    at = 0
    for number in range(count):
        start = at + _LENGTH
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw) or start > len(raw):
            raise InvalidRequest(
                field, f"the {len(raw)} bytes end before element {number} of {count} does, at {at}"
            )
        found.append(_decoded(raw[start:at], field, number))
    if at != len(raw):
        raise InvalidRequest(field, f"{count} elements end at byte {at}, and {len(raw)} bytes came")
    return found


def _from_typed(
    index: int, tensor: wire.ModelInferRequest.InferInputTensor, shape: tuple[int, ...], datatype: str
) -> tuple[NDArray[np.generic], str]:
    """Return the elements, and the name of their field."""
    name = _TYPED[datatype]
    field = f"inputs[{index}].contents.{name}"
    for other, _ in tensor.contents.ListFields():
        if other.name != name:
            raise InvalidRequest(
                f"inputs[{index}].contents.{other.name}", f"elements of {datatype} go into {name}"
            )
    elements = getattr(tensor.contents, name)
    size = math.prod(shape)
    if len(elements) != size:
        raise InvalidRequest(
            field, f"shape {listed(shape)} needs {size} elements of {datatype}, got {len(elements)}"
        )
    match datatype:
        case "FP32":
            return np.fromiter(elements, np.float32, size).reshape(shape), name
        case "UINT8":
            return _bytes(elements, size, field).reshape(shape), name
        case _:
            texts = [_decoded(one, f"{field}[{number}]", number) for number, one in enumerate(elements)]
            return _objects(texts, shape), name


def _bytes(elements: Sequence[int], size: int, field: str) -> NDArray[np.uint8]:
    wide = np.fromiter(elements, np.uint32, size)
    if wide.max() > 255:
        at = int(np.argmax(wide > 255))
        raise InvalidRequest(f"{field}[{at}]", f"an element of UINT8 is from 0 to 255, got {wide[at]}")
    return wide.astype(np.uint8)


def _decoded(content: bytes, field: str, number: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            field,
            f"element {number} must be a text in UTF-8, got {quoted(content.decode(errors='replace'))}: "
            f"{error.reason} at its byte {error.start}",
        ) from error


def _objects(texts: list[str], shape: tuple[int, ...]) -> NDArray[np.object_]:
    array = np.empty(len(texts), np.object_)
    array[:] = texts
    return array.reshape(shape)
