"""What columns of numbers hold, some rows at a time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import Split
from pipeline.data import splits, statistics, storage
from pipeline.data.statistics import Statistics
from pipeline.errors import InputError


def test_pieces_say_what_the_whole_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of seven rows: median, range, mean and deviation as NumPy has them of all at once."""
    monkeypatch.setattr(statistics, "_CHUNK", 7)
    random = np.random.default_rng(0)
    cells = random.normal(3, 2, (101, 4)).astype(np.float32)
    cells[random.random(cells.shape) < 0.2] = np.nan
    rows = np.flatnonzero(random.random(101) < 0.6)
    found = Statistics.of(cells, rows, [0, 2, 3])
    seen = cells[rows][:, [0, 2, 3]].astype(float)
    median = np.nanmedian(seen, axis=0)
    filled = np.where(np.isnan(seen), median, seen)
    assert found.empty.tolist() == np.isnan(seen).sum(axis=0).tolist()
    np.testing.assert_allclose(found.median, median)
    np.testing.assert_allclose(found.low, np.nanmin(seen, axis=0))
    np.testing.assert_allclose(found.high, np.nanmax(seen, axis=0))
    np.testing.assert_allclose(found.mean, filled.mean(axis=0))
    np.testing.assert_allclose(found.deviation, filled.std(axis=0))


def test_large_numbers_do_not_drown_their_differences() -> None:
    """Seconds since 1970 that differ by some minutes keep their deviation; constants have none."""
    moments = 1.7e9 + np.arange(50) * 60.0
    cells = np.stack([moments, np.full(50, 0.1), np.full(50, np.nan)], axis=1)
    cells[::2, 1] = np.nan
    found = Statistics.of(cells, np.arange(50), [0, 1, 2])
    assert found.deviation[0] == pytest.approx(moments.std(), rel=1e-9)
    assert found.deviation[1:].tolist() == [0, 0]
    assert (found.median[2], found.low[2], found.high[2], found.mean[2]) == (0, 0, 0, 0)


def test_of_very_many_rows_the_median_is_that_of_evenly_spaced_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more rows than the limit are sorted."""
    monkeypatch.setattr(statistics, "_SAMPLED", 10)
    cells = np.arange(95, dtype=float)[:, np.newaxis]
    assert Statistics.of(cells, np.arange(95), [0]).median[0] == np.median(cells[::10])


def test_a_split_in_pieces_is_the_same_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are hashed some at a time, and no row notices."""
    rows = np.random.default_rng(1).normal(size=(100, 3))
    whole = splits.part(rows, Split())
    monkeypatch.setattr(splits, "_CHUNK", 9)
    for name, part in vars(splits.part(rows, Split())).items():
        assert part.tolist() == getattr(whole, name).tolist()


def test_a_table_that_no_disk_holds_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is taken at once: no page that is written later can fail."""
    with pytest.raises(
        InputError, match=r"the table takes \d+\.\d GiB of .*: .*; name columns in data\.drop"
    ):
        storage.room(2**40, 2**18)
    monkeypatch.setattr(storage, "IN_MEMORY", 0)
    cells = storage.room(5, 3)
    assert isinstance(cells, np.memmap)
    assert not cells.any()
