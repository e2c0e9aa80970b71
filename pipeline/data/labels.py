"""Ordered labels: their names, their values, and rows' labels as indices into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data.rows import Rows
from pipeline.errors import InputError, nearest
from pipeline.topology import Topology


@dataclass(frozen=True)
class Labels:
    """The labels in their order, and how they are arranged."""

    names: tuple[str, ...]
    topology: Topology

    @property
    def count(self) -> int:
        """K."""
        return len(self.names)


def order(rows: Rows, config: Data) -> tuple[Labels, NDArray[np.int64]]:
    """Return the labels, and each row's label as an index `0 … K−1`.

    Raises InputError where the order is not known, or a row has no label or one that is not one of them.
    """
    column = f", column {rows.label_column!r}" if rows.label_column else ""
    empty = np.flatnonzero(rows.labels < 0)
    if len(empty):
        where = f" (column {rows.label_column!r})" if rows.label_column else ""
        others = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise InputError(
            f"row {empty[0] + 1} has no label{where}{others}; leave out rows whose label is not known"
        )
    names = config.labels or _numeric_order(rows.label_texts)
    if config.values:
        values = np.array(config.values)
    else:
        numbers = [_number(name) for name in names]
        rising = all(n is not None for n in numbers) and bool(np.all(np.diff(np.array(numbers, float)) > 0))
        values = np.array(numbers, float) if rising else np.arange(len(names), dtype=float)
    known = np.array([_position(text, names) for text in rows.label_texts], np.int64)
    y = known[rows.labels]
    unknown = np.flatnonzero(y < 0)
    if len(unknown):
        label = rows.label_texts[rows.labels[unknown[0]]]
        raise InputError(
            f"label {label!r} is not one of {_listed(names)} (row {unknown[0] + 1}{column})"
            f"{nearest(label, names)}"
        )
    return Labels(names, Topology.of(values.tolist(), _period(values, config))), y


def _period(values: NDArray[np.float64], config: Data) -> float | None:
    """Return the period of a cyclic topology: the one given, or one more step where steps are equal."""
    if config.topology == "linear":
        return None
    if len(values) < 3:
        raise InputError(f"data.topology: a ring needs at least 3 labels, got {len(values)}")
    steps = np.diff(values)
    if config.period is None:
        if not np.allclose(steps, steps[0]):
            raise InputError(
                f"data.period is missing: the values {values.tolist()} are not evenly spaced, "
                "so nothing says how far the last label is from the first"
            )
        return float(steps[0] * len(values))
    if not config.period > values[-1] - values[0]:
        raise InputError(
            f"data.period must be more than the way from the first value to the last, "
            f"{values[-1]:g} - {values[0]:g}, got {config.period:g}"
        )
    return config.period


def _position(text: str, names: Sequence[str]) -> int:
    """Return the place of a label, -1 where it has none; numbers are compared as such, so that 3.0 is 3."""
    if text in names:
        return names.index(text)
    numbers = [_number(name) for name in names]
    number = _number(text)
    return numbers.index(number) if number is not None and None not in numbers and number in numbers else -1


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _numeric_order(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) < 2:
        raise InputError(f"every row has the same label, {list(names)}; nothing to learn")
    words = [name for name in names if _number(name) is None]
    if words:
        raise InputError(
            f"labels such as {words[0]!r} have no order of their own; "
            f"give it as data.labels, lowest first (found: {_listed(names)})"
        )
    ordered = tuple(sorted(names, key=float))
    for first, second in pairwise(ordered):
        if float(first) == float(second):
            raise InputError(f"labels {first!r} and {second!r} are the same number; write them alike")
    return ordered


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more; are these classes?" if len(names) > most else ""
    return f"{list(names[:most])}{more}"
