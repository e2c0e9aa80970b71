"""The rows that the candidate was most wrong about, as somebody looks at them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pipeline.data import Dataset, images
from pipeline.report.answered import Answered
from pipeline.report.page import charts
from pipeline.report.page.summary import number

SHOWN = 15
_CELLS, _MOST_CELLS = 12, 60  # of a row: seen at once, and at all
_LETTERS = 80  # of a cell


def rows(answered: Answered, data: Dataset) -> list[dict[str, Any]]:
    """Return the test rows that cost most, of equal ones those whose label was least probable.

    Rows that cost nothing and whose label was the most probable one are not wrong at all.
    """
    order = np.lexsort((answered.truth, -answered.paid))
    wrong = ((answered.paid > 0) | ~answered.hit)[order]
    return [_row(int(place), answered, data) for place in order[wrong][:SHOWN]]


def _row(place: int, answered: Answered, data: Dataset) -> dict[str, Any]:
    p, names = answered.probabilities[place], data.labels.names
    row, truth, mode = int(answered.rows[place]), int(answered.y[place]), int(np.argmax(p))
    cells = _cells(row, data)
    return {
        "row": f"{row + 1:,}",
        "truth": names[truth],
        "decision": answered.profile.actions[answered.decision[place]],
        "cost": f"{answered.paid[place]:.6g}",
        "chance": number(float(p[truth]), 3),
        "mode": names[mode],
        "mode_chance": number(float(p[mode]), 3),
        "chart": charts.bars(p, truth, names),
        "image": _image(row, data),
        "cells": cells[:_CELLS],
        "more": cells[_CELLS:_MOST_CELLS],
        "left": max(0, len(cells) - _MOST_CELLS),
    }


def _cells(row: int, data: Dataset) -> list[tuple[str, str]]:
    """Return the names and texts of what a row of a table holds; nothing of an image."""
    found = []
    for column, cell in zip(data.columns, data.cells[row] if data.columns else (), strict=True):
        text = column.shown(cell) if column.texts is None or np.isnan(cell) else column.texts[int(cell)]
        found.append((column.name, text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"))
    return found


def _image(row: int, data: Dataset) -> str:
    """Return an image as a data URI; "" of a table."""
    if data.columns:
        return ""
    low, high = data.inputs[0].ranges[0]
    return f"data:image/png;base64,{base64.b64encode(images.png(data.cells[row], low, high)).decode()}"
