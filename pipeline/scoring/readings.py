"""Whether the commas of a column of numbers have one reading, which only its last row tells.

`3,5` is 3.5 where no comma parts the fields. Where others are written `3.5`, or all that have a comma look
like `3,500`, nobody knows. Training and `ordinal-serving predict` refuse such files as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data import kinds
from pipeline.errors import InputError
from pipeline.scoring.inputs import Source
from pipeline.scoring.texts import COMMA, NUMBER, THOUSANDS
from serving.manifest import Input

_ADVICE = "write its numbers with points and without thousands separators"


def needed(source: Source, inputs: Iterable[Input]) -> bool:
    """Return whether a column of numbers holds texts that may have commas."""
    return source.commas and any(_columns(source, inputs))


def check(source: Source, inputs: Iterable[Input]) -> None:
    """Read a file for that alone.

    Raises InputError, naming column and rows, where there are two readings.
    """
    seen = list(_columns(source, inputs))
    for block in source.blocks(source.rows):
        for column in seen:
            column.add(block.columns[column.name], block.numbers)
            column.refuse_both()
    for column in seen:
        column.refuse_thousands()


def _columns(source: Source, inputs: Iterable[Input]) -> Iterator[_Seen]:
    for spec in inputs:
        for name in spec.features if spec.dtype != "string" else ():
            if source.file.types[source.at[name]] == "text":
                yield _Seen(name, kinds.Missing(spec.missing_texts))


@dataclass
class _Seen:
    """The first number of a column with a point, with a comma, and with one that may part thousands."""

    name: str
    missing: kinds.Missing
    first: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, cells: pa.Array, rows: NDArray[np.int64]) -> None:
        if "point" not in self.first:
            self._note("point", cells, rows, ".", NUMBER)
        if "comma" not in self.first:
            self._note("thousands", cells, rows, ",", THOUSANDS)
            self._note("comma", cells, rows, ",", COMMA, but=THOUSANDS)

    def _note(
        self, what: str, cells: pa.Array, rows: NDArray[np.int64], sign: str, pattern: str, but: str = ""
    ) -> None:
        having = pc.match_substring(cells, sign).fill_null(False)
        if what in self.first or not pc.any(having).as_py():
            return
        texts = self.missing.present(cells.filter(having))
        fits = pc.match_substring_regex(texts, pattern)
        if but:
            fits = pc.and_(fits, pc.invert(pc.match_substring_regex(texts, but)))
        place = pc.index(fits.fill_null(False), True).as_py()
        if place >= 0:
            row = rows[having.to_numpy(zero_copy_only=False)][place]
            self.first[what] = (int(row), texts[place].as_py())

    def refuse_both(self) -> None:
        commas = [self.first[what] for what in ("comma", "thousands") if what in self.first]
        if commas and "point" in self.first:
            (row, text), (other, point) = min(commas), self.first["point"]
            raise InputError(
                f"column {self.name!r} has numbers with commas, {kinds.shown(text)} (row {row}), and with "
                f"points, {kinds.shown(point)} (row {other}); {_ADVICE}"
            )

    def refuse_thousands(self) -> None:
        if "thousands" in self.first and "comma" not in self.first:
            row, text = self.first["thousands"]
            raise InputError(
                f"column {self.name!r} has a number that may be {text.replace(',', '')} or "
                f"{text.replace(',', '.')}, {kinds.shown(text)} (row {row}); {_ADVICE}"
            )
