"""Rows, labels and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import Config, Data, Split
from pipeline.data import Dataset, labels, load, sources, splits
from pipeline.data.rows import Roles, Rows
from pipeline.errors import InputError


def _config(source: Path | str, **data: object) -> Config:
    return Config.model_validate({"name": "t", "data": {"source": str(source), **data}})


def _same_number(name: str, label: object) -> bool:
    try:
        return float(name) == pytest.approx(float(str(label)))
    except ValueError:
        return False


def _labelled(raw: Sequence[object]) -> Rows:
    return Rows.of_arrays(np.zeros((len(raw), 1), np.float32), np.array(raw), ["a"])


def test_digits_are_images_of_bytes() -> None:
    """The built-in digits come as 1,797 grey images with labels 0 … 9 in their order."""
    data = load(_config("digits"))
    assert data.features.shape == (1797, 8, 8, 1)
    assert data.features.dtype == np.uint8
    assert data.labels.names == tuple("0123456789")
    assert data.labels.topology.values == tuple(range(10))
    assert [spec.name for spec in data.inputs] == ["image"]


def test_a_table_keeps_its_column_names(table: Path) -> None:
    """An .npz with x, y and features is a table whose columns are named."""
    data = load(_config(table))
    (spec,) = data.inputs
    assert spec.features == ("length", "width", "mass")
    assert spec.dtype == "float32"
    low, high = spec.ranges[0]
    seen = data.features[data.parts.train][:, 0].astype(float)
    assert (low, high) == (seen.min(), seen.max())


def test_a_row_never_changes_sides_when_data_grows() -> None:
    """Ten per cent more rows move no old row, wherever the new ones stand."""
    random = np.random.default_rng(1)
    old, new = random.normal(size=(500, 4)), random.normal(size=(50, 4))

    def sides(rows: NDArray[np.float64]) -> dict[bytes, str]:
        parts = splits.part(rows, Split())
        return {rows[i].tobytes(): name for name, part in vars(parts).items() for i in part}

    before, after = sides(old), sides(np.concatenate([new, old]))
    assert {row: after[row] for row in before} == before


def test_duplicates_stay_together_and_shares_are_kept() -> None:
    """Equal rows are on one side; the parts have about the shares asked for."""
    random = np.random.default_rng(2)
    rows = np.repeat(random.normal(size=(3000, 2)), 2, axis=0)
    parts = splits.part(rows, Split(test=0.3, validation=0.1))
    signed = np.array([[0.0, 1.0], [-0.0, 1.0]] * 300 + [[float(i), 0.0] for i in range(100)])
    sides = [name for name, part in vars(splits.part(signed, Split())).items() if 0 in part or 1 in part]
    assert len(sides) == 1  # 0.0 and -0.0 are equal
    for part in vars(parts).values():
        assert set(part // 2 * 2) | set(part // 2 * 2 + 1) == set(part)
    assert len(parts.test) / 6000 == pytest.approx(0.3, abs=0.03)
    assert len(parts.validation) / 6000 == pytest.approx(0.1, abs=0.02)
    assert len(parts.calibration) / 6000 == pytest.approx(0.15, abs=0.02)
    assert sum(map(len, vars(parts).values())) == 6000


def test_another_seed_is_another_split() -> None:
    """The seed decides who is tested."""
    rows = np.random.default_rng(3).normal(size=(200, 2))
    assert splits.part(rows, Split(seed=0)).test.tolist() != splits.part(rows, Split(seed=1)).test.tolist()


def test_no_row_of_the_digits_ever_changes_sides(data: Dataset) -> None:
    """The parts of the built-in digits are those of the first release."""
    sides = np.zeros(1797, np.uint8)
    sides[data.parts.validation], sides[data.parts.test] = 1, 2
    assert (
        hashlib.sha256(sides.tobytes()).hexdigest()
        == "653044a52acc5e9229c94e4f23c9fafe8e57a59be314f91ba4d1408cb8b64fa9"
    )


def _side(parts: splits.Parts, part: str, rows: NDArray[np.float64]) -> set[bytes]:
    return {rows[i].tobytes() for i in getattr(parts, part)}


def test_a_test_part_of_the_source_is_kept() -> None:
    """Rows that the source marks are the test part; validation has its share of the others, by the hash."""
    rows = np.random.default_rng(4).normal(size=(6000, 2))
    marked = np.arange(6000) >= 4000
    parts = splits.part(rows, Split(test=0.5, validation=0.25), Roles(test=marked))
    assert parts.test.tolist() == list(range(4000, 6000))
    assert len(parts.validation) / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(parts.calibration) / 4000 == pytest.approx(0.15, abs=0.03)
    assert sorted([*parts.train, *parts.validation, *parts.calibration]) == list(range(4000))
    other = splits.part(rows[2000:], Split(test=0.1, validation=0.25), Roles(test=marked[2000:]))
    assert (other.validation + 2000).tolist() == parts.validation[parts.validation >= 2000].tolist()


@pytest.mark.parametrize("marked", [False, True], ids=["hashed", "the source's own"])
def test_fewer_training_rows_are_some_of_the_more(marked: bool) -> None:
    """`train_rows` takes a subset, the same in any order of rows; no other part changes."""
    rows = np.random.default_rng(5).normal(size=(2000, 2))
    own_test = Roles(test=np.arange(2000) < 500 if marked else None)
    every = splits.part(rows, Split(), own_test)
    kept = [splits.part(rows, Split(train_rows=n), own_test) for n in (100, 400, 10_000)]
    assert [len(parts.train) for parts in kept] == [100, 400, len(every.train)]
    assert set(kept[0].train) < set(kept[1].train) < set(kept[2].train) == set(every.train)
    for parts in kept:
        assert parts.validation.tolist() == every.validation.tolist()
        assert parts.test.tolist() == every.test.tolist()
        assert parts.calibration.tolist() == every.calibration.tolist()
    turned = splits.part(
        rows[::-1],
        Split(train_rows=100),
        Roles(test=None if own_test.test is None else own_test.test[::-1]),
    )
    assert _side(turned, "train", rows[::-1]) == _side(kept[0], "train", rows)


def test_a_training_row_is_kept_whatever_the_other_parts_are() -> None:
    """Rows that come or go on other sides, and other shares, leave the selection of `train_rows` alone."""
    rows = np.random.default_rng(6).normal(size=(2000, 2))
    parts = splits.part(rows, Split(train_rows=300))
    every = splits.part(rows, Split())
    others = [rows[every.test][:50], rows[every.validation][::2], rows[every.calibration][::3]]
    alone = np.concatenate([*others, rows[every.train]])
    without = splits.part(alone, Split(train_rows=300))
    assert _side(without, "train", alone) == _side(parts, "train", rows)
    shares = splits.part(rows, Split(test=0.4, validation=0.2, train_rows=300))
    assert shares.train.tolist() == parts.train.tolist()


def test_equal_rows_are_kept_or_left_out_together() -> None:
    """`train_rows` is never exceeded and never parts duplicates; where that leaves none it says so."""
    rows = np.repeat(np.random.default_rng(7).normal(size=(300, 2)), 3, axis=0)
    assert len(splits.part(rows, Split(train_rows=100)).train) == 99
    with pytest.raises(InputError, match=r"train_rows = 2 keeps no row: .* 3 are equal"):
        splits.part(rows, Split(train_rows=2))


def test_too_few_rows_for_a_part_are_an_error() -> None:
    """A part without rows is named."""
    with pytest.raises(InputError, match="no rows for"):
        splits.part(np.zeros((5, 1)), Split())


@pytest.mark.parametrize(
    ("raw", "config", "names", "values"),
    [
        ([2, 10, 1], {}, ("1", "2", "10"), [1, 2, 10]),
        ([2.0, 1.0, 1.5], {}, ("1", "1.5", "2"), [1, 1.5, 2]),
        (["b", "a", "b"], {"labels": ("b", "a")}, ("b", "a"), [0, 1]),
        ([b"b", b"a"], {"labels": ("b", "a")}, ("b", "a"), [0, 1]),
        (["1.0", "3", "2.50"], {"labels": [1, 2.5, 3.0]}, ("1", "2.5", "3.0"), [1, 2.5, 3]),
        (np.array([0.1, 0.2], np.float32), {}, ("0.1", "0.2"), [0.1, 0.2]),
        (["b", "a", "b"], {"labels": ("b", "a"), "values": (1, 5)}, ("b", "a"), [1, 5]),
        ([3, 1, 3], {"labels": ("3", "2", "1")}, ("3", "2", "1"), [0, 1, 2]),
    ],
)
def test_labels_have_an_order_and_values(
    raw: list[object], config: dict[str, object], names: tuple[str, ...], values: list[float]
) -> None:
    """Numbers order themselves, words as the config says; values are the numbers where those rise."""
    found, y = labels.order(_labelled(raw), Data.model_validate({"source": "", **config}))
    assert (found.names, list(found.topology.values)) == (names, values)
    wanted = [one.decode() if isinstance(one, bytes) else one for one in np.array(raw).tolist()]
    assert [found.names[k] for k in y] == [
        name for one in wanted for name in names if name == str(one) or _same_number(name, one)
    ]


@pytest.mark.parametrize(
    ("raw", "config", "message"),
    [
        (
            ["good", "godo"],
            {"labels": ("bad", "good")},
            r"'godo' is not one of \['bad', 'good'\] \(row 2\); did you mean 'good'",
        ),
        ([1, 2, 9], {"labels": ("1", "2")}, r"'9' is not one of \['1', '2'\] \(row 3\)"),
        (["bad", "good"], {}, "no order of their own; give it as data.labels"),
        ([1, 1], {}, "the same label"),
        (["1", "01", "2"], {}, "'1' and '01' are the same number|'01' and '1' are the same number"),
        ([f"word {i}" for i in range(40)], {}, "and 28 more; are these classes"),
        ([1.0, np.nan, np.nan], {}, r"^row 2 has no label, and 1 more; leave out rows"),
        (["3.0", "4.0", "6.0"], {"labels": ("3", "4", "5")}, r"label '6.0' is not one of .* \(row 3\)"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    raw: list[object], config: dict[str, object], message: str
) -> None:
    """A label outside the order is told with its row and its neighbour."""
    with pytest.raises(InputError, match=message):
        labels.order(_labelled(raw), Data.model_validate({"source": "", **config}))


@pytest.mark.parametrize(
    ("values", "period", "expected"),
    [((0, 1, 2), None, 3), ((0, 45, 90, 135), None, 180), ((0, 1, 5), 7.5, 7.5)],
)
def test_a_ring_has_a_period(values: tuple[float, ...], period: float | None, expected: float) -> None:
    """Once round is what the config says, else one more of the equal steps."""
    names = [f"label {value}" for value in values]
    ring = {"source": "", "labels": names, "values": values, "topology": "cyclic", "period": period}
    found, _ = labels.order(_labelled(names), Data.model_validate(ring))
    assert (found.topology.kind, found.topology.period) == ("cyclic", expected)


@pytest.mark.parametrize(
    ("values", "period", "message"),
    [
        ((0, 1), None, "a ring needs at least 3 labels, got 2"),
        ((0, 1, 5), None, "data.period is missing: .* not evenly spaced"),
        ((0, 1, 5), 5.0, r"data.period must be more than .* 5 - 0, got 5"),
    ],
)
def test_a_ring_that_does_not_close_is_refused(
    values: tuple[float, ...], period: float | None, message: str
) -> None:
    """A period that is missing or too short is told with the values."""
    names = [f"label {value}" for value in values]
    ring = {"source": "", "labels": names, "values": values, "topology": "cyclic", "period": period}
    with pytest.raises(InputError, match=message):
        labels.order(_labelled(names), Data.model_validate(ring))


def test_a_label_without_training_rows_is_an_error(table: Path) -> None:
    """A label that the config names but training never sees is refused."""
    with pytest.raises(InputError, match="1 of 5 labels have no training row, such as '4'"):
        load(_config(table, labels=["0", "1", "2", "3", "4"]))


def _save(path: Path, **arrays: object) -> Path:
    np.savez(path / "rows.npz", **arrays)  # type: ignore[arg-type]
    return path / "rows.npz"


def test_a_number_that_is_not_finite_is_named(tmp_path: Path) -> None:
    """Infinity is told with row and column."""
    x = np.zeros((50, 2), np.float32)
    x[7, 1] = np.inf
    path = _save(tmp_path, x=x, y=np.arange(50) % 2, features=["a", "b"])
    with pytest.raises(InputError, match=r"must be finite, got inf \(row 8, 'b'; 1 such in all\)"):
        load(_config(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 2))}, "needs arrays 'x' and 'y', has"),
        ({"x": np.zeros(3), "y": np.zeros(3)}, r"got shape \(3,\)"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, "one label for each of 3 rows"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3), "features": ["a"]}, "name each of 2 columns once"),
        ({"x": np.array([["a", "b"]] * 3), "y": np.arange(3)}, "features must be numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    """An .npz of another form says which form is wanted."""
    with pytest.raises(InputError, match=message):
        load(_config(_save(tmp_path, **arrays)))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file, a broken one and one of an unknown kind are each one sentence."""
    with pytest.raises(InputError, match="cannot be read: No such file"):
        sources.read(_config(tmp_path / "none.npz"))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        sources.read(_config(tmp_path / "broken.npz"))
    for content in (b"", b"\x93NUMPY\x01\x00", b"\x00" * 40):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"not a readable \.npz"):
            sources.read(_config(tmp_path / "broken.npz"))
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "broken.npz")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        sources.read(_config(tmp_path / "broken.npz"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rows.xlsx", r"'rows\.xlsx' is a file of another kind$"),
        ("minst", r"'minst' is not there; did you mean 'mnist'\?$"),
        ("", "'' is not there$"),
    ],
)
def test_an_unknown_source_is_told_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    """A source of no known kind is one sentence that lists the kinds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.xlsx").touch()
    allowed = (
        r"^data\.source must be 'digits', 'diabetes', 'mnist', a \.csv, \.tsv, \.parquet or \.npz file, "
        r"or a folder of images or IDX files; "
    )
    with pytest.raises(InputError, match=allowed + message):
        sources.read(_config(source))


def test_the_fingerprint_follows_rows_labels_and_split(table: Path) -> None:
    """The same data has the same fingerprint; another split or label order has another."""
    first = load(_config(table)).fingerprint
    assert load(_config(table)).fingerprint == first
    assert load(_config(table, labels=["3", "2", "1", "0"])).fingerprint != first
    for split in (Split(seed=5), Split(train_rows=100)):
        assert load(_config(table).model_copy(update={"split": split})).fingerprint != first
