"""Blocks and parts as they go from one machine to another.

In Arrow's own format, for a slice of an array would be pickled with all that it is a slice of.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.aside import Uneven
from pipeline.scoring.inputs import Block
from pipeline.scoring.parts import Part

Parcel = tuple[pa.Buffer, NDArray[np.int64], tuple[Uneven, ...]]


def of_block(block: Block) -> Parcel:
    """Return a block without its share, which is for the one that reads."""
    columns = pa.RecordBatch.from_arrays(list(block.columns.values()), list(block.columns))
    return _written(columns), block.numbers, block.uneven


def block(parcel: Parcel) -> Block:
    """Return the block; its columns lie where the parcel does."""
    columns, numbers, uneven = parcel
    batch = _read(columns)
    return Block(dict(zip(batch.schema.names, batch.columns, strict=True)), numbers, uneven, 0.0)


def of_part(part: Part) -> bytes:
    """Return a part as bytes."""
    about = (part.rejected, part.first, part.set_aside)
    return pickle.dumps((_written(part.answers), *about), protocol=5)


def part(content: bytes | pa.Buffer) -> Part:
    """Return the part."""
    found: tuple[Any, ...] = pickle.loads(content)
    return Part(_read(found[0]), *found[1:])


def _written(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def _read(buffer: pa.Buffer) -> pa.RecordBatch:
    with pa.ipc.open_stream(buffer) as stream:
        return stream.read_next_batch()
