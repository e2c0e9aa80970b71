"""Reading rows and their raw labels from where they are."""

from __future__ import annotations

import sys
import zipfile
import zlib
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import environment
from pipeline.config import BUILT_IN, Config
from pipeline.data import built_in, idx, images, table
from pipeline.data.rows import Roles, Rows
from pipeline.errors import InputError, nearest

_OFTABLES = ("label", "features", "drop", "categorical", "group", "time", "weight")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


def read(config: Config) -> Rows:
    """Read a source by its name, its file ending, or as the folder that it is.

    Raises InputError where it does not exist, cannot be read, or is of no known kind.
    """
    source = config.data.source
    path = Path(source)
    if source not in BUILT_IN and source.lower().endswith(TABLES):
        return table.read(path, config)
    _refuse_columns(config)
    if source == "digits":
        return Rows.of_arrays(*built_in.digits())
    if source == "diabetes":
        return _of_numbers(*built_in.diabetes())
    if source == "mnist":
        return _mnist()
    if source.endswith(".npz"):
        return _npz(path)
    if source and path.is_dir():
        if any(path.glob("*-images-idx3-ubyte*")):
            return _with_test_part(*idx.read(path))
        found = images.read(path, config.data.image_size)
        rows = Rows.of_arrays(found.pixels, found.labels)
        return replace(rows, notes=found.notes, content=found.content)
    kind = "is a file of another kind" if path.is_file() else "is not there"
    raise InputError(
        f"data.source must be {', '.join(map(repr, BUILT_IN))}, a .csv, .tsv, .parquet or .npz file, or a "
        f"folder of images or IDX files; {source!r} {kind}{nearest(path.name, BUILT_IN)}"
    )


def _refuse_columns(config: Config) -> None:
    """Raise InputError where keys are given that are about columns by name."""
    given = [f"data.{key}" for key in _OFTABLES if getattr(config.data, key)]
    given += ["split.column"] if config.split.column else []
    if given:
        raise InputError(
            f"{given[0]} names a column of a .csv or .parquet table, which the source "
            f"{config.data.source!r} is not"
        )


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
    return Rows.of_arrays(images, labels, roles=Roles(test=np.arange(len(labels)) >= len(train[1])))


def _of_numbers(features: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Rows:
    """Return rows of a table of numbers, of which NaN are missing; raise InputError for infinite ones."""
    with np.errstate(over="ignore"):
        numbers = features.astype(np.float32)
    bad = np.argwhere(np.isinf(numbers))
    if len(bad):
        row, column = bad[0].tolist()
        raise InputError(
            f"features must be finite, got {features[row, column]:g} (row {row + 1}, {names[column]!r}; "
            f"{len(bad)} such in all)"
        )
    return Rows.of_arrays(numbers, labels, names)


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
    if features.dtype.kind not in "fiub":
        raise InputError(f"features must be numbers, got an array of {features.dtype}")
    if features.ndim == 4:
        return Rows.of_arrays(_pixels(features), labels)
    if names is None:
        names = tuple(f"x{column}" for column in range(features.shape[1]))
    if len(names) != features.shape[1] or len(set(names)) != len(names):
        raise InputError(
            f"{path}: 'features' must name each of {features.shape[1]} columns once, got {list(names)}"
        )
    return _of_numbers(features, labels, names)


def _pixels(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    with np.errstate(over="ignore"):
        numbers = images.astype(np.float32)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        row, *place = bad[0].tolist()
        raise InputError(
            f"features must be finite, got {numbers[tuple(bad[0])]} (row {row + 1}, pixel {place}; "
            f"{len(bad)} such in all)"
        )
    return numbers
