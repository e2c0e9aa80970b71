"""The configuration of one model: what may be in it, `models.py` and `decision.py`, and `reading.py`."""

from pipeline.config.decision import BuiltInProfile, Decision, IntervalKind, Profile
from pipeline.config.models import (
    BUILT_IN,
    Config,
    Data,
    Model,
    Named,
    Search,
    Split,
    Tracking,
)
from pipeline.config.reading import load_config

__all__ = [
    "BUILT_IN",
    "BuiltInProfile",
    "Config",
    "Data",
    "Decision",
    "IntervalKind",
    "Model",
    "Named",
    "Profile",
    "Search",
    "Split",
    "Tracking",
    "load_config",
]
