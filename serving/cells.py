"""Columns of a file, cell by cell, become numbers or categories as training reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from serving.model_info import Input
from serving.quote import listed, quoted

_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # 3,500 may be 3.5 or 3500
_GROUPED = re.compile(
    r"[+-]?\d{1,3}((,\d{3})+(\.\d+)?|(\.\d{3})+(,\d+)?|([ \u00a0\u202f'’]\d{3})+([.,]\d+)?)", re.ASCII
)
_TRUTH = {"true": 1.0, "false": 0.0}


def numbers(entries: Sequence[Any], feature: str, spec: Input, commas: bool = False) -> list[float]:
    """Return a feature's cells as numbers, NaN where one is missing.

    A cell is a number, or a text for one: digits with a decimal point, `inf`, `true` or `false` in any case
    of letters, blanks around it left out. It is missing where it is None, empty, `nan`, or one of the
    input's `missing_texts`. Infinite ones are for the service to refuse.

    Args:
        entries: The cells.
        feature: Their name, for messages.
        spec: The input that the feature belongs to.
        commas: Whether numbers may have a comma for the point.

    Raises ValueError or TypeError, naming the row, for the first cell that is neither, and where a number
    with a comma may be read in two ways.
    """
    absent = _absent(spec)
    found: list[float] = []
    marked: dict[str, tuple[int, str]] = {}  # row and text of the first number of each kind
    for row, entry in enumerate(entries):
        if not isinstance(entry, str):
            found.append(_bare(entry, feature, row))
            continue
        text = entry.strip()
        number = float("nan") if text in absent else _number(text, commas)
        if number is None:
            raise ValueError(f"row {row}, feature {feature!r}: {_no_number(entry, feature, spec)}")
        found.append(number)
        if commas and text not in absent:
            marked.setdefault(_mark(text), (row, text))
    _refuse_two_readings(feature, marked)
    return found


def categories(entries: Sequence[Any], feature: str, spec: Input) -> list[str]:
    """Return a feature's cells as categories, with the blanks around them.

    One is the empty text where it is None, or but for blanks a text that stands for a missing value.

    Raises TypeError for the first cell that is no text, naming its row.
    """
    absent = _absent(spec)
    found = []
    for row, entry in enumerate(entries):
        if entry is not None and not isinstance(entry, str):
            raise TypeError(
                f"row {row}, feature {feature!r}: a category must be a text or null, got {shown(entry)}"
            )
        text = entry or ""
        found.append("" if text.strip() in absent and text not in spec.missing_texts else text)
    return found


def shown(entry: Any) -> str:
    """Return what came out of JSON as it stood there, cut where it is long."""
    return quoted(json.dumps(entry, ensure_ascii=False))[1:-1]


def _absent(spec: Input) -> frozenset[str]:
    return frozenset(("", *(text.strip() for text in spec.missing_texts)))


def _bare(entry: Any, feature: str, row: int) -> float:
    if entry is None:
        return float("nan")
    if isinstance(entry, (bool, int, float)):
        return float(entry)
    raise TypeError(f"row {row}, feature {feature!r}: must be a number or null, got {shown(entry)}")


def _number(text: str, commas: bool) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if commas and _COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    return _TRUTH.get(text.lower())


def _mark(text: str) -> str:
    if "," in text:
        return "thousands" if _THOUSANDS.fullmatch(text) else "comma"
    return "point" if "." in text else "none"


def _refuse_two_readings(feature: str, marked: dict[str, tuple[int, str]]) -> None:
    """Raise ValueError where commas may part thousands."""
    comma = min((marked[mark] for mark in ("comma", "thousands") if mark in marked), default=None)
    if comma and "point" in marked:
        (row, point), (comma_row, text) = marked["point"], comma
        raise ValueError(
            f"feature {feature!r} must have decimal points or decimal commas, got {quoted(point)} in row "
            f"{row} and {quoted(text)} in row {comma_row}; write all its numbers with points"
        )
    if "thousands" in marked and "comma" not in marked:
        row, text = marked["thousands"]
        raise ValueError(
            f"row {row}, feature {feature!r}: must be a number in one reading only, got {quoted(text)}, "
            f"which may be {text.replace(',', '')} or {text.replace(',', '.')}; write it with a point"
        )


def _no_number(entry: str, feature: str, spec: Input) -> str:
    """Say what must hold of a text that is no number, and what to do."""
    said = f"must be a number, got {quoted(entry)}"
    text = entry.strip()
    if _COMMA.fullmatch(text):
        return f"{said}; write it with a decimal point"
    if _GROUPED.fullmatch(text):
        return f"{said}; write it without thousands separators"
    if feature not in spec.missing:
        return said
    texts = f", or one of {listed(spec.missing_texts)}" if spec.missing_texts else ""
    return f"{said}; where a value is missing, leave the field empty{texts}"
