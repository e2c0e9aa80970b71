"""Parting rows: a row's part depends on the seed and its own content, and on nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Split
from pipeline.errors import InputError


@dataclass(frozen=True)
class Parts:
    """Row numbers of each part, rising."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def part(features: NDArray[np.generic], config: Split) -> Parts:
    """Part rows by a hash, so that none moves when data grows and duplicates stay together.

    A row with hash h, uniform in [0, 1), is for testing where h < test, for validation where
    h < test + validation, else for training.

    Raises InputError where a part is left without rows.
    """
    rows = np.ascontiguousarray(features).reshape(len(features), -1) + 0  # -0.0 becomes its equal, 0.0
    positions = np.array([_position(row.tobytes(), config.seed) for row in rows])
    test = positions < config.test
    validation = ~test & (positions < config.test + config.validation)
    parts = Parts(
        train=np.flatnonzero(~test & ~validation),
        validation=np.flatnonzero(validation),
        test=np.flatnonzero(test),
    )
    for name in ("train", "validation", "test"):
        if not len(getattr(parts, name)):
            raise InputError(f"the split leaves no rows for {name}: {len(rows)} rows are too few")
    return parts


def _position(row: bytes, seed: int) -> float:
    digest = hashlib.blake2b(row, digest_size=8, salt=(seed % 2**64).to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") / 2**64
