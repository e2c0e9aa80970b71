"""The configuration of one model: `models.py`, `data.py` and `decision.py`, read by `reading.py`."""

from pipeline.config.data import BUILT_IN, MISSING, Data, Split
from pipeline.config.decision import BuiltInProfile, Decision, IntervalKind, Profile
from pipeline.config.models import Config, Gate, Model, Named, Search, Tracking
from pipeline.config.reading import load_config

__all__ = [
    "BUILT_IN",
    "MISSING",
    "BuiltInProfile",
    "Config",
    "Data",
    "Decision",
    "Gate",
    "IntervalKind",
    "Model",
    "Named",
    "Profile",
    "Search",
    "Split",
    "Tracking",
    "load_config",
]
