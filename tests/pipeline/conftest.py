"""Data of the pipeline's tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from registered import Store
    from scored import Score
    from trained import Exported


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An .npz of 400 rows, 3 columns, 4 labels that depend on the first column."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32)
    y = np.clip(np.digitize(x[:, 0] + random.normal(0, 0.3, 400), [-0.7, 0, 0.7]), 0, 3)
    np.savez(tmp_path / "rows.npz", x=x, y=y, features=["length", "width", "mass"])
    return tmp_path / "rows.npz"


@pytest.fixture(scope="session")
def versions(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with versions 1 to 3 of a model, and no champion; to be copied, not changed."""
    from registered import Store

    store = Store(tmp_path_factory.mktemp("versions"), exported.path)
    for _ in range(3):
        store.register()
    return store


@pytest.fixture
def store(versions: Store, tmp_path: Path) -> Store:
    """A store of its own with versions 1 to 3 of a model, and no champion."""
    return versions.copy(tmp_path)


@pytest.fixture(scope="session")
def fruit_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a table with texts, gaps and numbers, untrained."""
    from scored import export_fruit

    return export_fruit(tmp_path_factory.mktemp("fruit"))


@pytest.fixture
def score(fruit_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Score:
    """`ordinal-pipeline score` in this process, with that artifact."""
    from scored import Score

    return Score(fruit_model, monkeypatch, capsys)
