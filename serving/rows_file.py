"""A file of rows becomes an array, or columns by name, that a model can be fed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from serving import cells, csv_file
from serving.cells import shown
from serving.errors import InvalidRequest
from serving.model_info import Input
from serving.quote import listed

Columns = dict[str, list[float] | list[str]]

UNREADABLE = (ValueError, TypeError, EOFError, OverflowError, RecursionError, BadZipFile, zlib.error)
"""What NumPy, zipfile, json and csv raise on files that are not what they seem."""

_ENDINGS = (*csv_file.ENDINGS, ".json", ".npy", ".npz")


def check(path: Path, encoding: str) -> None:
    """Raise InvalidRequest where no service need be asked to know that a file cannot be read."""
    try:
        csv_file.check_encoding(encoding)
    except ValueError as error:
        raise InvalidRequest("", str(error)) from error
    if not path.exists():
        raise InvalidRequest("", f"{path}: no such file")
    if path.name.lower().endswith(_ENDINGS):
        return
    known = f"rows are read from {', '.join(_ENDINGS[:-1])} and {_ENDINGS[-1]}"
    if path.suffix.lower() == ".parquet":
        raise InvalidRequest("", f"{path}: {known}, not from Parquet; save it as .csv")
    raise InvalidRequest("", f"{path}: {known}, not from {path.suffix or 'no suffix'!r}")


def read_rows(path: Path, inputs: Sequence[Input], encoding: str) -> NDArray[Any] | Columns:
    """Return the rows of a file in the dtypes of the model's inputs.

    `.csv` and `.tsv`, packed by gzip or not, are read as training reads them. Their header names each
    feature, in any order and maybe with other columns between. Blanks round the names and round numbers do
    not count, those in a category do. `cells.numbers` says what a number is; where the delimiter is no
    comma, one may stand for the decimal point. A field is missing where it is empty or, but for blanks, one
    of the input's `missing_texts`.

    `.json` is a list of rows: objects with a value for each feature and maybe others, or, where the model
    takes no categories, lists; `null` stands for a missing value. `.npy` holds an array, `.npz` one array
    or one called `rows`; neither holds categories.

    Args:
        path: Of the file, whose name ends as its kind does, in any case of letters.
        inputs: Of the model.
        encoding: Of the texts in it, as Python names it.

    Raises InvalidRequest where the file cannot be read, or its rows do not fit the inputs.
    """
    check(path, encoding)
    try:
        if path.name.lower().endswith(csv_file.ENDINGS):
            return _of_csv(csv_file.read(path, encoding), inputs)
        rows = _read(path, encoding)
        if isinstance(rows, list) and any(isinstance(row, dict) for row in rows):
            return _of_objects(rows, inputs)
        return _array(rows, inputs)
    except OSError as error:
        raise InvalidRequest("", f"{path}: cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise InvalidRequest("", f"{path}: {error}") from error


def _read(path: Path, encoding: str) -> Any:
    match path.suffix.lower():
        case ".npy":
            return np.load(path, allow_pickle=False)
        case ".npz":
            with np.load(path, allow_pickle=False) as archive:
                names = list(archive)
                if len(names) != 1 and "rows" not in names:
                    raise ValueError(f"must hold one array, or one called 'rows'; it holds {names}")
                return archive["rows" if "rows" in names else names[0]]
    rows = json.loads(csv_file.decoded(path.read_bytes(), encoding))
    if not isinstance(rows, list):
        raise TypeError(f"must hold a list of rows, it holds {shown(rows)}")
    return rows


def _of_csv(file: csv_file.CsvFile, inputs: Sequence[Input]) -> Columns:
    features = _features(inputs, "to be named by a header")
    # A name with blanks of its own is found as it is.
    header = [name if name in features else name.strip() for name in file.names]
    missing = [feature for feature in features if feature not in header]
    if missing:
        raise ValueError(
            f"its header must name every feature of the model; missing are {listed(missing)}, it names "
            f"{listed(header)}"
        )
    twice = [feature for feature in features if header.count(feature) > 1]
    if twice:
        raise ValueError(f"its header must name each feature once; it has more of {listed(twice)}")
    at = {feature: header.index(feature) for feature in features}
    commas = file.delimiter != ","
    return {
        feature: _column(file.column(at[feature]), feature, spec, commas)
        for feature, spec in features.items()
    }


def _of_objects(rows: Sequence[Any], inputs: Sequence[Input]) -> Columns:
    features = _features(inputs, "to be named by objects")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise TypeError(f"row {index} must be an object, as others are, it is {shown(row)}")
        missing = [feature for feature in features if feature not in row]
        if missing:
            raise ValueError(
                f"row {index} must have a value for every feature of the model, or null; "
                f"missing are {listed(missing)}"
            )
    return {
        feature: _column([row[feature] for row in rows], feature, spec)
        for feature, spec in features.items()
    }


def _features(inputs: Sequence[Input], how: str) -> dict[str, Input]:
    """Return each feature's input."""
    for spec in inputs:
        if not spec.features:
            raise ValueError(f"the model's input {spec.name!r} has no features {how}")
    return {feature: spec for spec in inputs for feature in spec.features}


def _column(
    entries: Sequence[Any], feature: str, spec: Input, commas: bool = False
) -> list[float] | list[str]:
    if spec.dtype == "string":
        return cells.categories(entries, feature, spec)
    return cells.numbers(entries, feature, spec, commas)


def _array(rows: Any, inputs: Sequence[Input]) -> NDArray[Any]:
    categories = [feature for spec in inputs if spec.dtype == "string" for feature in spec.features]
    if categories:
        raise ValueError(
            f"the model takes categories, {listed(categories)}: give its rows as .csv with a header, or as "
            '.json, [{"feature": value, …}, …]'
        )
    spec = inputs[0]
    array = rows if isinstance(rows, np.ndarray) else np.array(_null_as_nan(rows), np.float64)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"rows must be numbers, got {array.dtype}")
    if spec.dtype == "uint8" and not np.all((array >= 0) & (array <= 255) & (array == np.round(array))):
        raise ValueError(f"the model's input {spec.name!r} is uint8: whole numbers from 0 to 255")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which the service refuses
        return array.astype(spec.dtype)


def _null_as_nan(rows: Any) -> Any:
    if isinstance(rows, list):
        return [_null_as_nan(row) for row in rows]
    return float("nan") if rows is None else rows
