"""What a column of texts is: numbers, truth values, or categories."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.columns import number
from pipeline.errors import InputError

Kind = Literal["number", "truth", "comma", "grouped", "text"]
"""Of a cell: 3.5; true; 3,5; 1 000.5; anything else."""

FEW_NUMBERS = 20
"""A column of texts with at most so many different numbers among them is one of categories: 2, 3, 5more."""

_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_GROUPED = re.compile(
    r"[+-]?\d{1,3}((,\d{3})+(\.\d+)?|(\.\d{3})+(,\d+)?|([ \u00a0\u202f'’]\d{3})+([.,]\d+)?)", re.ASCII
)
_NUMERIC = {"number", "comma", "grouped"}


def kind(cell: str) -> Kind:
    """Return what a cell is.

    >>> kind("3.5"), kind("True"), kind("3,5"), kind("1,000.5"), kind("five")
    ('number', 'truth', 'comma', 'grouped', 'text')
    """
    if number(cell) is not None:
        return "number"
    if cell.lower() in ("true", "false"):
        return "truth"
    if _COMMA.fullmatch(cell):
        return "comma"
    return "grouped" if _GROUPED.fullmatch(cell) else "text"


def present(texts: pa.Array, missing: pa.Array) -> pa.Array:
    """Return texts without blanks around them, null where they stand for a missing value."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(trimmed, missing), pa.scalar(None, pa.string()), trimmed)


@dataclass
class Seen:
    """What a column of texts has held so far."""

    name: str
    first: dict[Kind, tuple[int, str]] = field(default_factory=dict)  # row, from 1, and cell of each kind
    numbers: set[str] = field(default_factory=set)  # some of them

    def add(self, texts: pa.Array, start: int) -> None:
        """Look at the cells of more rows, `present` ones; `start` is the number of rows before them."""
        different = pc.unique(texts).drop_null()
        if not len(different):
            return
        try:
            pc.cast(different, pa.float64())
        except pa.ArrowInvalid:
            self._add_each(different.to_pylist(), texts, start)
        else:
            if "number" not in self.first:
                cell = different[0].as_py()
                self.first["number"] = (start + pc.index(texts, cell).as_py() + 1, cell)
            self._count(different.to_pylist())

    def _add_each(self, different: Iterable[str], texts: pa.Array, start: int) -> None:
        for cell in different:
            of = kind(cell)
            if of not in self.first:
                self.first[of] = (start + pc.index(texts, cell).as_py() + 1, cell)
            if of in _NUMERIC:
                self._count([cell])

    def _count(self, cells: Iterable[str]) -> None:
        for cell in cells:
            if len(self.numbers) > FEW_NUMBERS:
                return
            self.numbers.add(cell)

    def refuse_texts(self, key: str) -> None:
        """Raise InputError where a cell is no number, naming its row."""
        others = [first for of, first in self.first.items() if of not in _NUMERIC]
        if others:
            row, cell = min(others)
            raise InputError(f"{key}: column {self.name!r} must hold numbers, got {cell!r} (row {row})")

    def is_number(self, delimiter: str) -> bool:
        """Return whether the column holds numbers; truth values are 0 and 1.

        Raises InputError where it holds numbers and something else, naming the row.
        """
        kinds = set(self.first)
        if kinds <= {"number"} or kinds == {"truth"}:
            return True
        if kinds <= _NUMERIC:
            for of, refused, what in (
                ("grouped", True, "thousands separators"),
                ("comma", delimiter == ",", "a comma"),
            ):
                if refused and of in self.first:
                    row, cell = self.first[of]
                    raise InputError(
                        f"column {self.name!r} has a number with {what}, {cell!r} (row {row}); write it "
                        "with a point and without thousands separators, or name the column in "
                        "data.categorical"
                    )
            return True
        if len(self.numbers) > FEW_NUMBERS:
            row, cell = min(self.first[of] for of in kinds - _NUMERIC)
            raise InputError(
                f"column {self.name!r} holds numbers, and {cell!r} in row {row}; leave such cells empty, "
                "give the text in data.missing, or name the column in data.categorical"
            )
        return False


def as_numbers(texts: pa.Array) -> pa.Array:
    """Return `present` texts of a column of numbers as such."""
    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        lower = pc.utf8_lower(texts)
        truth = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", lower))
        return pc.cast(pc.replace_substring(truth, ",", "."), pa.float64())
