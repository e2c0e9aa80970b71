"""A file of rows, `.npy`, `.npz` or `.json`, becomes an array that a model can be fed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from serving.answers import Input
from serving.errors import InvalidRequest

UNREADABLE = (ValueError, TypeError, EOFError, OverflowError, RecursionError, BadZipFile, zlib.error)
"""What NumPy, zipfile and json raise on files that are not what they seem."""


def read_rows(path: Path, spec: Input) -> NDArray[Any]:
    """Return the rows of a file in the dtype of the model's input.

    `.npy` holds the array, `.npz` one array or one called `rows`, `.json` a list of rows, `null` standing
    for a missing value.

    Raises InvalidRequest where the file cannot be read, or its numbers do not fit the input.
    """
    try:
        return _converted(_read(path), spec)
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
            raise ValueError(f"rows are read from .npy, .npz and .json, not from {other or 'no suffix'!r}")


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
