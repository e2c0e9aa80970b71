"""The rows that are set aside, as lines of a CSV file that can be mended and scored itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pyarrow as pa

from pipeline.data import parquet_file
from pipeline.data.aside import MARK
from pipeline.scoring.faults import Faults
from pipeline.scoring.inputs import Block

OWN = ("row", "column", "reason", "line")


class Rejected:
    """How such a file is written: our columns, then those that were read, parted as in the rows' own file.

    So a number with a decimal comma can stay one. `line` holds a row of a text file that has too many or
    too few fields, as it stands there.
    """

    def __init__(self, columns: Sequence[str], delimiter: str) -> None:
        self._columns, self._delimiter = tuple(columns), delimiter or ","

    @property
    def header(self) -> bytes:
        """Its first line."""
        return self._written(
            [[*OWN, *(f"input.{name}" if name in OWN else name for name in self._columns)]]
        )

    def lines(self, block: Block, faults: Faults) -> bytes:
        """Return the lines of a block, by row."""
        found: list[tuple[int, list[str]]] = [
            (one.row, [str(one.row), "", one.reason, _shown(one.text)]) for one in block.uneven
        ]
        places = sorted(faults.found)
        cells = [_texts(block.columns[name].take(pa.array(places, pa.int64()))) for name in self._columns]
        for place, own in zip(places, zip(*cells, strict=True), strict=True):
            fault, row = faults.found[place], int(block.numbers[place])
            found.append((row, [str(row), fault.column, fault.sentence, "", *own]))
        width = len(OWN) + len(self._columns)
        return self._written([line + [""] * (width - len(line)) for _, line in sorted(found)])

    def _written(self, lines: Sequence[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(lines)
        return text.getvalue().encode()

    def first(self, content: bytes) -> str:
        """Return what is said of the first row of some lines."""
        text = io.StringIO(content.decode(), newline="")
        row, column, reason, *_ = next(csv.reader(text, delimiter=self._delimiter))
        return f"row {row}, column {column!r} {reason}" if column else f"row {row} {reason}"


def _texts(cells: pa.Array) -> list[str]:
    try:
        texts = parquet_file.as_texts(cells).to_pylist()
    except pa.ArrowNotImplementedError:  # of lists, say
        texts = [None if cell is None else str(cell) for cell in cells.to_pylist()]
    return [_shown(text or "") for text in texts]


def _shown(text: str) -> str:
    return text.replace(MARK, "�")
