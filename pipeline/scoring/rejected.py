"""The rows that are set aside, as lines of a CSV file that can be mended and scored itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import pyarrow as pa

from pipeline.data import parquet_file
from pipeline.data.aside import MARK, Uneven
from pipeline.scoring.faults import Faults
from pipeline.scoring.inputs import Block
from pipeline.scoring.names import free

_OWN = ("row", "column", "reason", "line")
_SLICE = 1000  # rows whose cells are Python's texts at once, each of which takes more room than a number


class Rejected:
    """How such a file is written: our columns, then those that were read, parted as in the rows' own file.

    So a number with a decimal comma can stay one. `line` holds a row of a text file that has too many or
    too few fields, as it stands there. A column of the file keeps its name, so one of ours that is called
    alike gets another.
    """

    def __init__(self, columns: Sequence[str], delimiter: str) -> None:
        self._columns, self._delimiter = tuple(columns), delimiter or ","

    @property
    def header(self) -> bytes:
        """Its first line."""
        own = [free(name, self._columns, "rejected.") for name in _OWN]
        return self._written([[*own, *self._columns]])

    def lines(self, block: Block, faults: Faults) -> tuple[bytes, str]:
        """Return the lines of a block, by row, and what is said of the first of its rows."""
        found: list[tuple[int, Uneven | int]] = [
            *((one.row, one) for one in block.uneven),
            *((int(block.numbers[place]), place) for place in faults.found),
        ]
        if not found:
            return b"", ""
        found.sort(key=itemgetter(0))
        content = io.BytesIO()
        for start in range(0, len(found), _SLICE):
            content.write(self._written(self._lines(found[start : start + _SLICE], block, faults)))
        row, what = found[0]
        if isinstance(what, Uneven):
            first = f"row {row} {what.reason}"
        else:
            first = f"row {row}, column {faults.found[what].column!r} {faults.found[what].sentence}"
        return content.getvalue(), first

    def _lines(
        self, found: Sequence[tuple[int, Uneven | int]], block: Block, faults: Faults
    ) -> Iterator[Sequence[str]]:
        places = pa.array([what for _, what in found if not isinstance(what, Uneven)], pa.int64())
        cells = zip(*(_texts(block.columns[name].take(places)) for name in self._columns), strict=True)
        for row, what in found:
            if isinstance(what, Uneven):
                yield [str(row), "", what.reason, _shown(what.text), *("" for _ in self._columns)]
            else:
                fault = faults.found[what]
                yield [str(row), fault.column, fault.sentence, "", *next(cells)]

    def _written(self, lines: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(lines)
        return text.getvalue().encode()


def _texts(cells: pa.Array) -> list[str]:
    try:
        texts = parquet_file.as_texts(cells).to_pylist()
    except pa.ArrowException:  # of lists, say, or of bytes that are no text
        texts = [None if cell is None else str(cell) for cell in cells.to_pylist()]
    return [_shown(text or "") for text in texts]


def _shown(text: str) -> str:
    return text.replace(MARK, "�")
