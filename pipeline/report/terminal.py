"""What a run would learn from, as a page for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.data import Dataset
from pipeline.report.data import column_rows, label_rows

_MOST = 40  # lines of a table


def show(data: Dataset, console: Console) -> None:
    """Print labels by part, columns, and what is worth knowing of them."""
    console.print(_table("Labels, and rows of each part", label_rows(data)))
    columns = column_rows(data)
    if columns:
        console.print(_table("Columns", columns))
    else:
        console.print(f"Images of {' × '.join(map(str, data.features.shape[1:]))}\n")
    for note in data.notes:
        console.print(Text(f"warning: {note}", "yellow"))


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, cell in rows[0].items():
        table.add_column(name, justify="left" if isinstance(cell, str) else "right")
    for row in rows[:_MOST]:
        table.add_row(
            *(Text(f"{cell:g}" if isinstance(cell, float) else str(cell)) for cell in row.values())
        )
    if len(rows) > _MOST:
        table.caption = f"and {len(rows) - _MOST} more"
    return table
