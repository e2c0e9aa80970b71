"""Reading rows and their raw labels from where they are."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError


@dataclass(frozen=True)
class Rows:
    """Rows as they were found: `features` is `(rows, F)` or `(rows, height, width, channels)`."""

    features: NDArray[np.generic]
    labels: NDArray[np.generic]
    feature_names: tuple[str, ...]  # empty for images


def read(source: str) -> Rows:
    """Read a source by its name or file ending.

    Raises InputError where it does not exist, cannot be read, or is of no known kind.
    """
    if source == "digits":
        return _digits()
    if source.endswith(".npz"):
        return _npz(Path(source))
    raise InputError(f"data.source {source!r} is neither 'digits' nor a .npz file")


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Rows(digits.images[..., np.newaxis].astype(np.uint8), digits.target, ())


UNREADABLE = (ValueError, TypeError, AttributeError, EOFError, zlib.error, zipfile.BadZipFile)
"""What NumPy and zipfile raise on files that are not what they seem."""


def _npz(path: Path) -> Rows:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = {"x", "y"} - set(archive.files)
            if missing:
                raise InputError(f"{path}: needs arrays 'x' and 'y', has {sorted(archive.files)}")
            features, labels = archive["x"], archive["y"]
            names = tuple(map(str, archive["features"])) if "features" in archive.files else None
    except OSError as error:
        raise InputError(f"data.source {str(path)!r} cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise InputError(f"data.source {str(path)!r} is not a readable .npz file: {error}") from error
    if features.ndim not in (2, 4):
        raise InputError(
            f"{path}: x must be (rows, features) or (rows, height, width, channels), "
            f"got shape {features.shape}"
        )
    if labels.ndim != 1 or len(labels) != len(features):
        raise InputError(
            f"{path}: y must have one label for each of {len(features)} rows, got {labels.shape}"
        )
    if features.ndim == 4:
        return Rows(features, labels, ())
    if names is None:
        names = tuple(f"x{column}" for column in range(features.shape[1]))
    if len(names) != features.shape[1] or len(set(names)) != len(names):
        raise InputError(
            f"{path}: 'features' must name each of {features.shape[1]} columns once, got {list(names)}"
        )
    return Rows(features, labels, names)
