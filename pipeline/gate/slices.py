"""Whether the candidate is worse on some of the rows: those of a label, or of a value of a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Gate
from pipeline.gate.cost import Difference
from pipeline.gate.resampling import exchanged, holm
from pipeline.gate.verdict import Check
from pipeline.gate.words import percent


@dataclass(frozen=True)
class Column:
    """What parts rows into slices.

    Attributes:
        name: Of the column.
        words: How a slice is called before its value.
        values: `(V,)`, in their order.
        group: `(rows,)`, index of the value of each row.
    """

    name: str
    words: str
    values: Sequence[str]
    group: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, values: NDArray[np.str_]) -> Column:
        """Return the column of a table of which each row has a value, `(rows,)`; "" is a missing one."""
        distinct, group = np.unique(values, return_inverse=True)
        return cls(name, f"{name} =", distinct.tolist(), group)


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common, and what they cost."""

    name: str  # quality = 3
    words: str  # label '3'
    difference: Difference


def check(
    candidate: NDArray[np.floating],
    champion: NDArray[np.floating],
    columns: Sequence[Column],
    gate: Gate,
    *,
    told_only: bool,
) -> list[Check]:
    """Return a check for each value of each column.

    A slice fails where the candidate costs more than `slice_margin` more, and that it costs more at all is
    beyond chance: p ≤ 1 − confidence by `exchanged`, and by `holm` over all slices that are judged.

    Args:
        candidate: `(rows,)`, cost[true label, decision].
        champion: `(rows,)`, the same of the other.
        columns: What parts the rows.
        gate: Margin, confidence and fewest rows.
        told_only: Whether nothing fails.
    """
    slices = [one for column in columns for one in _slices(candidate, champion, column, gate.confidence)]
    judged = [not told_only and one.difference.rows >= gate.min_slice_rows for one in slices]
    chances = [_chance(one.difference, gate) for one in compress(slices, judged)]
    adjusted = iter(holm(np.array(chances)).tolist())
    return [
        _check(one, gate, next(adjusted) if fit else None, len(chances), told_only)
        for one, fit in zip(slices, judged, strict=True)
    ]


def _slices(
    candidate: NDArray[np.floating], champion: NDArray[np.floating], column: Column, confidence: float
) -> Iterator[Slice]:
    """Yield the slices of the values of a column, of those that occur."""
    order = np.argsort(column.group, kind="stable")
    ends = np.searchsorted(column.group[order], np.arange(len(column.values) + 1))
    for value, start, end in zip(column.values, ends[:-1], ends[1:], strict=True):
        if start == end:
            continue
        rows = order[start:end]
        yield Slice(
            # By other words than those of a value, since one may be "empty".
            f"{column.name} = {value}" if value else f"{column.name} is empty",
            f"{column.words} {value!r}" if value else f"an empty {column.name}",
            Difference.of(candidate[rows], champion[rows], confidence),
        )


def _check(one: Slice, gate: Gate, chance: float | None, judged: int, told_only: bool) -> Check:
    """Return the check of a slice.

    Args:
        one: The slice.
        gate: Margin, confidence and fewest rows.
        chance: Its adjusted p-value; None where it is only told.
        judged: Of how many slices.
        told_only: Whether no slice is judged.
    """
    found, n = one.difference, one.difference.places
    name, passed, numbers = f"slice: {one.name}", None if chance is None else True, found.numbers
    more = (
        f"{abs(found.mean):.{n}f} {'more' if found.mean > 0 else 'less'} a row"
        if found.mean
        else "the same"
    )
    words = (
        f"{one.words} costs {more} ({found.candidate:.{n}f} instead of {found.champion:.{n}f}, "
        f"{found.rows} rows)"
    )
    if chance is not None:
        if found.mean > gate.slice_margin:
            lower, upper = found.interval
            numbers |= {"lower": lower, "upper": upper, "chance": chance}
            passed = chance > 1 - gate.confidence
            words += (
                f", {percent(gate.confidence)} interval {lower:.{n}f} to {upper:.{n}f}: "
                f"more than slice_margin = {gate.slice_margin:g}"
            )
            if passed:
                among = f" on one of {judged} slices" if judged > 1 else ""
                words += f", but maybe by chance (p = {chance:.2g}{among})"
    elif not told_only:
        words += f"; fewer rows than min_slice_rows = {gate.min_slice_rows}, so only told"
    return Check(name, passed, words, numbers)


def _chance(difference: Difference, gate: Gate) -> float:
    """Return `exchanged`, or 1 of what cannot fail: others are then judged no less strictly."""
    return exchanged(difference.kinds) if difference.mean > gate.slice_margin else 1.0
