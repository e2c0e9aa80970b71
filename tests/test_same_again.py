"""The same config, data and seed give the same metrics, from process to process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CONFIG = """
name = "again"
[data]
source = "rows.csv"
label = "grade"
[model]
hidden = [16]
passes = 3
[search]
losses = ["rps", "cumulative_link"]
trials = 2
epochs = 5
ensemble = 2
"""


def _retrained(folder: Path) -> dict[str, float]:
    """Run the command in a folder, with a store and a server of its own, and return its metrics."""
    random = np.random.default_rng(0)
    size = random.normal(size=600)
    grade = np.digitize(size + random.normal(0, 0.4, 600), [-1, 0, 1])
    colour = random.choice(["red", "green", "blue", ""], 600)
    lines = [f"{s:.6g},{c},{g}" for s, c, g in zip(size, colour, grade, strict=True)]
    folder.mkdir()
    (folder / "rows.csv").write_text("\n".join(["size,colour,grade", *lines]), encoding="utf-8")
    (folder / "model.toml").write_text(CONFIG, encoding="utf-8")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "retrain", "model.toml", "--json"],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = folder / ".ordinal" / "runs" / "again"
    assert [path.name for path in runs.iterdir()] == [".lock"]  # a run that has finished leaves nothing
    metrics: dict[str, float] = json.loads(done.stdout)["metrics"]
    return metrics


@pytest.mark.slow
def test_two_runs_have_the_same_metrics(tmp_path: Path) -> None:
    """Every metric of the test part, to 1e-6, of an ensemble of two trainings with MC dropout."""
    first, second = _retrained(tmp_path / "first"), _retrained(tmp_path / "second")
    assert len(first) > 30
    known = {name: value for name, value in first.items() if value is not None}
    assert all(math.isfinite(value) for value in known.values())
    assert second == pytest.approx({**first, **known}, abs=1e-6, nan_ok=True)
