"""The configuration of one model: `models.py` and what it holds, read by `reading.py`."""

from pipeline.config.data import BUILT_IN, MISSING, Data, Split
from pipeline.config.decision import BuiltInProfile, Decision, IntervalKind, Profile
from pipeline.config.gate import Gate
from pipeline.config.models import Config, Model, Tracking
from pipeline.config.notify import Notify
from pipeline.config.reading import load_config, told_of
from pipeline.config.search import Named, Search
from pipeline.config.space import Range, Space

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
    "Notify",
    "Profile",
    "Range",
    "Search",
    "Space",
    "Split",
    "Tracking",
    "load_config",
    "told_of",
]
