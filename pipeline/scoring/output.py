"""Answers become a Parquet or CSV file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow
from pyarrow import parquet

from pipeline.errors import InputError

ENDINGS = (".parquet", ".csv", ".csv.gz")

Write = Callable[[pa.RecordBatch], None]


def ending(path: Path) -> str:
    """Return how a file's name ends; raises InputError where nothing is written so."""
    for known in ENDINGS:
        if path.name.lower().endswith(known):
            return known
    raise InputError(f"OUT must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, got {path.name!r}")


def check(kind: str, schema: pa.Schema) -> None:
    """Raise InputError where a column cannot be written."""
    for column in schema if kind != ".parquet" else ():
        try:
            arrow.CSVWriter(io.BytesIO(), _plain(pa.schema([column]))).close()
        except pa.ArrowException as error:
            raise InputError(
                f"--keep: column {column.name!r} is of type {column.type}, which a CSV file does not hold; "
                "write to a .parquet file, or keep other columns"
            ) from error


@contextmanager
def opened(path: Path, kind: str, schema: pa.Schema, about: Mapping[str, str]) -> Iterator[Write]:
    """Write a file of a kind that `ending` has returned; `about` goes into a Parquet file's metadata."""
    if kind == ".parquet":
        named = [
            one.name for one in schema if pa.types.is_dictionary(one.type) or pa.types.is_string(one.type)
        ]
        # Dictionaries of numbers that hardly repeat take four times as long to write, and more room. Nor is
        # anybody helped by the range of probabilities of some ten thousand rows.
        ranged = [one.name for one in schema if not pa.types.is_float32(one.type)]
        with parquet.ParquetWriter(
            path, schema.with_metadata(dict(about)), use_dictionary=named, write_statistics=ranged
        ) as file:
            yield lambda batch: file.write_batch(batch) if len(batch) else None
        return
    plain = _plain(schema)
    packed = "gzip" if kind.endswith(".gz") else None
    with pa.output_stream(str(path), packed) as stream, arrow.CSVWriter(stream, plain) as file:
        yield lambda batch: file.write_table(pa.Table.from_batches([batch]).cast(plain))


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return the types that a CSV file is written from."""
    return pa.schema(
        [one.with_type(pa.string()) if pa.types.is_dictionary(one.type) else one for one in schema]
    )
