"""Slices: the rows of a table parted by what a column holds, which the gate looks at one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.columns import Column, text_indices
from pipeline.data.parquet_file import as_texts
from pipeline.errors import InputError, nearest

MOST_VALUES = 100
"""Different values of a column; of more slices some are worse by chance, and each has few rows."""

EMPTY = ""
"""The value of a row whose cell is missing, and of no other: cells of no text are missing."""

_CHUNK = 2**16  # rows


@dataclass(frozen=True)
class Slices:
    """A column of few different values.

    Attributes:
        codes: `(rows,)`, index into `texts`; a byte a row.
        texts: `EMPTY`, then each value as a text.
    """

    codes: NDArray[np.uint8]
    texts: tuple[str, ...]

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """Return the value of some rows, `(rows,)`."""
        return np.array(self.texts)[self.codes[rows]]


def of(
    names: Sequence[str],
    cells: NDArray[np.generic],
    columns: Sequence[Column],
    read: Mapping[str, Slices],
    source: str,
) -> dict[str, Slices]:
    """Return the slices by the name of their column.

    Args:
        names: Of the columns, `gate.slices` of the config.
        cells: `(rows, columns)`, numbers and indices of texts of the columns that are learned from.
        columns: Of the cells; none of images.
        read: Those of other columns, as the source had them.
        source: For messages.

    Raises:
        InputError: Where there are no columns, or none of that name, or one with too many values.
    """
    if names and not columns:
        raise InputError(f"gate.slices names a column of a table, which the source {source!r} is not")
    place = {column.name: index for index, column in enumerate(columns)}
    found = {}
    for name in names:
        if name not in read and name not in place:
            raise InputError(
                f"gate.slices: {source!r} has no column {name!r}{nearest(name, place)} "
                f"(its columns: {', '.join(map(repr, place))})"
            )
        found[name] = read[name] if name in read else _of_cells(cells[:, place[name]], columns[place[name]])
    return found


def _of_cells(cells: NDArray[np.generic], column: Column) -> Slices:
    starts = range(0, len(cells), _CHUNK)
    codes = np.empty(len(cells), np.uint8)
    if column.texts is not None:
        refuse_many(column.name, len(column.texts))
        for start in starts:
            some = slice(start, start + _CHUNK)
            codes[some] = coded(cells[some])
        return Slices(codes, (EMPTY, *column.texts))
    values = np.zeros(0, np.float32)
    for start in starts:
        values = np.unique(np.append(values, cells[start : start + _CHUNK]))
        values = values[~np.isnan(values)]
        refuse_many(column.name, len(values))
    for start in starts:
        own = cells[start : start + _CHUNK]
        codes[start : start + _CHUNK] = np.where(np.isnan(own), 0, 1 + np.searchsorted(values, own))
    return Slices(codes, (EMPTY, *as_texts(pa.array(values)).to_pylist()))


def coded(indices: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return codes of rows whose texts have these indices, NaN where a cell is missing."""
    return text_indices(indices, -1) + 1


def refuse_many(name: str, count: int) -> None:
    """Raise InputError where a column has more different values than are slices."""
    if count > MOST_VALUES:
        raise InputError(
            f"gate.slices: column {name!r} has more than {MOST_VALUES} different values; put them into "
            "bins first, in a column of their own"
        )
