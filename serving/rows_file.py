"""A file of rows becomes an array, or columns by name, that a model can be fed."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest
from serving.model_info import Input
from serving.quote import listed, quoted

Columns = dict[str, list[float] | list[str]]

UNREADABLE = (ValueError, TypeError, EOFError, OverflowError, RecursionError, BadZipFile, zlib.error)
"""What NumPy, zipfile, json and csv raise on files that are not what they seem."""

_BOOLEANS = {"true": 1.0, "false": 0.0}


def read_rows(path: Path, inputs: Sequence[Input]) -> NDArray[Any] | Columns:
    """Return the rows of a file in the dtypes of the model's inputs.

    `.csv` has a header that names each feature, in any order and maybe with other columns between. Blanks
    round the names and round numbers do not count, those in a category do. A number may also be `true` or
    `false`, in any case; it is missing where its field is empty or one of the input's `missing_texts`.

    `.json` is a list of rows: objects with a value for each feature and maybe others, or, where the model
    takes no categories, lists; `null` stands for a missing value. `.npy` holds an array, `.npz` one array
    or one called `rows`; neither holds categories.

    Raises InvalidRequest where the file cannot be read, or its rows do not fit the inputs.
    """
    try:
        if path.suffix == ".csv":
            return _of_csv(path, inputs)
        rows = _read(path)
        if isinstance(rows, list) and any(isinstance(row, dict) for row in rows):
            return _of_objects(rows, inputs)
        return _array(rows, inputs)
    except OSError as error:
        raise InvalidRequest("", f"{path}: cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise InvalidRequest("", f"{path}: {error}") from error


def _read(path: Path) -> Any:
    match path.suffix:
        case ".npy":
            return np.load(path, allow_pickle=False)
        case ".npz":
            with np.load(path, allow_pickle=False) as archive:
                names = list(archive)
                if len(names) != 1 and "rows" not in names:
                    raise ValueError(f"must hold one array, or one called 'rows'; it holds {names}")
                return archive["rows" if "rows" in names else names[0]]
        case ".json":
            rows = json.loads(path.read_text(encoding="utf-8-sig"))
            if not isinstance(rows, list):
                raise TypeError(f"must hold a list of rows, it holds {_shown(rows)}")
            return rows
        case other:
            raise ValueError(
                f"rows are read from .csv, .npy, .npz and .json, not from {other or 'no suffix'!r}"
            )


def _of_csv(path: Path, inputs: Sequence[Input]) -> Columns:
    features = _features(inputs, "to be named by a header")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header, *rows = [line for line in reader if line] or [[]]
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    # A name with blanks of its own is found as it is.
    header = [name if name in features else name.strip() for name in header]
    missing = [feature for feature in features if feature not in header]
    if missing:
        raise ValueError(f"its header must name every feature of the model; missing are {listed(missing)}")
    twice = [feature for feature in features if header.count(feature) > 1]
    if twice:
        raise ValueError(f"its header must name each feature once; it has more of {listed(twice)}")
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"row {index} must have a field for each of {len(header)} columns, it has {len(row)}"
            )
    at = {feature: header.index(feature) for feature in features}
    return {
        feature: _column([row[at[feature]] for row in rows], feature, spec)
        for feature, spec in features.items()
    }


def _of_objects(rows: Sequence[Any], inputs: Sequence[Input]) -> Columns:
    features = _features(inputs, "to be named by objects")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise TypeError(f"row {index} must be an object, as others are, it is {_shown(row)}")
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


def _column(entries: Iterable[Any], feature: str, spec: Input) -> list[float] | list[str]:
    if spec.dtype == "string":
        return [_category(entry, feature, row) for row, entry in enumerate(entries)]
    absent = frozenset(spec.missing_texts)
    return [_number(entry, feature, row, absent) for row, entry in enumerate(entries)]


def _category(entry: Any, feature: str, row: int) -> str:
    if entry is None:
        return ""
    if not isinstance(entry, str):
        raise TypeError(
            f"row {row}, feature {feature!r}: a category must be a text or null, got {_shown(entry)}"
        )
    return entry


def _number(entry: Any, feature: str, row: int, absent: frozenset[str]) -> float:
    if entry is None:
        return float("nan")
    if isinstance(entry, (bool, int, float)):
        return float(entry)
    if not isinstance(entry, str):
        raise TypeError(f"row {row}, feature {feature!r}: must be a number or null, got {_shown(entry)}")
    text = entry.strip()
    if not text or text in absent or entry in absent:
        return float("nan")
    try:
        return _BOOLEANS[text.lower()] if text.lower() in _BOOLEANS else float(text)
    except ValueError:
        raise ValueError(f"row {row}, feature {feature!r}: must be a number, got {quoted(entry)}") from None


def _shown(entry: Any) -> str:
    """Return what came out of JSON as it stood there, cut where it is long."""
    return quoted(json.dumps(entry, ensure_ascii=False))[1:-1]


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
