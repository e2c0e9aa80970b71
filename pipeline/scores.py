"""How good probabilities of validation rows are, by what the config says that mistakes cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import costs, metrics
from pipeline.config import Config
from pipeline.data import Dataset


def default_profile(config: Config, data: Dataset) -> costs.Profile:
    """Return the profile that the config decides by."""
    found = costs.profiles(config.decision, data.labels.topology, data.labels.names)
    return found[config.decision.profile]


def score(p: NDArray[np.floating], profile: costs.Profile, data: Dataset) -> dict[str, float]:
    """Return the scores of validation rows, `(rows, K)`."""
    y, topology = data.y[data.parts.validation], data.labels.topology
    return metrics.score(y, p, profile.cost, topology, own_actions=not profile.decides_labels)
