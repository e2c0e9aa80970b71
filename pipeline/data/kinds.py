"""What a column of texts is: numbers, truth values, or categories."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data.columns import number
from pipeline.errors import InputError

Kind = Literal["number", "point", "truth", "comma", "thousands", "grouped", "text"]
"""Of a cell: 3; 3.5; true; 3,5; 3,500, which may be 3500 or 3.5; 1 000.5; anything else."""

FEW_NUMBERS = 20
"""A column of texts with at most so many different numbers among them is one of categories: 2, 3, 5more."""

_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_GROUPED = re.compile(
    r"[+-]?\d{1,3}((,\d{3})+(\.\d+)?|(\.\d{3})+(,\d+)?|([ \u00a0\u202f'’]\d{3})+([.,]\d+)?)", re.ASCII
)
_COMMAS: set[Kind] = {"comma", "thousands"}
_NUMERIC: set[Kind] = {"number", "point", "grouped", *_COMMAS}
_SHOWN = 60  # characters of a cell, in messages


def kind(cell: str) -> Kind:
    """Return what a cell is.

    >>> kind("3"), kind("3.5"), kind("True"), kind("3,5"), kind("3,500"), kind("1,000.5"), kind("five")
    ('number', 'point', 'truth', 'comma', 'thousands', 'grouped', 'text')
    """
    if number(cell) is not None:
        return "point" if "." in cell else "number"
    if cell.lower() in ("true", "false"):
        return "truth"
    if _COMMA.fullmatch(cell):
        return "thousands" if _THOUSANDS.fullmatch(cell) else "comma"
    return "grouped" if _GROUPED.fullmatch(cell) else "text"


class Missing:
    """The texts that stand for a missing value, whatever blanks are around them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = frozenset({"", *(text.strip() for text in texts)})
        self._array = pa.array(sorted(self.texts))
        numbers = [held for text in self.texts if (held := number(text)) is not None]
        self._some_are_numbers = not np.isnan(numbers).all()

    def present(self, texts: pa.Array) -> pa.Array:
        """Return texts without blanks around them, null where they stand for a missing value."""
        trimmed = pc.utf8_trim_whitespace(texts)
        return pc.if_else(pc.is_in(trimmed, self._array), pa.scalar(None, pa.string()), trimmed)

    def all_numbers(self, texts: pa.Array) -> NDArray[np.float64] | None:
        """Return texts as numbers where each of them is one as it stands and none is missing, else None.

        That is so of most cells of most tables, and takes one look at them.
        """
        if self._some_are_numbers:
            return None
        try:
            numbers = pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            return None
        return None if np.isnan(numbers).any() else numbers


@dataclass
class Seen:
    """What a column of texts has held so far.

    Attributes:
        name: Of the column.
        first: Of each kind but "number", the first row, from 1, and its cell.
        numbers: Some of the numbers.
    """

    name: str
    first: dict[Kind, tuple[int, str]] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)

    def add(self, texts: pa.Array, missing: Missing, start: int) -> None:
        """Look at the cells of more rows; `start` is the number of rows before them."""
        if missing.all_numbers(texts) is not None:
            self._add_numbers(texts, start)
            return
        present = missing.present(texts)
        for cell in pc.unique(present).drop_null().to_pylist():
            of = kind(cell)
            if of != "number" and of not in self.first:
                self.first[of] = (start + pc.index(present, cell).as_py() + 1, cell)
            if of in _NUMERIC:
                self._count([cell])

    def _add_numbers(self, texts: pa.Array, start: int) -> None:
        if "point" not in self.first:
            place = pc.index(pc.match_substring(texts, "."), True).as_py()
            if place >= 0:
                self.first["point"] = (start + place + 1, texts[place].as_py())
        if len(self.numbers) <= FEW_NUMBERS:
            self._count(pc.unique(texts).to_pylist())

    def _count(self, cells: Iterable[str]) -> None:
        for cell in cells:
            if len(self.numbers) > FEW_NUMBERS:
                return
            self.numbers.add(cell)

    @property
    def word(self) -> tuple[int, str] | None:
        """The first row, and its cell, that is no number; None where there is none."""
        return min((first for of, first in self.first.items() if of not in _NUMERIC), default=None)

    @property
    def comma(self) -> tuple[int, str] | None:
        """The first row, and its cell, that is a number with a comma and nothing else; None likewise."""
        return min((first for of, first in self.first.items() if of in _COMMAS), default=None)

    def refuse_texts(self, key: str) -> None:
        """Raise InputError where a cell is no number, naming its row."""
        if self.word:
            row, cell = self.word
            raise InputError(
                f"{key}: column {self.name!r} must hold numbers, got {shown(cell)} (row {row})"
            )

    def is_number(self, delimiter: str) -> bool:
        """Return whether the column holds numbers; truth values are 0 and 1, alone or among these.

        Raises InputError where it holds numbers and something else, or numbers that may be read in two
        ways, naming the row.
        """
        kinds = set(self.first)
        if kinds <= _NUMERIC:
            self._refuse_two_readings(delimiter)
            return True
        if kinds <= {"truth", "point"} and all(number(cell) in (0, 1) for cell in self.numbers):
            return True
        if len(self.numbers) > FEW_NUMBERS and self.word:
            row, cell = self.word
            raise InputError(
                f"column {self.name!r} holds numbers, and {shown(cell)} in row {row}; leave such cells "
                "empty, give the text in data.missing, or name the column in data.categorical"
            )
        return False

    def _refuse_two_readings(self, delimiter: str) -> None:
        """Raise InputError where commas or points among digits may stand for thousands."""
        advice = (
            "write it with a point and without thousands separators, or name the column in data.categorical"
        )
        for first, what in (
            (self.first.get("grouped"), "thousands separators"),
            (self.comma if delimiter == "," else None, "a comma"),
        ):
            if first:
                row, cell = first
                raise InputError(
                    f"column {self.name!r} has a number with {what}, {shown(cell)} (row {row}); {advice}"
                )
        if self.comma and "point" in self.first:
            (row, cell), (other, point) = self.comma, self.first["point"]
            raise InputError(
                f"column {self.name!r} has numbers with commas, {shown(cell)} (row {row}), and with "
                f"points, {shown(point)} (row {other}); write all with a point and without thousands "
                "separators, or name the column in data.categorical"
            )
        if "thousands" in self.first and "comma" not in self.first:
            row, cell = self.first["thousands"]
            raise InputError(
                f"column {self.name!r} has a number that may be {cell.replace(',', '')} or "
                f"{cell.replace(',', '.')}, {shown(cell)} (row {row}); {advice}"
            )


def as_numbers(texts: pa.Array) -> pa.Array:
    """Return `present` texts of a column of numbers as such."""
    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        lower = pc.utf8_lower(texts)
        truth = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", lower))
        return pc.cast(pc.replace_substring(truth, ",", "."), pa.float64())


def shown(cell: str) -> str:
    """Return a cell for a message, cut where it is long."""
    return repr(cell if len(cell) <= _SHOWN else f"{cell[:_SHOWN]}…")
