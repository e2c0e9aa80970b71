"""One block of rows becomes a part of the output, wherever that is done."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.scoring.inputs import Block
from pipeline.scoring.parts import Part
from pipeline.scoring.rejected import Rejected
from pipeline.scoring.scorer import ROW, Scorer


class BlockScorer:
    """A scorer that knows how rows are numbered and set aside; threads may share it."""

    def __init__(self, scorer: Scorer, columns: Sequence[str], delimiter: str) -> None:
        """`columns` are those of a block, in order, and `delimiter` parts the fields of rejected rows."""
        self._scorer = scorer
        self._rejected = Rejected(columns, delimiter)

    def part(self, block: Block) -> Part:
        """Answer the good rows, and say what is wrong with the others."""
        found = self._scorer.score(block.columns)
        numbers = block.numbers[found.faults.good] if found.faults.found else block.numbers
        arrays = [pa.array(numbers), *found.answers.columns]
        answers = pa.RecordBatch.from_arrays(arrays, [ROW, *found.answers.schema.names])
        lost = len(found.faults.found) + len(block.uneven)
        return Part(answers, *self._rejected.lines(block, found.faults), lost)
