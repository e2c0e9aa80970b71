"""Sources become checked arrays, split once."""

from pipeline.data.dataset import Dataset, load

__all__ = ["Dataset", "load"]
