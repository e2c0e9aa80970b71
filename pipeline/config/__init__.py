"""The configuration of one model: `models.py` says what may be in it, `reading.py` reads it."""

from pipeline.config.models import (
    BUILT_IN,
    BuiltInProfile,
    Config,
    Data,
    Decision,
    IntervalKind,
    Model,
    Named,
    Profile,
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
