"""Parquet tables, batch by batch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from pipeline.errors import InputError

CellType = Literal["text", "number", "moment", "other"]

_ROWS, _CELLS = 2**16, 2**22  # of a batch, at most
_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class ParquetFile:
    """A table whose columns have types."""

    path: Path
    names: tuple[str, ...]  # "" where pandas has put the row's index
    types: tuple[CellType, ...]
    declared: tuple[str, ...]  # the types as the file has them
    delimiter: str = ""
    rows: int = 0

    @classmethod
    def open(cls, path: Path) -> ParquetFile:
        """Look at the schema; raises InputError where the file cannot be read or is no Parquet."""
        try:
            path.open("rb").close()  # whose reason is plainer than Arrow's
        except OSError as error:
            raise InputError(f"data.source {str(path)!r} cannot be read: {error.strerror}") from error
        try:
            with parquet.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: is not a readable Parquet file: {_line(error)}") from error
        names = tuple("" if _INDEX.fullmatch(name) else name for name in schema.names)
        types = tuple(schema.types)
        return cls(path, names, tuple(map(_cell_type, types)), tuple(map(str, types)), rows=rows)

    def no_cells(self, place: int) -> pa.Array:
        """Return a column as `batches` has it, without a cell."""
        declared = parquet.read_schema(self.path).field(place).type
        return _plain(pa.array([], declared), self.types[place])

    def batches(self, places: Sequence[int], start: int = 0) -> Iterator[list[pa.Array]]:
        """Yield some columns, by their places, some thousands of rows at a time, from row `start` on.

        Texts are strings, and what else there is has its own type.
        """
        names = [self.names[place] for place in places]
        rows = max(1, min(_ROWS, _CELLS // len(places)))
        try:
            # By a buffer, since a column of a group of rows may be larger than memory. By itself Arrow
            # reads ahead, and keeps all of a file that it has read.
            with parquet.ParquetFile(self.path, buffer_size=2**18, pre_buffer=False) as file:
                groups, start = _from(file.metadata, start)
                for batch in file.iter_batches(rows, groups, columns=names):
                    batch, start = batch.slice(start), max(0, start - len(batch))
                    if len(batch):
                        yield [
                            _plain(batch.column(name), self.types[place])
                            for name, place in zip(names, places, strict=True)
                        ]
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path}: cannot be read to its end: {_line(error)}") from error


def _from(metadata: parquet.FileMetaData, start: int) -> tuple[list[int], int]:
    """Return the groups of rows that hold what begins at a row, and how many rows they hold before it."""
    groups = list(range(metadata.num_row_groups))
    while groups and start >= (rows := metadata.row_group(groups[0]).num_rows):
        groups.pop(0)
        start -= rows
    return groups, start


def _cell_type(declared: pa.DataType) -> CellType:
    if pa.types.is_dictionary(declared):
        declared = declared.value_type
    if (
        pa.types.is_string(declared)
        or pa.types.is_large_string(declared)
        or pa.types.is_string_view(declared)
    ):
        return "text"
    number = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    if any(is_type(declared) for is_type in number):
        return "number"
    return "moment" if pa.types.is_timestamp(declared) or pa.types.is_date(declared) else "other"


def _plain(cells: pa.Array, kind: CellType) -> pa.Array:
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    return cells.cast(pa.string()) if kind == "text" else cells


def as_numbers(cells: pa.Array) -> pa.Array:
    """Return numbers and truth values as float64, moments as seconds since 1970."""
    if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
        zone = getattr(cells.type, "tz", None)
        microseconds = cells.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        return pc.divide(microseconds.cast(pa.float64(), safe=False), 1e6)
    return cells.cast(pa.float64(), safe=False)  # beyond 2^53 the last digits of a whole number go


def as_texts(cells: pa.Array) -> pa.Array:
    """Return cells as they would stand in a CSV file, null where there is none; 5.0 as 5."""
    if pa.types.is_floating(cells.type):
        single = not pa.types.is_float64(cells.type)
        cells = [None if x is None or x != x else _written(x, single) for x in cells.to_pylist()]
        return pa.array(cells, pa.string())
    return cells.cast(pa.string())


def _written(number: float, single: bool) -> str:
    if number.is_integer():
        return str(int(number))
    return str(np.float32(number)) if single else repr(number)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
