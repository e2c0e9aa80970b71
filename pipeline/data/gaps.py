"""Which columns of a table have gaps, in training or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns import Column

_CHUNK = 2**16  # rows
_NAMED = 5  # columns in one sentence


def anywhere(cells: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return how many rows of each column are empty, `(columns,)`, of cells `(rows, columns)`."""
    found = np.zeros(cells.shape[1], np.int64)
    for start in range(0, len(cells), _CHUNK):
        found += np.isnan(np.asarray(cells[start : start + _CHUNK], np.float32)).sum(axis=0)
    return found


def note(
    columns: Sequence[Column], everywhere: NDArray[np.int64], in_training: NDArray[np.int64]
) -> str | None:
    """Return what there is to know of columns that have gaps, but none in training rows.

    Args:
        columns: Of a table.
        everywhere: `(columns,)`, rows that are empty.
        in_training: `(columns,)`, those of them that are for training.
    """
    places = np.flatnonzero((everywhere > 0) & (in_training == 0))
    if not len(places):
        return None
    found = [f"{columns[place].name!r} in {everywhere[place]} rows" for place in places[:_NAMED]]
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return (
        f"gaps that no training row has: {', '.join(found)}{more}; "
        "a number becomes the median there, a category an unknown one, and what a gap means is not learned"
    )
