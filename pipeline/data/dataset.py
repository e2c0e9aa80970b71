"""A data set: checked rows, labels as indices, the parts, and a fingerprint of it all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data import labels as ordered
from pipeline.data import sources, splits
from pipeline.errors import InputError
from serving.manifest import Input


@dataclass(frozen=True)
class Dataset:
    """Rows that may be learned from; `features` is `(rows, *spec.shape)`, `y` is `(rows,)` in 0 … K−1."""

    features: NDArray[np.generic]
    y: NDArray[np.int64]
    labels: ordered.Labels
    parts: splits.Parts
    feature_names: tuple[str, ...]

    @cached_property
    def spec(self) -> Input:
        """The graph's input: name, type and shape of a row, and the ranges seen in training."""
        seen = self.features[self.parts.train]
        image = seen.ndim == 4
        axes = None if image else 0
        low, high = np.atleast_1d(seen.min(axis=axes)), np.atleast_1d(seen.max(axis=axes))
        return Input(
            name="image" if image else "numeric",
            dtype="uint8" if seen.dtype == np.uint8 else "float32",
            shape=seen.shape[1:],
            features=self.feature_names,
            ranges=tuple(zip(low.astype(float).tolist(), high.astype(float).tolist(), strict=True)),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of rows, labels and split: the same wherever the same is learned."""
        digest = hashlib.sha256()
        digest.update(repr((self.features.shape, str(self.features.dtype), self.labels)).encode())
        digest.update(np.ascontiguousarray(self.features).tobytes())
        digest.update(self.y.tobytes())
        for rows in vars(self.parts).values():
            digest.update(rows.tobytes() + b"|")
        return digest.hexdigest()


def load(config: Config) -> Dataset:
    """Read, check and split the data of a config.

    Raises InputError with one sentence that says what is wrong and in which row.
    """
    rows = sources.read(config.data.source)
    labels, y = ordered.order(rows.labels, config.data)
    features = _checked(rows)
    parts = splits.part(features, config.split, rows.test)
    absent = np.setdiff1d(np.arange(labels.count), y[parts.train])
    if len(absent):
        raise InputError(
            f"{len(absent)} of {labels.count} labels have no training row, "
            f"such as {labels.names[absent[0]]!r}; every label must occur"
        )
    return Dataset(features, y, labels, parts, rows.feature_names)


def _checked(rows: sources.Rows) -> NDArray[np.generic]:
    features = rows.features
    if features.dtype == np.uint8 and features.ndim == 4:
        return features
    if features.dtype.kind not in "fiub":
        raise InputError(f"features must be numbers, got an array of {features.dtype}")
    with np.errstate(over="ignore"):
        numbers = features.astype(np.float32)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        row, *place = bad[0].tolist()
        column = repr(rows.feature_names[place[0]]) if rows.feature_names else f"pixel {place}"
        raise InputError(
            f"features must be finite, got {numbers[tuple(bad[0])]} (row {row}, {column}; "
            f"{len(bad)} such in all)"
        )
    return numbers
