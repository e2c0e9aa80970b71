"""Tables as files, and what is read of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from pipeline.config import Config
from pipeline.data import Dataset, load

LABELS = ("1", "2", "3")


def config(path: Path | str, split: Mapping[str, object] | None = None, **data: object) -> Config:
    """Return the config of a table whose label is the column `y`."""
    return Config.model_validate(
        {"name": "t", "data": {"source": str(path), "label": "y", **data}, "split": split or {}}
    )


def load_table(path: Path | str, split: Mapping[str, object] | None = None, **data: object) -> Dataset:
    """Read, check and split a table whose label is the column `y`."""
    return load(config(path, split, **data))


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write columns, None as an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_parquet(path: Path, columns: Mapping[str, Any], **how: Any) -> Path:
    """Write columns, lists or Arrow's arrays."""
    parquet.write_table(pa.table(dict(columns)), path, **how)
    return path


def column(data: Dataset, name: str) -> list[float | str | None]:
    """Return the cells of a column as somebody reads them, None where one is empty."""
    place = [one.name for one in data.columns].index(name)
    texts = data.columns[place].texts
    return [
        None if np.isnan(cell) else float(cell) if texts is None else texts[int(cell)]
        for cell in data.cells[:, place]
    ]


def sides(data: Dataset) -> list[str]:
    """Return the name of each row's part."""
    found = [""] * len(data.y)
    for name, rows in vars(data.parts).items():
        for row in rows:
            found[row] = name
    return found


def as_read(data: Dataset) -> dict[str, Any]:
    """Return all that two readings of the same rows must agree about."""
    return {
        "columns": {one.name: column(data, one.name) for one in data.columns},
        "kinds": [one.texts is None for one in data.columns],
        "labels": [data.labels.names[k] for k in data.y],
        "order": data.labels,
        "sides": sides(data),
        "weights": None if data.weights is None else data.weights.tolist(),
        "fingerprint": data.fingerprint,
        "notes": data.notes,
    }
