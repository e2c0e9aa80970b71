"""A table of named columns becomes the arrays that a graph is fed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.entries import Categories, Inputs, Numbers, neighbour
from serving.errors import InvalidRequest
from serving.quote import listed, quoted
from serving.wire import ordinal_pb2 as wire

_SEND = {
    "floats": "number; send it as floats, NaN where a value is missing",
    "strings": "category; send it as strings, empty where a value is missing",
}


def from_table(table: wire.Table, inputs: Inputs) -> dict[str, NDArray[np.generic]]:
    """Return the rows of a table, `(rows, features)` for each input: float32, or texts as objects.

    Raises InvalidRequest, naming the column that is wrong, what must hold, and what came.
    """
    for spec in inputs.specs:
        if not spec.features:
            wanted = ", ".join(str(size) for size in ("rows", *spec.shape))
            raise InvalidRequest("table", f"this model takes {spec.name}s: send a tensor of [{wanted}]")
    at = _columns(table, inputs)
    rows = _row_count(table, inputs)
    arrays: dict[str, NDArray[np.generic]] = {}
    for numbers in inputs.numbers:
        arrays[numbers.spec.name] = _numbers(table, numbers, at, rows)
    for categories in inputs.categories:
        arrays[categories.spec.name] = _texts(table, categories, at, rows)
    return arrays


def _columns(table: wire.Table, inputs: Inputs) -> dict[str, int]:
    """Return which column has each feature."""
    at: dict[str, int] = {}
    for index, column in enumerate(table.columns):
        name = column.name
        if name not in inputs.known:
            raise InvalidRequest(
                f"table.columns[{index}].name",
                f"must be one of {listed(inputs.features)}, got {quoted(name)}"
                f"{neighbour(name, inputs.features)}",
            )
        if name in at:
            raise InvalidRequest(
                f"table.columns[{index}].name", f"names must differ, {quoted(name)} comes twice"
            )
        at[name] = index
    if len(at) < len(inputs.features):
        left_out = [feature for feature in inputs.features if feature not in at]
        raise InvalidRequest(
            "table.columns", f"must hold every feature of the model; missing are {listed(left_out)}"
        )
    return at


def _row_count(table: wire.Table, inputs: Inputs) -> int:
    """Return how many rows the columns have, all of them the same, each with entries of its kind."""
    first = table.columns[0]
    if not first.floats and not first.strings:
        kind = "strings" if first.name in inputs.categorical else "floats"
        raise InvalidRequest(f"table.columns[0].{kind}", "there must be at least one row, got 0")
    rows = len(first.floats) or len(first.strings)
    for index, column in enumerate(table.columns):
        if column.name in inputs.categorical:
            kind, entries, others = "strings", len(column.strings), len(column.floats)
        else:
            kind, entries, others = "floats", len(column.floats), len(column.strings)
        if others:
            other = "floats" if kind == "strings" else "strings"
            raise InvalidRequest(
                f"table.columns[{index}].{other}", f"feature {quoted(column.name)} is a {_SEND[kind]}"
            )
        if entries != rows:
            raise InvalidRequest(
                f"table.columns[{index}].{kind}",
                f"every column must have as many entries as the first, {rows}, "
                f"got {entries} of {quoted(column.name)}",
            )
    return rows


def _numbers(table: wire.Table, numbers: Numbers, at: dict[str, int], rows: int) -> NDArray[np.float32]:
    array = np.empty((rows, len(numbers.spec.features)), np.float32)
    for feature, name in enumerate(numbers.spec.features):
        array[:, feature] = np.fromiter(table.columns[at[name]].floats, np.float32, rows)
    place = numbers.first_bad(array)
    if place is not None:
        row, feature = place
        raise InvalidRequest(
            f"table.columns[{at[numbers.spec.features[feature]]}].floats[{row}]",
            f"every entry {numbers.must(array[place], place)}",
        )
    return array


def _texts(table: wire.Table, categories: Categories, at: dict[str, int], rows: int) -> NDArray[np.object_]:
    array = np.empty((rows, len(categories.spec.features)), np.object_)
    for feature, name in enumerate(categories.spec.features):
        texts = table.columns[at[name]].strings[:]
        row = categories.first_bad(feature, texts)
        if row is not None:
            raise InvalidRequest(
                f"table.columns[{at[name]}].strings[{row}]",
                f"every entry {categories.must(feature, texts[row], row)}",
            )
        array[:, feature] = texts
    return array
