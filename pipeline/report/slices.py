"""Test rows parted by label and by the columns of `gate.slices`: what each part costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.gate import Check, Verdict
from pipeline.report.answered import Answered, standard_error


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common.

    Attributes:
        value: What: a label, or the text in a column; "" where a cell is missing.
        rows: How many.
        cost: Mean realised cost of the default profile.
        standard_error: Of the cost; NaN of a single row.
        accuracy: Share of rows whose most probable label is the true one.
        mae: Mean steps between the true label and the decided one; where actions are not the labels, the
            one of least expected distance.
        check: What the gate says of it; None where there is no verdict, or none of these rows.
    """

    value: str
    rows: int
    cost: float
    standard_error: float
    accuracy: float
    mae: float
    check: Check | None = None

    @property
    def name(self) -> str:
        """The value for reading."""
        return self.value or "empty"


@dataclass(frozen=True)
class Column:
    """What parts the rows.

    Attributes:
        name: Of the column, or "label".
        slices: Of each value that occurs, in their order.
    """

    name: str
    slices: list[Slice]


def of(answered: Answered, data: Dataset, config: Config, verdict: Verdict | None) -> list[Column]:
    """Return the labels, and each column of `gate.slices`, as the gate parts them.

    Args:
        answered: The test rows.
        data: Whose test part they are.
        config: Names the columns.
        verdict: Whose checks are put beside the slices, if there is one.
    """
    checks = {check.name: check for check in verdict.checks} if verdict else {}
    name = config.data.label or "label"
    columns = [Column(name, list(_slices(name, data.labels.names, answered.y, answered, checks)))]
    for column in config.gate.slices:
        values, group = np.unique(data.slice_values(column, answered.rows), return_inverse=True)
        columns.append(Column(column, list(_slices(column, values.tolist(), group, answered, checks))))
    return columns


def _slices(
    column: str,
    values: Sequence[str],
    group: NDArray[np.int64],
    answered: Answered,
    checks: dict[str, Check],
) -> Iterator[Slice]:
    for place, value in enumerate(values):
        own = group == place
        if not own.any():
            continue
        yield Slice(
            value,
            int(np.sum(own)),
            float(np.mean(answered.paid[own])),
            standard_error(answered.paid[own]),
            float(np.mean(answered.hit[own])),
            float(np.mean(answered.error[own])),
            checks.get(f"slice: {column} = {value}" if value else f"slice: {column} is empty"),
        )
