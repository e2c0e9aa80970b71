"""Columns of a table become what a graph is fed, as training reads them; cells that are wrong are named.

All good cells of a column are converted at once; only what is wrong is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data import kinds, parquet_file
from pipeline.data.aside import MARK
from pipeline.errors import nearest
from pipeline.scoring.faults import Faults
from pipeline.scoring.texts import COMMA, NUMBER
from serving.manifest import Input

Columns = Mapping[str, pa.Array]

_HINTS = 20  # unknown categories of a column in a batch for which the nearest one is looked for …
_COMPARED = 300  # … among so many
_LISTED = 12
_PROBED = 128  # rows


class Numbers:
    """The cells of an input of numbers."""

    def __init__(self, spec: Input, commas: bool) -> None:
        """`commas` says whether texts may have a comma for the decimal point."""
        self.name = spec.name
        self._spec, self._commas = spec, commas
        self._missing = kinds.Missing(spec.missing_texts)
        self._may_miss = frozenset(spec.missing)

    def read(self, columns: Columns, faults: Faults) -> NDArray[np.generic]:
        """Return them, `(rows, features)`, NaN where one is missing; the wrong ones go to `faults`."""
        features = self._spec.features
        found = np.empty((faults.rows, len(features)), np.float32)
        unread: dict[int, NDArray[np.bool_]] = {}
        for place, feature in enumerate(features):
            numbers, wrong = self._column(columns[feature])
            with np.errstate(over="ignore"):  # what overflows becomes infinite, which is wrong
                found[:, place] = numbers
            if wrong is not None:
                unread[place] = wrong
        finite = np.isfinite(found)
        if not finite.all():
            for place in np.flatnonzero(~finite.all(axis=0)).tolist():
                feature, numbers = features[place], found[:, place]
                wrong = np.isinf(numbers) | unread.get(place, np.False_)
                if feature not in self._may_miss:
                    wrong |= np.isnan(numbers)
                rows = np.flatnonzero(wrong)
                cells = columns[feature].take(pa.array(rows)).to_pylist()
                faults.add(
                    feature,
                    (
                        (int(row), self._reason(cell, feature, float(numbers[row])))
                        for row, cell in zip(rows, cells, strict=True)
                    ),
                )
        return found

    def _column(self, cells: pa.Array) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return numbers, NaN where there is none, and which of these are texts that are none."""
        if pa.types.is_float32(cells.type):
            return cells.to_numpy(zero_copy_only=False), None
        if not pa.types.is_string(cells.type):
            return parquet_file.as_numbers(cells).to_numpy(zero_copy_only=False), None
        # A cell that cannot be cast costs as much as hundreds that can.
        if self._missing.all_numbers(cells[:_PROBED]) is not None:
            numbers = self._missing.all_numbers(cells)
            if numbers is not None:
                return numbers, None
        return self._texts(self._missing.present(cells))

    def _texts(self, texts: pa.Array) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return numbers, of texts without blanks around them that are null where they are missing."""
        numbers = _all_numbers(self._with_points(texts))
        if numbers is not None:
            return numbers, None
        lower = pc.utf8_lower(texts)
        truth = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", texts))
        if self._commas:
            point = pc.replace_substring(truth, ",", ".")
            truth = pc.if_else(pc.match_substring_regex(truth, COMMA), point, truth)
        good = pc.match_substring_regex(truth, NUMBER)
        read = pc.if_else(good, truth, pa.scalar(None, pa.string())).cast(pa.float64())
        wrong = pc.invert(good).fill_null(False).to_numpy(zero_copy_only=False)
        return read.to_numpy(zero_copy_only=False), wrong if wrong.any() else None

    def _with_points(self, texts: pa.Array) -> pa.Array:
        """Return texts with points for commas, unless one that is no number would become one."""
        if not self._commas:
            return texts
        comma = pc.match_substring(texts, ",")
        # 1, and 1,5e3 are none, while 1. and 1.5e3 are.
        odd = pc.or_(pc.ends_with(texts, ","), pc.match_substring(texts, "e", ignore_case=True))
        if not pc.any(comma).as_py() or pc.any(pc.and_(odd, comma)).as_py():
            return texts
        return pc.replace_substring(texts, ",", ".")

    def _reason(self, cell: object, feature: str, number: float) -> str:
        """Say what must hold of a cell, and what it is."""
        text = cell if isinstance(cell, str) else ""
        if MARK in text:
            return no_text(text)
        came = kinds.shown(text) if isinstance(cell, str) else f"{cell}"
        if np.isinf(number):
            return f"must be a finite number in single precision, got {came}"
        gap = cell is None or cell != cell or text.strip() in self._missing.texts
        if gap or kinds.kind(text.strip()) == "number":  # NaN
            held = f"got {came}" if text else "it is empty"
            return f"must be a number, since no training row had a gap there; {held}"
        advice = {
            "comma": "; write it with a decimal point",
            "thousands": "; write it with a decimal point",
            "grouped": "; write it without thousands separators",
        }.get(kinds.kind(text.strip()), "")
        if not advice and feature in self._may_miss:
            advice = "; where a value is missing, leave the cell empty"
        return f"must be a number, got {came}{advice}"


class Categories:
    """The cells of an input of categories."""

    def __init__(self, spec: Input) -> None:
        self.name = spec.name
        self._spec = spec
        self._absent = frozenset(("", *(text.strip() for text in spec.missing_texts)))
        self._kept = frozenset(spec.missing_texts)
        self._may_miss = frozenset(spec.missing)
        self._known = [frozenset(categories) for categories in spec.categories]

    def read(self, columns: Columns, faults: Faults) -> NDArray[np.generic]:
        """Return their texts as objects, `(rows, features)`; those that are wrong go to `faults`."""
        found = np.empty((faults.rows, len(self._spec.features)), np.object_)
        for place, feature in enumerate(self._spec.features):
            cells = columns[feature]
            if pa.types.is_float16(cells.type):  # of which Arrow makes no dictionary
                cells = cells.cast(pa.float32())
            encoded = cells.dictionary_encode()
            different = parquet_file.as_texts(encoded.dictionary).to_pylist()
            texts = [self._text(text) for text in (*different, None)]
            reasons = self._reasons(place, texts)
            at = encoded.indices.fill_null(len(different)).to_numpy(zero_copy_only=False)
            found[:, place] = np.array(texts, np.object_)[at]
            if any(reasons):
                rows = np.flatnonzero(np.array([reason is not None for reason in reasons])[at])
                faults.add(feature, ((int(row), reasons[at[row]] or "") for row in rows))
        return found

    def _text(self, text: str | None) -> str:
        """Return a text as the graph has it: blanks belong to a category, not to what is missing."""
        if text is None:
            return ""
        return "" if text.strip() in self._absent and text not in self._kept else text

    def _reasons(self, place: int, texts: list[str]) -> list[str | None]:
        """Return what is wrong with each of some texts, None where nothing is."""
        feature, known = self._spec.features[place], self._known[place]
        found: list[str | None] = [None] * len(texts)
        hints = _HINTS
        for index, text in enumerate(texts):
            if MARK in text:
                found[index] = no_text(text)
            elif text == "" or text in self._kept:
                if feature not in self._may_miss:
                    held = f"got {kinds.shown(text)}" if text else "it is empty"
                    found[index] = f"must be a category, since no training row had a gap there; {held}"
            elif not self._spec.unknown_allowed and text not in known:
                categories = self._spec.categories[place]
                hint = nearest(text[:80], categories[:_COMPARED]) if hints > 0 else ""
                hints -= 1
                found[index] = f"must be one of {_listed(categories)}, got {kinds.shown(text)}{hint}"
        return found


def readers(inputs: tuple[Input, ...], commas: bool) -> list[Numbers | Categories]:
    """Return what reads each input of a table."""
    return [Categories(spec) if spec.dtype == "string" else Numbers(spec, commas) for spec in inputs]


def check_texts(name: str, cells: pa.Array, faults: Faults) -> None:
    """Note the cells of a column that are no texts."""
    if pa.types.is_string(cells.type):
        wrong = pc.match_substring(cells, MARK).fill_null(False).to_numpy(zero_copy_only=False)
        if wrong.any():
            bad = cells.filter(pa.array(wrong)).to_pylist()
            faults.add(name, zip(compress(range(len(wrong)), wrong), map(no_text, bad), strict=True))


def no_text(text: str) -> str:
    """Say that a cell holds bytes that are no text."""
    return (
        f"must be text of the file's encoding, got {kinds.shown(text.replace(MARK, '�'))}; save the file "
        "as UTF-8, or give its encoding"
    )


def _all_numbers(texts: pa.Array) -> NDArray[np.float64] | None:
    """Return texts as numbers, NaN where there is none, if each is one."""
    if len(texts) > _PROBED and _all_numbers(texts[:_PROBED]) is None:
        return None
    try:
        numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    # Arrow takes nan(…) for one too.
    return numbers if np.count_nonzero(np.isnan(numbers)) == texts.null_count else None


def _listed(categories: tuple[str, ...]) -> str:
    more = f", … {len(categories) - _LISTED} more" if len(categories) > _LISTED else ""
    return f"[{', '.join(map(kinds.shown, categories[:_LISTED]))}{more}]"
