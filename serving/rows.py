"""The rows of a request become the arrays that a graph is fed; pure, and strict about what it lets in."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from serving.entries import Inputs
from serving.errors import InvalidRequest
from serving.manifest import Input
from serving.quote import listed
from serving.table import from_table
from serving.wire import ordinal_pb2 as wire

Rows = dict[str, NDArray[np.generic]]

WIRE_DTYPES = {"float32": wire.FLOAT32, "uint8": wire.UINT8, "string": wire.STRING}
_DTYPES: dict[str, np.dtype[np.generic]] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}


def rows_of(request: wire.PredictRequest, inputs: Inputs) -> Rows:
    """Return the rows of a request as the graph wants them: `(rows, *shape)` for each input.

    Texts come as an array of objects, as onnxruntime takes them.

    Raises InvalidRequest, naming the field that is wrong, what must hold, and what came.
    """
    match request.WhichOneof("rows"):
        case "tensor":
            return _from_tensor(request.tensor, inputs)
        case "table":
            return from_table(request.table, inputs)
        case _:
            raise InvalidRequest("tensor", "a request must have rows, a tensor or a table; it has neither")


def _from_tensor(tensor: wire.Tensor, inputs: Inputs) -> Rows:
    numbers = inputs.alone
    if numbers is not None and not tensor.values:
        # What is right is seen to be so in few steps.
        spec, shape, data = numbers.spec, tuple(tensor.shape), tensor.data
        if (
            tensor.dtype == WIRE_DTYPES[spec.dtype]
            and shape[1:] == spec.shape
            and len(data) == shape[0] * numbers.row_bytes > 0
        ):
            rows = np.ndarray(shape, numbers.dtype, data)
            if numbers.all_finite(rows):
                return {spec.name: rows}
    return _checked(tensor, inputs)


def _checked(tensor: wire.Tensor, inputs: Inputs) -> Rows:
    """Return the rows of a tensor, or raise what is wrong with it."""
    if inputs.categories:
        names = [name for one in inputs.categories for name in one.spec.features]
        raise InvalidRequest(
            "tensor",
            f"this model takes categories, {listed(names)}, which a tensor does not hold: send a table, "
            "with a column for each feature",
        )
    if len(inputs.specs) != 1:
        names = [spec.name for spec in inputs.specs]
        raise InvalidRequest(
            "tensor", f"a model of several inputs, {listed(names)}, cannot be fed by one tensor"
        )
    (numbers,) = inputs.numbers
    spec = numbers.spec
    _check_dtype(tensor, spec)
    shape = _checked_shape(tensor, spec)
    rows = _elements(tensor, shape, spec).reshape(shape)
    if spec.dtype == "float32":
        place = numbers.first_bad(rows)
        if place is not None:
            index = int(np.ravel_multi_index(place, rows.shape))
            raise InvalidRequest(
                f"tensor.values[{index}]" if tensor.values else "tensor.data",
                f"every element {numbers.must(rows[place], place)}",
            )
    return {spec.name: rows}


def _check_dtype(tensor: wire.Tensor, spec: Input) -> None:
    wanted = WIRE_DTYPES[spec.dtype]
    if tensor.dtype != wanted:
        known = wire.DataType.values()
        came = wire.DataType.Name(tensor.dtype) if tensor.dtype in known else f"number {tensor.dtype}"
        raise InvalidRequest("tensor.dtype", f"must be {wire.DataType.Name(wanted)}, got {came}")


def _checked_shape(tensor: wire.Tensor, spec: Input) -> tuple[int, ...]:
    wanted = ", ".join(str(size) for size in ("rows", *spec.shape))
    shape = tuple(tensor.shape) if len(tensor.shape) == 1 + len(spec.shape) else ()
    if shape[1:] != spec.shape:
        raise InvalidRequest("tensor.shape", f"must be [{wanted}], got {listed(tensor.shape)}")
    if shape[0] < 1:
        raise InvalidRequest("tensor.shape[0]", f"there must be at least one row, got {shape[0]}")
    return shape


def _elements(tensor: wire.Tensor, shape: tuple[int, ...], spec: Input) -> NDArray[np.generic]:
    """Return the elements in one dimension; sizes are compared before anything is allocated."""
    size = math.prod(shape)
    if tensor.values:
        if tensor.data:
            raise InvalidRequest("tensor.values", "exactly one of data and values must be there, not both")
        if spec.dtype != "float32":
            raise InvalidRequest("tensor.values", f"only FLOAT32 has values; send {spec.dtype} as data")
        if len(tensor.values) != size:
            raise InvalidRequest(
                "tensor.values",
                f"shape {list(shape)} needs {size} elements, got {len(tensor.values)}",
            )
        return np.fromiter(tensor.values, np.float32, size)
    if not tensor.data:
        raise InvalidRequest("tensor.data", "exactly one of data and values must be there, both are empty")
    dtype = _DTYPES[spec.dtype]
    if len(tensor.data) != size * dtype.itemsize:
        raise InvalidRequest(
            "tensor.data",
            f"shape {list(shape)} of {spec.dtype} needs {size * dtype.itemsize} bytes, "
            f"got {len(tensor.data)}",
        )
    return np.frombuffer(tensor.data, dtype)
