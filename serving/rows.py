"""The rows of a request become the arrays that a graph is fed; pure, and strict about what it lets in."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest
from serving.manifest import Input
from serving.quote import listed, quoted
from serving.wire import ordinal_pb2 as wire

Rows = dict[str, NDArray[np.generic]]

_COMPARED = 300  # features in which the nearest neighbour of a mistyped one is looked for

WIRE_DTYPES = {"float32": wire.FLOAT32, "uint8": wire.UINT8}
_DTYPES: dict[str, np.dtype[np.generic]] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}


def rows_of(request: wire.PredictRequest, inputs: Sequence[Input]) -> Rows:
    """Return the rows of a request as the graph wants them: `(rows, *shape)` for each input.

    Raises InvalidRequest, naming the field that is wrong, what must hold, and what came.
    """
    match request.WhichOneof("rows"):
        case "tensor":
            return _from_tensor(request.tensor, inputs)
        case "table":
            return _from_table(request.table, inputs)
        case _:
            raise InvalidRequest("tensor", "a request must have rows, a tensor or a table; it has neither")


def _from_tensor(tensor: wire.Tensor, inputs: Sequence[Input]) -> Rows:
    if len(inputs) != 1:
        names = listed([spec.name for spec in inputs])
        raise InvalidRequest("tensor", f"a model of several inputs, {names}, cannot be fed by one tensor")
    (spec,) = inputs
    _check_dtype(tensor, spec)
    shape = _checked_shape(tensor, spec)
    rows = _elements(tensor, shape, spec).reshape(shape)
    if spec.dtype == "float32":
        place = _first_bad(rows, spec)
        if place is not None:
            row, *position = place
            where = f"feature {spec.features[position[0]]!r}" if spec.features else f"position {position}"
            index = int(np.ravel_multi_index(place, rows.shape))
            raise InvalidRequest(
                f"tensor.values[{index}]" if tensor.values else "tensor.data",
                f"every element must be {_allowed(spec)}; got {rows[place]} at row {row}, {where}",
            )
    return {spec.name: rows}


def _from_table(table: wire.Table, inputs: Sequence[Input]) -> Rows:
    for spec in inputs:
        if not spec.features:
            wanted = ", ".join(str(size) for size in ("rows", *spec.shape))
            raise InvalidRequest("table", f"this model takes {spec.name}s: send a tensor of [{wanted}]")
    known = [feature for spec in inputs for feature in spec.features]
    at = _columns(table, known)
    rows = _row_count(table)
    return {spec.name: _numbers(table, spec, at, rows) for spec in inputs}


def _columns(table: wire.Table, known: Sequence[str]) -> dict[str, int]:
    """Return which column has each feature."""
    at: dict[str, int] = {}
    features = set(known)
    for index, column in enumerate(table.columns):
        field = f"table.columns[{index}].name"
        if column.name not in features:
            near = difflib.get_close_matches(column.name[:80], known[:_COMPARED], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidRequest(field, f"must be one of {listed(known)}, got {quoted(column.name)}{hint}")
        if column.name in at:
            raise InvalidRequest(field, f"names must differ, {quoted(column.name)} comes twice")
        at[column.name] = index
    missing = [feature for feature in known if feature not in at]
    if missing:
        raise InvalidRequest(
            "table.columns", f"must hold every feature of the model; missing are {listed(missing)}"
        )
    return at


def _row_count(table: wire.Table) -> int:
    """Return how many rows the columns have, all of them the same."""
    first = table.columns[0]
    if not first.floats and not first.strings:
        raise InvalidRequest("table.columns[0].floats", "there must be at least one row, got 0")
    for index, column in enumerate(table.columns):
        field = f"table.columns[{index}]"
        if column.strings:
            raise InvalidRequest(
                f"{field}.strings", f"feature {quoted(column.name)} is a number; send it as floats"
            )
        if len(column.floats) != len(first.floats):
            raise InvalidRequest(
                f"{field}.floats",
                f"every column must have as many entries as the first, {len(first.floats)}, "
                f"got {len(column.floats)} of {quoted(column.name)}",
            )
    return len(first.floats)


def _numbers(table: wire.Table, spec: Input, at: dict[str, int], rows: int) -> NDArray[np.float32]:
    numbers = np.empty((rows, len(spec.features)), np.float32)
    for feature, name in enumerate(spec.features):
        numbers[:, feature] = np.fromiter(table.columns[at[name]].floats, np.float32, rows)
    place = _first_bad(numbers, spec)
    if place is not None:
        row, feature = place
        name = spec.features[feature]
        raise InvalidRequest(
            f"table.columns[{at[name]}].floats[{row}]",
            f"every entry must be {_allowed(spec)}; got {numbers[place]} at row {row}, feature {name!r}",
        )
    return numbers


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


def _first_bad(rows: NDArray[np.generic], spec: Input) -> tuple[int, ...] | None:
    """Return the place of the first number that may not be there."""
    bad = np.isinf(rows) if spec.missing_allowed else ~np.isfinite(rows)
    if not bad.any():
        return None
    return tuple(int(place) for place in np.unravel_index(np.argmax(bad), bad.shape))


def _allowed(spec: Input) -> str:
    return "a finite number, or NaN where a value is missing" if spec.missing_allowed else "finite"
