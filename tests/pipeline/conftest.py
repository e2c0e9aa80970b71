"""A small trained network and its artifact, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.config import Config
from pipeline.data import Dataset, load
from serving.manifest import Manifest


@pytest.fixture(scope="session")
def config() -> Config:
    """Digits, few epochs, unequal costs."""
    return Config.model_validate(
        {
            "name": "digits",
            "data": {"source": "digits"},
            "model": {"hidden": [16]},
            "search": {"epochs": 8, "learning_rate": 0.01, "losses": ["expected_value"], "trials": 1},
            "decision": {"profile": "absolute", "over": 3.0},
        }
    )


@pytest.fixture(scope="session")
def digits(config: Config) -> Dataset:
    """The scanned digits, split."""
    return load(config)


@dataclass(frozen=True)
class Exported:
    """A trained network beside the artifact made from it."""

    model: keras.Model
    manifest: Manifest
    path: Path


@pytest.fixture(scope="session")
def exported(config: Config, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network trained on the digits, and its artifact."""
    from pipeline import sweep, train
    from pipeline.export import describe, graph

    (trial,) = sweep.plan(config, digits)
    fitted = train.fit(
        digits, trial.build_loss(digits), trial.head, config.model, config.search, trial.seed
    )
    manifest = describe.describe(config, digits, trial, run_id="0" * 32)
    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    graph.export(fitted.model, manifest, path)
    return Exported(fitted.model, manifest, path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An .npz of 400 rows, 3 columns, 4 labels that depend on the first column."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32)
    y = np.clip(np.digitize(x[:, 0] + random.normal(0, 0.3, 400), [-0.7, 0, 0.7]), 0, 3)
    np.savez(tmp_path / "rows.npz", x=x, y=y, features=["length", "width", "mass"])
    return tmp_path / "rows.npz"
