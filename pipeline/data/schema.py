"""What the numbers of a table must be, checked by pandera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pandera.pandas as pandera
from numpy.typing import NDArray
from pandera.errors import SchemaErrors

from pipeline.errors import InputError

_LARGEST = float(np.finfo(np.float32).max)
_FINITE = pandera.Check(
    lambda cells: cells.abs() <= _LARGEST,
    error=f"must be a finite number, at most {_LARGEST:.2g}, or empty",
)

NUMBERS = pandera.SeriesSchema(float, _FINITE, nullable=True)
"""Of features: finite in single precision, or missing."""

WEIGHTS = pandera.SeriesSchema(
    float,
    [_FINITE, pandera.Check.ge(0, error="a weight must not be negative")],
    nullable=False,
)
"""Of what a row counts for."""


def check(
    schema: pandera.SeriesSchema, cells: NDArray[np.float64], names: Sequence[str], start: int
) -> None:
    """Raise InputError for the first cell that is wrong.

    All cells are checked as one series, since pandera takes a millisecond for each.

    Args:
        schema: What must hold.
        cells: `(rows, columns)`.
        names: Of the columns.
        start: The number of rows before these.
    """
    try:
        schema.validate(pd.Series(cells.ravel()), lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        first = cases.loc[cases["index"].astype(int).idxmin()]
        what = "a weight must not be empty" if first["check"] == "not_nullable" else first["check"]
        row, column = divmod(int(first["index"]), len(names))
        raise InputError(
            f"column {names[column]!r}: {what}, got {first['failure_case']:g} "
            f"(row {start + row + 1}; {len(cases)} such in these rows)"
        ) from error
