"""Reading rows and their raw labels from where they are."""

from __future__ import annotations

import sys
import zipfile
import zlib
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import environment
from pipeline.config import BUILT_IN
from pipeline.data import idx
from pipeline.errors import InputError, nearest


@dataclass(frozen=True)
class Rows:
    """Rows as they were found: `features` is `(rows, F)` or `(rows, height, width, channels)`."""

    features: NDArray[np.generic]
    labels: NDArray[np.generic]
    feature_names: tuple[str, ...]  # empty for images
    test: NDArray[np.bool_] | None = None  # `(rows,)`, True in the source's own test part, if it has one


def read(source: str) -> Rows:
    """Read a source by its name, its file ending, or as the folder that it is.

    Raises InputError where it does not exist, cannot be read, or is of no known kind.
    """
    if source == "digits":
        return _digits()
    if source == "mnist":
        return _mnist()
    path = Path(source)
    if source.endswith(".npz"):
        return _npz(path)
    if source and path.is_dir():
        return _with_test_part(*idx.read(path))
    found = "is a file of another kind" if path.is_file() else "is not there"
    raise InputError(
        f"data.source must be {', '.join(map(repr, BUILT_IN))}, a .npz file or a folder of IDX files; "
        f"{source!r} {found}{nearest(path.name, BUILT_IN)}"
    )


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Rows(digits.images[..., np.newaxis].astype(np.uint8), digits.target, ())


def _mnist() -> Rows:
    environment.import_tensorflow()  # Keras would, and with its start-up chatter
    import keras

    try:
        with redirect_stdout(sys.stderr):  # where Keras shows the download's progress
            train, test = keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise InputError(
            f"data.source 'mnist' can be neither downloaded nor read from Keras' cache ({error}); "
            "give a folder that holds its four IDX files instead"
        ) from error
    return _with_test_part(train, test)


def _with_test_part(train: idx.Labelled, test: idx.Labelled) -> Rows:
    """Return grey images, `(rows, height, width, 1)`, of which the last ones are for testing."""
    images = np.concatenate([train[0], test[0]])[..., np.newaxis]
    labels = np.concatenate([train[1], test[1]])
    return Rows(images, labels, (), np.arange(len(labels)) >= len(train[1]))


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
