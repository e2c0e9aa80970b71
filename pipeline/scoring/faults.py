"""What is wrong with rows of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is set aside: the first of its cells that is wrong, or the row itself without a column."""

    column: str
    reason: str
    others: int = 0

    @property
    def sentence(self) -> str:
        """The reason, and how many other cells are wrong."""
        more = f"; {self.others} more of its cells {'is' if self.others == 1 else 'are'} wrong"
        return f"{self.reason}{more}" if self.others else self.reason


class Faults:
    """The rows of a batch that cannot be scored, by their places."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.found: dict[int, Fault] = {}

    def add(self, column: str, reasons: Iterable[tuple[int, str]]) -> None:
        """Note cells of a column that are wrong."""
        for row, reason in reasons:
            first = self.found.get(row)
            self.found[row] = (
                Fault(first.column, first.reason, first.others + 1) if first else Fault(column, reason)
            )

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which rows have none, `(rows,)`."""
        good = np.ones(self.rows, np.bool_)
        good[list(self.found)] = False
        return good
