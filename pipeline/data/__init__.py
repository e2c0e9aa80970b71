"""Sources become checked arrays, split once."""

from pipeline.data.dataset import Dataset, load
from pipeline.data.labels import Labels

__all__ = ["Dataset", "Labels", "load"]
