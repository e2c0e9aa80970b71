"""What somebody should know of rows before a network learns from them; nothing here is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns import Column
from pipeline.data.encoding import MOST_CATEGORIES
from pipeline.data.kinds import Seen, shown
from pipeline.data.labels import Labels
from pipeline.data.splits import Parts

FEW_ROWS = 5
"""Rows of a label in a part, below which what the part says of that label is chance."""

_CHUNK = 2**16  # rows
_LOOKED_AT = 200_000  # rows, in which a column that gives the label away is looked for
_NAMED = 5  # columns in one sentence


def notes(
    content: NDArray[np.generic],
    cells: NDArray[np.generic],
    columns: Sequence[Column],
    y: NDArray[np.int64],
    labels: Labels,
    parts: Parts,
) -> Iterator[str]:
    """Yield one sentence for each thing that is worth looking at.

    Args:
        content: `(rows, …)`, what makes rows equal.
        cells: `(rows, columns)`, or images.
        columns: Of a table; none of images.
        y: `(rows,)`, index of the label.
        labels: In their order.
        parts: Which rows serve what.
    """
    yield from _few_rows(y, labels, parts)
    yield from _duplicate_rows(content, y, parts)
    if columns:
        table = np.asarray(cells, np.float32)
        held = _held(content, table)
        yield from _constant(table, columns, held)
        yield from _duplicate_columns(columns, held)
        yield from _stand_ins(columns, held)
        yield from _many_categories(columns, held)
        yield from _giving_away(table[:_LOOKED_AT], columns, y[:_LOOKED_AT])


@dataclass
class _Held:
    """What a column holds, seen some rows at a time: a table may be larger than memory."""

    first: np.generic
    constant: bool = True
    filled: int = 0
    stand_ins: int = 0
    digest: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, content: NDArray[np.generic], cells: NDArray[np.float32]) -> None:
        self.constant = self.constant and bool((content == self.first).all())
        self.filled += int(np.count_nonzero(~np.isnan(cells)))
        self.stand_ins += int(np.count_nonzero(cells == -(2**31)))
        self.digest.update(content.tobytes())


def _held(content: NDArray[np.generic], cells: NDArray[np.float32]) -> list[_Held]:
    found = [_Held(first) for first in content[0]]
    for start in range(0, len(cells), _CHUNK):
        some = slice(start, start + _CHUNK)
        for one, own, numbers in zip(found, content[some].T, cells[some].T, strict=True):
            one.add(own, numbers)
    return found


def _few_rows(y: NDArray[np.int64], labels: Labels, parts: Parts) -> Iterator[str]:
    for part, rows in vars(parts).items():
        counts = np.bincount(y[rows], minlength=labels.count)
        few = [f"{labels.names[k]!r} has {counts[k]}" for k in np.flatnonzero(counts < FEW_ROWS)]
        if few:
            yield f"few rows of a label in {part}: {_some(few)}; what it says of that label is chance"


def _duplicate_rows(content: NDArray[np.generic], y: NDArray[np.int64], parts: Parts) -> Iterator[str]:
    rows = np.ascontiguousarray(content).reshape(len(content), -1)
    digests = np.fromiter((_number(row.tobytes()) for row in rows), np.uint64, len(rows))
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    again = len(rows) - len(first)
    if again:
        apart = len(np.unique(group[y != y[first][group]]))
        said = [
            f"{again} rows repeat another one",
            *([f"{apart} sets of equal rows have labels that differ"] if apart else []),
        ]
        of_part = np.concatenate([group[own] for own in vars(parts).values()])
        which = np.repeat(np.arange(len(vars(parts))), [len(own) for own in vars(parts).values()])
        in_parts = np.bincount(np.unique(np.stack([of_part, which]), axis=1)[0], minlength=len(first))
        torn = int(np.count_nonzero(in_parts[of_part] > 1))
        if torn:
            said.append(
                f"{torn} rows have an equal one in another part, so that scores tell of rows that were "
                "learned from"
            )
        yield "; ".join(said)


def _number(row: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little")


def _constant(
    cells: NDArray[np.float32], columns: Sequence[Column], held: Sequence[_Held]
) -> Iterator[str]:
    found = [
        f"{column.name!r} is always {column.shown(cells[0, place])}"
        for place, column in enumerate(columns)
        if held[place].constant
    ]
    if found:
        yield f"columns that say nothing: {_some(found)}; name them in data.drop"


def _duplicate_columns(columns: Sequence[Column], held: Sequence[_Held]) -> Iterator[str]:
    first: dict[bytes, str] = {}
    same = []
    for column, own in zip(columns, held, strict=True):
        before = first.setdefault(own.digest.digest(), column.name)
        if before != column.name and not own.constant:
            same.append(f"{column.name!r} is {before!r}")
    if same:
        yield f"columns that are the same as another: {_some(same)}; name them in data.drop"


def _stand_ins(columns: Sequence[Column], held: Sequence[_Held]) -> Iterator[str]:
    found = [
        f"{column.name!r} in {own.stand_ins} rows"
        for column, own in zip(columns, held, strict=True)
        if column.texts is None and own.stand_ins
    ]
    if found:
        yield f"-2147483648 often stands for a missing value: {_some(found)}; leave such cells empty"


def _many_categories(columns: Sequence[Column], held: Sequence[_Held]) -> Iterator[str]:
    for column, own in zip(columns, held, strict=True):
        count = len(column.texts or ())
        if count > MOST_CATEGORIES:
            yield (
                f"column {column.name!r} has {count} different texts, of which the {MOST_CATEGORIES} most "
                "frequent are categories and the others unknown; if it names rows, name it in data.drop"
            )
        elif names_rows(own.filled, column):
            yield (
                f"column {column.name!r} has {count} different texts in {own.filled} rows; "
                "if it names rows, name it in data.drop"
            )


def names_rows(filled: int, column: Column) -> bool:
    """Return whether a column of categories has another text in more than every second filled row."""
    different = len(column.texts or ())
    return different > 20 and 2 * different > filled


def _giving_away(
    cells: NDArray[np.float32], columns: Sequence[Column], y: NDArray[np.int64]
) -> Iterator[str]:
    for place, column in enumerate(columns):
        own, ordered = cells[:, place], column.texts is None
        filled = ~np.isnan(own)
        where = ""
        if not _gives_away(own, y, ordered):
            if filled.all() or 2 * np.count_nonzero(filled) < len(own):
                continue
            if not _gives_away(own[filled], y[filled], ordered):
                continue
            where = " where it is not empty"
        yield (
            f"column {column.name!r} tells the label of every row by itself{where}; if it is not known "
            "before the label is, name it in data.drop"
        )


def _gives_away(cells: NDArray[np.float32], y: NDArray[np.int64], ordered: bool) -> bool:
    """Return whether equal cells have equal labels, and that is no wonder of having few equal ones.

    It is none where cells repeat, five rows a value or more, or where each label is a range of numbers.
    Empty cells, NaN, are equal ones.
    """
    by_cell = np.argsort(cells, kind="stable")
    own, of = cells[by_cell], y[by_cell]
    same_cell = (own[1:] == own[:-1]) | np.isnan(own[:-1])  # NaN are last
    if np.any(same_cell & (of[1:] != of[:-1])):
        return False
    values = 1 + np.count_nonzero(~same_cell)
    ranges = 1 + np.count_nonzero(of[1:] != of[:-1])
    found = len(np.unique(y))
    repeated = values * 5 <= len(y)
    return bool(found > 1 and (repeated or (ordered and ranges == found and len(y) >= 10 * found)))


def decimal_commas(columns: Sequence[Seen]) -> Iterator[str]:
    """Yield one sentence if numbers of a file are read with decimal commas.

    Args:
        columns: Of numbers, as the file has them.
    """
    for column in columns:
        if column.comma:
            row, cell = column.comma
            others = [other for other in columns if "point" in other.first]
            points = ""
            if others:
                at, other = others[0].first["point"]
                points = f"; a point is one too, {shown(other)} in row {at} of {others[0].name!r}"
            yield (
                f"numbers are read with decimal commas: {shown(cell)} in row {row} of {column.name!r} is "
                f"{cell.replace(',', '.')}{points}"
            )
            return


def mixed(columns: Sequence[Seen]) -> Iterator[str]:
    """Yield one sentence if columns of categories hold numbers, or true and false, and words.

    Args:
        columns: Of categories, but for those that the config calls so.
    """
    found = []
    for column in columns:
        word = column.first.get("text", column.word)
        if word and (column.numbers or {"truth", "text"} <= set(column.first)):
            found.append(f"{column.name!r} ({shown(word[1])} in row {word[0]})")
    if found:
        yield (
            f"numbers and words make categories: {_some(found)}; name such columns in data.categorical, "
            "or if a word is a slip, mend it or give it in data.missing"
        )


def padded(columns: Sequence[Column]) -> Iterator[str]:
    """Yield one sentence if categories have blanks around them."""
    found = [
        f"{shown(text)} in {column.name!r}"
        for column in columns
        if (text := next((text for text in column.texts or () if text != text.strip()), None)) is not None
    ]
    if found:
        yield (
            f"categories with blanks around them are taken as they stand: {_some(found)}; rows that are "
            "asked about must have them too"
        )


def _some(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return ", ".join(parts[:_NAMED]) + more
