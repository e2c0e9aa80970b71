"""Parting rows: a row's part depends on the seed and its own content, and on nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Split
from pipeline.data import times
from pipeline.data.rows import Roles
from pipeline.errors import InputError, nearest

_CHUNK = 2**16  # rows

PARTS = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class Parts:
    """Row numbers of each part, rising; no row is in two."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]


def part(content: NDArray[np.generic], config: Split, roles: Roles | None = None) -> Parts:
    """Part rows by a hash, so that none moves when data grows and duplicates stay together.

    A row with hash h, uniform in [0, 1), is for testing where h < test, else for validation where
    h < test + validation, else for calibration where h < test + validation + calibration, else for
    training. What is hashed is the row's group where there are groups, and else its content. Where the
    source has a test part of its own, that is the test part, and the others are parted as if test were 0.

    A column of parts is taken at its word. By time, the latest rows are for testing, those before for
    calibration, those before for validation, and rows of the same time are never parted.

    Of the training rows at most `train_rows` are kept, those with the highest h: the farthest from the
    other parts, so that other shares of these do not change the selection either. Equal rows are kept
    or left out together.

    Args:
        content: `(rows, …)`, `columns.content` of a table, or pixels.
        config: Shares, seed and `train_rows`.
        roles: What else the source says of its rows.

    Returns:
        The parts; together all rows, but for the training rows beyond `train_rows`.

    Raises InputError where a part is left without rows.
    """
    roles = roles or Roles()
    keys = as_bytes(content) if roles.group is None else map(str.encode, roles.group)
    hashes = positions(keys, config.seed)
    if roles.part is not None:
        of_row = _named(roles.part)
    elif roles.time is not None:
        of_row = np.searchsorted(times.cuts(roles, config), roles.time, side="right")
    else:
        of_row = _hashed(hashes, config, roles.test)
    parts = Parts(*(np.flatnonzero(of_row == place) for place in range(len(PARTS))))
    parts = Parts(**{**vars(parts), "train": _highest(parts.train, hashes, config.train_rows)})
    for name, part_rows in vars(parts).items():
        if not len(part_rows):
            raise InputError(
                f"the split leaves no rows for {name}: {_why(len(content), len(np.unique(hashes)), roles)}"
            )
    return parts


def as_bytes(content: NDArray[np.generic]) -> Iterator[bytes]:
    """Yield what each row holds; -0.0 is its equal, 0.0."""
    for start in range(0, len(content), _CHUNK):
        some = content[start : start + _CHUNK]
        yield from (row.tobytes() for row in (some + 0 if some.dtype.kind == "f" else some))


def positions(keys: Iterable[bytes], seed: int) -> NDArray[np.float64]:
    """Return where each key falls, uniform in [0, 1): the same wherever the same key and seed meet."""
    salt = (seed % 2**64).to_bytes(8, "little")
    digests = b"".join(hashlib.blake2b(key, digest_size=8, salt=salt).digest() for key in keys)
    return np.frombuffer(digests, "<u8") / 2**64


def _hashed(
    hashes: NDArray[np.float64], config: Split, own_test: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return the place of each row's part in `PARTS`."""
    test = hashes < config.test if own_test is None else own_test
    begin = config.test if own_test is None else 0.0
    validation = hashes < begin + config.validation
    calibration = hashes < begin + config.validation + config.calibration
    return np.select([test, validation, calibration], [3, 1, 2], 0)


def _named(parts: Iterable[str]) -> NDArray[np.int64]:
    place = {name: place for place, name in enumerate(PARTS)}
    found = []
    for row, name in enumerate(parts, 1):
        if name not in place:
            raise InputError(
                f"split.column: a part is one of {', '.join(PARTS)}, "
                f"got {name!r} (row {row}){nearest(name, PARTS)}"
            )
        found.append(place[name])
    return np.array(found, np.int64)


def _why(rows: int, different: int, roles: Roles) -> str:
    if roles.part is not None:
        return "split.column names none"
    if roles.group is not None:
        return f"{len(set(roles.group))} groups, which never part, are too few"
    if roles.time is not None:
        return "no row has a time between its cuts"
    return f"{rows} rows, {different} of them different, are too few"


def _highest(train: NDArray[np.int64], hashes: NDArray[np.float64], most: int | None) -> NDArray[np.int64]:
    if most is None or len(train) <= most:
        return train
    own = hashes[train]
    beyond = np.sort(own)[-most - 1]  # the first that is too many, and its equals with it
    kept: NDArray[np.int64] = train[own > beyond]
    if not len(kept):
        raise InputError(
            f"split.train_rows = {most} keeps no row: equal rows stay together, and "
            f"{np.count_nonzero(own == beyond)} are equal; give at least that many"
        )
    return kept
