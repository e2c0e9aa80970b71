"""Rows that a model has learned from are found again in later data, and no others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tables import LABELS, config, load_table, write_csv, write_parquet

from pipeline.config import Config
from pipeline.data import Dataset, load
from pipeline.data.seen import Seen, mix
from pipeline.errors import InputError

ROWS = 400
_RANDOM = np.random.default_rng(0)
TABLE: dict[str, list[Any]] = {
    "number": [None if row % 50 == 0 else row % 17 for row in range(ROWS)],
    "word": [f"w{row % 11}" for row in range(ROWS)],
    "real": _RANDOM.normal(size=ROWS).tolist(),
    "y": [LABELS[row % 3] for row in range(ROWS)],
}


def _learned(data: Dataset) -> np.ndarray:
    """Whether a row is in another part than test."""
    return np.isin(np.arange(len(data.y)), data.parts.test, invert=True)


def _held(seen: Seen, data: Dataset) -> np.ndarray:
    held = seen.holds(data, np.arange(len(data.y)))
    assert held is not None
    return held


@pytest.fixture
def before(tmp_path: Path) -> Dataset:
    """What the model has learned from."""
    return load_table(write_csv(tmp_path / "before.csv", TABLE))


def test_rows_of_all_parts_but_test_are_seen(before: Dataset) -> None:
    """Training, selection and calibration have all looked at their rows."""
    seen = Seen.of(before)
    assert seen.features == ("number", "real", "word")
    assert len(seen.identities) == _learned(before).sum()
    np.testing.assert_array_equal(_held(seen, before), _learned(before))
    some = before.parts.test[::3]
    assert seen.holds(before, some) is not None
    assert not _held(seen, before)[some].any()


def test_what_was_saved_is_loaded(before: Dataset, data: Dataset, tmp_path: Path) -> None:
    """Of tables and of images, under the very name that was given."""
    for each in (before, data):
        seen = Seen.of(each)
        seen.save(tmp_path / "seen")
        loaded = Seen.load(tmp_path / "seen")
        assert loaded.features == seen.features
        np.testing.assert_array_equal(loaded.identities, seen.identities)
        np.testing.assert_array_equal(_held(loaded, each), _held(seen, each))


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_a_file_that_is_no_such_is_told(content: bytes | None, tmp_path: Path) -> None:
    """Empty, of another kind, or not there."""
    path = tmp_path / "seen.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"seen.npz: (holds no rows that were learned from|cannot be read): "
    ):
        Seen.load(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(InputError, match="holds no rows that were learned from"):
        Seen.load(path)


def test_grown_data_in_another_order_keeps_old_rows_known(before: Dataset, tmp_path: Path) -> None:
    """New rows before them, one of which makes a number a text, and a column more, in Parquet."""
    new = {
        "another": [f"{row}" for row in range(ROWS + 40)],
        "word": ["a new one"] * 20 + ["w3"] * 20 + TABLE["word"],
        "y": [LABELS[row % 3] for row in range(40)] + TABLE["y"],
        "real": [row + 0.25 for row in range(40)] + TABLE["real"],
        "number": [
            "many",
            *["3"] * 39,
            *(None if cell is None else f"{cell}.0" for cell in TABLE["number"]),
        ],
    }
    data = load_table(write_parquet(tmp_path / "after.parquet", new), {"seed": 7})
    assert [column.texts is None for column in data.columns] == [True, False, True, False]
    held = _held(Seen.of(before), data)
    assert not held[:40].any()
    np.testing.assert_array_equal(held[40:], _learned(before))


def test_another_seed_of_the_split_changes_nothing(before: Dataset, tmp_path: Path) -> None:
    """The same rows are known in whatever part they are now."""
    data = load_table(tmp_path / "before.csv", {"seed": 1})
    assert (_learned(data) != _learned(before)).any()
    np.testing.assert_array_equal(_held(Seen.of(before), data), _learned(before))


def test_an_equal_row_is_known_and_one_that_differs_in_a_cell_is_not(
    before: Dataset, tmp_path: Path
) -> None:
    """Whatever its label: duplicates of a row that was learned from tell nothing new."""
    learned = np.flatnonzero(_learned(before) & (np.arange(ROWS) % 50 != 0))[:30]
    doubled = {name: [cells[row] for row in learned] * 5 for name, cells in TABLE.items()}
    doubled["y"] = [LABELS[row % 3] for row in range(150)]
    changes = {"number": 99, "word": "w99", "real": 99.5}
    for times, (name, cell) in enumerate(changes.items(), 2):
        doubled[name][30 * times : 30 * (times + 1)] = [cell] * 30
    held = _held(Seen.of(before), load_table(write_csv(tmp_path / "d.csv", doubled)))
    assert held.reshape(5, 30).all(axis=1).tolist() == [True, True, False, False, False]
    assert held.sum() == 60


def test_duplicates_are_kept_once(tmp_path: Path) -> None:
    """They are in one part, and count as one row."""
    twice = {name: cells * 2 for name, cells in TABLE.items()}
    data = load_table(write_csv(tmp_path / "t.csv", twice))
    seen = Seen.of(data)
    assert 2 * len(seen.identities) == _learned(data).sum()
    assert (np.diff(seen.identities.astype(object)) > 0).all()


def test_nothing_can_be_said_where_a_column_is_missing(
    before: Dataset, data: Dataset, tmp_path: Path
) -> None:
    """Nor of images by rows of a table, and the other way round."""
    less = load_table(tmp_path / "before.csv", drop=["word"])
    rows = np.arange(3)
    assert Seen.of(before).holds(less, rows) is None
    assert Seen.of(before).holds(data, rows) is None
    assert Seen.of(data).holds(before, rows) is None
    # By fewer columns than there are now it can: rows that agree in them are the same.
    np.testing.assert_array_equal(_held(Seen.of(less), before), _learned(less))


def test_a_model_of_some_training_rows_has_not_seen_the_others(before: Dataset, tmp_path: Path) -> None:
    """Those beyond `split.train_rows` are in no part."""
    few = load(config(tmp_path / "before.csv", {"train_rows": 50}))
    held = _held(Seen.of(few), before)
    assert held[few.parts.train].all()
    assert held[before.parts.train].sum() == 50


def test_images_are_known_by_their_pixels(data: Dataset, tmp_path: Path) -> None:
    """One brightness of one pixel makes another image."""
    images, labels = data.cells[::-1].copy(), data.y[::-1]
    learned = _learned(data)[::-1]
    changed = np.flatnonzero(learned)[:40]
    images[changed, 3, 3, 0] += 100
    np.savez(tmp_path / "t.npz", x=images, y=labels)
    other = load(Config.model_validate({"name": "t", "data": {"source": str(tmp_path / "t.npz")}}))
    held = _held(Seen.of(data), other)
    assert not held[changed].any()
    learned[changed] = False
    np.testing.assert_array_equal(held, learned)


@given(arrays(np.uint32, st.tuples(st.integers(1, 6), st.integers(2, 9))), st.data())
def test_rows_that_differ_in_one_cell_never_meet(cells: np.ndarray, draw: st.DataObject) -> None:
    """From column to column no two states become one."""
    column = draw.draw(st.integers(0, len(cells) - 1))
    cells[:] = cells[:, :1]
    cells[column] = np.arange(cells.shape[1]) * 2**27
    assert len(np.unique(mix(cells))) == cells.shape[1]


def test_identities_look_drawn_at_random() -> None:
    """Of 2¹⁸ rows of six small numbers none meet, and every bit is set in half of them."""
    numbers = np.stack(np.meshgrid(*[np.arange(8)] * 6, indexing="ij"), 0).reshape(6, -1)
    found = mix(numbers.astype(np.float32).view(np.uint32))
    assert len(np.unique(found)) == 8**6
    set_bits = [((found >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    np.testing.assert_allclose(set_bits, 0.5, atol=0.005)
