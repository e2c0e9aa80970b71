"""Which rows a model has learned from, so that later data can be told apart from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns import contents
from pipeline.data.dataset import Dataset
from pipeline.data.sources import UNREADABLE
from pipeline.data.splits import as_bytes
from pipeline.errors import InputError

# Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014: SplitMix64.
_STEP = 0x9E3779B97F4A7C15  # odd, so that its multiples, one for each column, all differ
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


@dataclass(frozen=True)
class Seen:
    """The identities of rows that a model was trained, selected or calibrated on.

    An identity is 64 bits of what a row's features hold: of a table the `columns.content` of its cells, in
    the order of the columns' names, of an image its pixels. So it is the same in whatever order columns
    come, whatever other columns there are, whatever types they have and wherever the row stands.

    Of n rows that are held, another row is one by chance with probability n / 2⁶⁴: a millionth of a
    millionth for 18 million. A text counts by the four bytes that `columns.content` makes of it, as it
    does for the split: rows that differ in one text alone are the same with probability 2⁻³². Somebody
    who wants rows to collide can make some that do.

    Attributes:
        features: Names of the columns that identities are made of, sorted; none of images.
        identities: `(rows,)`, rising, each once.
    """

    features: tuple[str, ...]
    identities: NDArray[np.uint64]

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Return the rows of all parts but the test part."""
        features = tuple(sorted(column.name for column in data.columns))
        parts = data.parts
        rows = np.concatenate([parts.train, parts.validation, parts.calibration])
        return cls(features, np.unique(_identities(data, features)[rows]))

    def holds(self, data: Dataset, rows: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return which of some rows are among these, `(rows,)`.

        None where that cannot be said: where the data lacks one of the columns, or these are rows of a
        table and those are images.
        """
        names = {column.name for column in data.columns}
        if not names.issuperset(self.features) or bool(names) != bool(self.features):
            return None
        return np.isin(_identities(data, self.features)[rows], self.identities)

    def save(self, path: Path) -> None:
        """Write them to an .npz file, eight bytes a row."""
        with path.open("wb") as file:
            np.savez(file, features=np.array(self.features, np.str_), identities=self.identities)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` has written; raises InputError where the file cannot be read or is no such."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return cls(tuple(map(str, archive["features"])), archive["identities"])
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (KeyError, *UNREADABLE) as error:
            raise InputError(f"{path}: holds no rows that were learned from: {error}") from error


def _identities(data: Dataset, features: Sequence[str]) -> NDArray[np.uint64]:
    """Return the identity of every row, `(rows,)`, of some columns in this order, or of images."""
    if not features:
        digests = (hashlib.blake2b(image, digest_size=8).digest() for image in as_bytes(data.cells))
        return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    at = {column.name: place for place, column in enumerate(data.columns)}
    places = [at[name] for name in features]
    found = np.empty(len(data.cells), np.uint64)
    for some, held in contents(data.cells, data.columns):  # type: ignore[arg-type]
        found[some] = mix(held.T[places])
    return found


def mix(cells: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return 64 bits for each row, `(rows,)`, of cells of four bytes each, `(columns, rows)`.

    From column to column the bits so far and those of the cell go through SplitMix64's function, which is
    one to one: rows that differ in one cell only never meet.
    """
    state = np.zeros(cells.shape[1], np.uint64)
    for place, column in enumerate(cells, 1):
        state ^= column + np.uint64(place * _STEP % 2**64)
        for shift, factor in _ROUNDS:
            state ^= state >> np.uint64(shift)
            state *= np.uint64(factor)
    return state
