"""Rows as they were found, with what else their source says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns import Column
from pipeline.data.slices import Slices


@dataclass(frozen=True)
class Roles:
    """What columns say of rows that are no features; each `(rows,)`, None where there is no such column.

    Attributes:
        group: What a row belongs to.
        time: Rising with time.
        part: "train", "validation", "calibration" or "test".
        weight: What a row counts for.
        test: True in the source's own test part.
    """

    group: Sequence[str] | None = None
    time: NDArray[np.float64] | None = None
    dates: bool = False  # whether `time` is seconds since 1970
    part: Sequence[str] | None = None
    weight: NDArray[np.float32] | None = None
    test: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows and their labels.

    Attributes:
        cells: Images `(rows, height, width, channels)`; of a table `(rows, columns)`, see `Dataset.cells`.
        labels: `(rows,)`, index into `label_texts`; below 0 where there is none.
        label_texts: Every label that occurs.
        columns: Of a table; none of images.
        label_column: The name of the column of labels, for messages.
        roles: What else is known.
        notes: What somebody should know of the source: one sentence each.
        missing_texts: Of a table: texts that stand for a missing value, as they occur.
        slices: Of a table: of columns that are not learned from, by name, what `gate.slices` asks for.
        content: What makes rows equal, where that is not what `cells` and `columns` say: `(rows, bytes)`.
    """

    cells: NDArray[np.generic]
    labels: NDArray[np.int64]
    label_texts: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    label_column: str = ""
    roles: Roles = field(default_factory=Roles)
    notes: tuple[str, ...] = ()
    missing_texts: tuple[str, ...] = ()
    slices: Mapping[str, Slices] = field(default_factory=dict)
    content: NDArray[np.uint8] | None = None

    @classmethod
    def of_arrays(
        cls,
        cells: NDArray[np.generic],
        labels: NDArray[np.generic],
        names: Sequence[str] = (),
        roles: Roles | None = None,
    ) -> Rows:
        """Return rows of arrays; raw labels are numbers or texts, and NaN is none."""
        named = np.array([_text(label) for label in labels])
        texts, indices = np.unique(named[named != ""], return_inverse=True)
        index = np.full(len(named), -1)
        index[named != ""] = indices
        return cls(
            cells,
            index,
            tuple(texts.tolist()),
            tuple(Column(name) for name in names),
            roles=roles or Roles(),
        )


def _text(label: np.generic) -> str:
    """Return what a label is called; nothing where it is NaN."""
    if isinstance(label, np.floating):
        if np.isnan(label):
            return ""
        return str(int(label)) if label.is_integer() else str(label)
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
