"""Data of the pipeline's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An .npz of 400 rows, 3 columns, 4 labels that depend on the first column."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32)
    y = np.clip(np.digitize(x[:, 0] + random.normal(0, 0.3, 400), [-0.7, 0, 0.7]), 0, 3)
    np.savez(tmp_path / "rows.npz", x=x, y=y, features=["length", "width", "mass"])
    return tmp_path / "rows.npz"
