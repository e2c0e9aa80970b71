"""Settings that other packages read when they are imported, and fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from pipeline import environment
from pipeline.config import Config
from pipeline.data import Dataset, load

if TYPE_CHECKING:
    from trained import Exported

environment.prepare()

# Timings on a shared machine say nothing; the examples are the same in every run.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parent.parent


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
def data(config: Config) -> Dataset:
    """The scanned digits, split."""
    return load(config)


@pytest.fixture(scope="session")
def exported(config: Config, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network trained on the digits, and its artifact."""
    from trained import train_and_export

    return train_and_export(config, data, tmp_path_factory.mktemp("exported"))
