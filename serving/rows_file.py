"""A file of rows becomes an array, or columns by name, that a model can be fed."""

from __future__ import annotations

import csv
import json
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest
from serving.model_info import Input
from serving.quote import listed, quoted

UNREADABLE = (ValueError, TypeError, EOFError, OverflowError, RecursionError, BadZipFile, zlib.error)
"""What NumPy, zipfile, json and csv raise on files that are not what they seem."""


def read_rows(path: Path, spec: Input) -> NDArray[Any] | dict[str, list[float]]:
    """Return the rows of a file in the dtype of the model's input.

    `.npy` holds the array, `.npz` one array or one called `rows`, `.json` a list of rows, `null` standing
    for a missing value; `.csv` has a header that names each feature, in any order and maybe with other
    columns between, and an empty field stands for a missing value.

    Raises InvalidRequest where the file cannot be read, or its numbers do not fit the input.
    """
    try:
        return _columns(path, spec) if path.suffix == ".csv" else _converted(_read(path), spec)
    except OSError as error:
        raise InvalidRequest("", f"{path}: cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise InvalidRequest("", f"{path}: {error}") from error


def _read(path: Path) -> NDArray[Any]:
    match path.suffix:
        case ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        case ".npz":
            with np.load(path, allow_pickle=False) as archive:
                names = list(archive)
                if len(names) != 1 and "rows" not in names:
                    raise ValueError(f"must hold one array, or one called 'rows'; it holds {names}")
                return np.asarray(archive["rows" if "rows" in names else names[0]])
        case ".json":
            rows = json.loads(path.read_text())
            return np.array(_null_as_nan(rows), np.float64)
        case other:
            raise ValueError(
                f"rows are read from .csv, .npy, .npz and .json, not from {other or 'no suffix'!r}"
            )


def _columns(path: Path, spec: Input) -> dict[str, list[float]]:
    if not spec.features:
        raise ValueError(f"the model's input {spec.name!r} has no features to be named by a header")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header, *rows = [line for line in reader if line] or [[]]
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    missing = [feature for feature in spec.features if feature not in header]
    if missing:
        raise ValueError(f"its header must name every feature of the model; missing are {listed(missing)}")
    twice = [feature for feature in spec.features if header.count(feature) > 1]
    if twice:
        raise ValueError(f"its header must name each feature once; it has more of {listed(twice)}")
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"row {index} must have a field for each of {len(header)} columns, it has {len(row)}"
            )
    at = {feature: header.index(feature) for feature in spec.features}
    return {
        feature: [_number(row[at[feature]], feature, index) for index, row in enumerate(rows)]
        for feature in spec.features
    }


def _number(text: str, feature: str, row: int) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise ValueError(f"row {row}, feature {feature!r}: must be a number, got {quoted(text)}") from None


def _null_as_nan(rows: Any) -> Any:
    if isinstance(rows, list):
        return [_null_as_nan(row) for row in rows]
    return float("nan") if rows is None else rows


def _converted(rows: NDArray[Any], spec: Input) -> NDArray[Any]:
    if rows.dtype.kind not in "fiu":
        raise TypeError(f"rows must be numbers, got {rows.dtype}")
    if spec.dtype == "uint8" and not np.all((rows >= 0) & (rows <= 255) & (rows == np.round(rows))):
        raise ValueError(f"the model's input {spec.name!r} is uint8: whole numbers from 0 to 255")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which the service refuses
        return rows.astype(spec.dtype)
