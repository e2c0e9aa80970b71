"""A small artifact of a table with gaps and categories, rows for it, and the command that scores them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow
from pyarrow import parquet
from tables import write_csv

from pipeline.__main__ import main
from pipeline.config import Config
from pipeline.data import load

COLOURS, SHAPES = ("red", "green", "deep blue"), ("round", "square")


def export_fruit(folder: Path) -> Path:
    """Write the artifact of an untrained network for fruit of three grades."""
    from trained import export_untrained

    rows = fruit(600)
    grade = np.random.default_rng(1).choice(["low", "medium", "high"], 600)
    source = write_csv(folder / "fruit.csv", {**rows, "grade": grade.tolist()})
    config = Config.model_validate(
        {
            "name": "fruit",
            "data": {
                "source": str(source),
                "label": "grade",
                "labels": ["low", "medium", "high"],
                "drop": ["id"],
                "unknown": "refuse",
            },
            "model": {"hidden": [8]},
            "search": {"trials": 1},
            "decision": {
                "profiles": {
                    "sell": {"actions": ["throw away", "sell"], "cost": [[0, 9], [2, 1], [5, 0]]},
                }
            },
        }
    )
    return export_untrained(config, load(config), folder).path


def fruit(rows: int, seed: int = 0) -> dict[str, list[object]]:
    """Return columns of fruit: numbers with gaps in `weight`, categories with gaps in `colour`."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=rows).round(3)
    return {
        "id": [f"f{place:05}" for place in range(rows)],
        "size": random.normal(size=rows).round(3).tolist(),
        "weight": [
            None if gap else x for gap, x in zip(random.random(rows) < 0.2, weight.tolist(), strict=True)
        ],
        "colour": random.choice([*COLOURS, ""], rows).tolist(),
        "shape": random.choice(SHAPES, rows).tolist(),
    }


@dataclass(frozen=True)
class Ended:
    """How the command has ended, and what it has said."""

    status: int
    said: str
    out: str


class Score:
    """`ordinal-pipeline score` in this process."""

    def __init__(
        self, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.model, self._monkeypatch, self._capsys = model, monkeypatch, capsys

    def __call__(self, rows: Path, out: Path, *more: str, model: Path | str = "") -> Ended:
        """Run it to its end."""
        arguments = ["score", str(model or self.model), str(rows), str(out), *more]
        self._monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out_text, said = self._capsys.readouterr()
        return Ended(int(ended.value.code or 0), said, out_text)

    def well(self, rows: Path, out: Path, *more: str) -> pa.Table:
        """Return what it has written, after it has ended well."""
        ended = self(rows, out, *more)
        assert ended.status == 0, ended.said
        return read(out)


def read(path: Path) -> pa.Table:
    """Return a table of answers, whatever it is kept in; labels as texts."""
    if path.suffix == ".parquet":
        table = parquet.read_table(path)
        types = [pa.string() if pa.types.is_dictionary(one.type) else one.type for one in table.schema]
        return table.cast(pa.schema(list(zip(table.schema.names, types, strict=True))))
    return arrow.read_csv(path)


def peak(folder: Path, *arguments: str) -> tuple[int, str]:
    """Return the most memory that the command has as a process of its own, in kB, and what it says."""
    # A process begins with the peak of the one that it was forked from: a small one stands between.
    between = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", between, sys.executable, "-m", "pipeline", "score", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout), done.stderr


def lines(path: Path) -> Sequence[dict[str, str]]:
    """Return the rows that were set aside."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
