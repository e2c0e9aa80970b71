"""What the entries of rows must be; made ready once for a model, so that requests cost little to check."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.manifest import Input
from serving.quote import listed, quoted

_COMPARED = 300  # names in which the nearest neighbour of a mistyped one is looked for


class Numbers:
    """The numbers of an input must be finite, or NaN where a value may be missing."""

    def __init__(self, spec: Input) -> None:
        self.spec = spec
        absent = frozenset(spec.missing)
        self._may_miss = np.array([feature in absent for feature in spec.features] or False)
        self.dtype = np.dtype(spec.dtype).newbyteorder("<")
        self.row_bytes = math.prod(spec.shape) * self.dtype.itemsize

    def all_finite(self, rows: NDArray[np.generic]) -> bool:
        """Return whether no number is infinite or NaN; may say no where very large numbers are there."""
        return self.dtype.kind == "u" or math.isfinite(np.vdot(rows, rows))  # type: ignore[arg-type]  # one pass

    def first_bad(self, rows: NDArray[np.generic]) -> tuple[int, ...] | None:
        """Return the place of the first number in `(rows, *shape)` that may not be there."""
        if self.all_finite(rows):
            return None
        good = np.isfinite(rows)
        good |= np.isnan(rows) & self._may_miss
        if good.all():
            return None
        return tuple(int(place) for place in np.unravel_index(np.argmin(good), good.shape))

    def must(self, number: np.generic, place: Sequence[int]) -> str:
        """Say what must hold of the number at a place, and what came."""
        row, *position = place
        may_miss = bool(self._may_miss[position[0]]) if self.spec.features else False
        holds = "a finite number, or NaN where a value is missing" if may_miss else "finite"
        where = (
            f"feature {self.spec.features[position[0]]!r}" if self.spec.features else f"position {position}"
        )
        said = f"must be {holds}; got {number} at row {row}, {where}"
        return said + _only(self.spec) if np.isnan(number) else said


class Categories:
    """The texts of an input must be categories, known or not, or missing, as the manifest allows it."""

    def __init__(self, spec: Input) -> None:
        self.spec = spec
        self._absent = frozenset(("", *spec.missing_texts))
        may_miss = frozenset(spec.missing)
        self._refused = [frozenset() if name in may_miss else self._absent for name in spec.features]
        self._known = None
        if not spec.unknown_allowed:
            self._known = [
                frozenset(categories) | (self._absent - refused)
                for categories, refused in zip(spec.categories, self._refused, strict=True)
            ]

    def first_bad(self, feature: int, texts: Sequence[str]) -> int | None:
        """Return the row of the first text of a feature, named by its index, that may not be there."""
        # As long as all is well these loop in C.
        if self._known is None:
            refused = self._refused[feature]
            if refused.isdisjoint(texts):
                return None
            return next(row for row, text in enumerate(texts) if text in refused)
        known = self._known[feature]
        if known.issuperset(texts):
            return None
        return next(row for row, text in enumerate(texts) if text not in known)

    def must(self, feature: int, text: str, row: int) -> str:
        """Say what must hold of a text at a row of a feature, and what came."""
        where = f"at row {row}, feature {self.spec.features[feature]!r}"
        categories = self.spec.categories[feature]
        if text in self._absent:
            return (
                f"must be a category such as {quoted(categories[0])}; got {quoted(text)}, which stands for "
                f"a missing value, {where}{_only(self.spec)}"
            )
        return (
            f"must be one of {listed(categories)}; got {quoted(text)} {where}{neighbour(text, categories)}"
        )


class Inputs:
    """The inputs of a model, with what it takes to read rows for them.

    `specs` are the inputs, `features` the names of all of them and `categorical` of those that are
    categories, `numbers` and `categories` the checks of the inputs. `alone` is the check of the only input,
    where that is of numbers.
    """

    def __init__(self, specs: Sequence[Input]) -> None:
        self.specs = tuple(specs)
        self.features = tuple(feature for spec in specs for feature in spec.features)
        self.known = frozenset(self.features)
        self.numbers = tuple(Numbers(spec) for spec in specs if spec.dtype != "string")
        self.categories = tuple(Categories(spec) for spec in specs if spec.dtype == "string")
        self.categorical = frozenset(name for one in self.categories for name in one.spec.features)
        self.alone = self.numbers[0] if len(self.specs) == 1 and self.numbers else None


def neighbour(text: str, names: Sequence[str]) -> str:
    """Return a question about the name that is nearest to a mistyped one, or nothing."""
    near = difflib.get_close_matches(text[:80], names[:_COMPARED], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _only(spec: Input) -> str:
    if not spec.missing:
        return ""
    return f"; of {spec.name} features values may be missing only in {listed(spec.missing)}"
