"""What a run learns from, as tables: labels by part, columns, and what is worth knowing of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.data import Dataset

_MOST = 30  # columns or labels in a report
_TEXTS = 6  # categories of a column


def label_rows(data: Dataset) -> list[dict[str, Any]]:
    """Return for each label, in their order, its value and how many rows of each part have it."""
    counts = {
        part: np.bincount(data.y[rows], minlength=data.labels.count)
        for part, rows in vars(data.parts).items()
    }
    return [
        {"label": label, "value": value, **{part: int(count[k]) for part, count in counts.items()}}
        for k, (label, value) in enumerate(zip(data.labels.names, data.labels.topology.values, strict=True))
    ]


def column_rows(data: Dataset) -> list[dict[str, Any]]:
    """Return for each column of a table what training rows hold; nothing for images."""
    found = []
    rows = len(data.parts.train)
    share = {
        column.name: empty / rows for column, empty in zip(data.columns, data.training_gaps, strict=True)
    }
    for spec in data.inputs:
        for place, feature in enumerate(spec.features):
            if spec.name == "numeric":
                low, high = spec.ranges[place]
                holds = f"{low:g} … {high:g}"
            else:
                own = spec.categories[place]
                more = f" and {len(own) - _TEXTS} more" if len(own) > _TEXTS else ""
                holds = ", ".join(own[:_TEXTS]) + more
            found.append(
                {
                    "column": feature,
                    "kind": "number" if spec.name == "numeric" else "category",
                    "missing": f"{share[feature]:.1%}" if share[feature] else "",
                    "in training": holds,
                }
            )
    order = {column.name: place for place, column in enumerate(data.columns)}
    return sorted(found, key=lambda row: order[row["column"]])


def page(data: Dataset) -> str:
    """Return all of that in Markdown, with the notes first."""
    rows, shape = f"{len(data.y):,} rows", " × ".join(map(str, data.features.shape[1:]))
    what = f"{len(data.columns)} columns" if data.columns else f"images of {shape}"
    parts = ["## Data", f"{rows}, {what}, {data.labels.count} labels."]
    if data.notes:
        parts.append("\n".join(f"- {note}" for note in data.notes))
    parts += [markdown(table) for table in (label_rows(data), column_rows(data)) if table]
    return "\n\n".join(parts)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows that all have the same keys as a Markdown table, the middle ones of many left out."""
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row.values())} |" for row in rows[:_MOST]]
    if len(rows) > _MOST:
        lines.append(f"\nand {len(rows) - _MOST} more")
    return "\n".join(lines)


def _cell(cell: Any) -> str:
    text = f"{cell:g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")
