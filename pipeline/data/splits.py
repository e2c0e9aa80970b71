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
    """Row numbers of each part, rising; no row is in two."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]


def part(features: NDArray[np.generic], config: Split, own_test: NDArray[np.bool_] | None = None) -> Parts:
    """Part rows by a hash, so that none moves when data grows and duplicates stay together.

    A row with hash h, uniform in [0, 1), is for testing where h < test, else for validation where
    h < test + validation, else for calibration where h < test + validation + calibration, else for
    training. Where the source has a test part of its own, that is the test part, and the others are parted
    as if test were 0.

    Of the training rows at most `train_rows` are kept, those with the highest h: the farthest from the
    other parts, so that other shares of these do not change the selection either. Equal rows are kept
    or left out together.

    Args:
        features: `(rows, …)`.
        config: Shares, seed and `train_rows`.
        own_test: `(rows,)`, True where the source says that a row is for testing.

    Returns:
        The parts; together all rows, but for the training rows beyond `train_rows`.

    Raises InputError where a part is left without rows.
    """
    rows = np.ascontiguousarray(features).reshape(len(features), -1) + 0  # -0.0 becomes its equal, 0.0
    positions = np.array([_position(row.tobytes(), config.seed) for row in rows])
    test = positions < config.test if own_test is None else own_test
    begin = config.test if own_test is None else 0.0
    validation = ~test & (positions < begin + config.validation)
    calibration = ~test & ~validation & (positions < begin + config.validation + config.calibration)
    parts = Parts(
        train=_highest(np.flatnonzero(~(test | validation | calibration)), positions, config.train_rows),
        validation=np.flatnonzero(validation),
        calibration=np.flatnonzero(calibration),
        test=np.flatnonzero(test),
    )
    for name, part_rows in vars(parts).items():
        if not len(part_rows):
            raise InputError(f"the split leaves no rows for {name}: {len(rows)} rows are too few")
    return parts


def _highest(
    train: NDArray[np.int64], positions: NDArray[np.float64], most: int | None
) -> NDArray[np.int64]:
    if most is None or len(train) <= most:
        return train
    own = positions[train]
    beyond = np.sort(own)[-most - 1]  # the first that is too many, and its equals with it
    kept: NDArray[np.int64] = train[own > beyond]
    if not len(kept):
        raise InputError(
            f"split.train_rows = {most} keeps no row: equal rows stay together, and "
            f"{np.count_nonzero(own == beyond)} are equal; give at least that many"
        )
    return kept


def _position(row: bytes, seed: int) -> float:
    digest = hashlib.blake2b(row, digest_size=8, salt=(seed % 2**64).to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") / 2**64
