"""Columns whose values the gate looks at one by one: read whether they are learned from or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tables import LABELS, config, sides, write_csv, write_parquet

from pipeline.config import Config
from pipeline.data import Dataset, load, parquet_file, text_file
from pipeline.data import slices as module
from pipeline.errors import InputError

ROWS = 300
Columns = dict[str, list[Any]]
TABLE: Columns = {
    "real": np.random.default_rng(0).normal(size=ROWS).tolist(),
    "region": [("north", "south", None, "far west")[row % 4] for row in range(ROWS)],
    "year": [2020 + row % 3 for row in range(ROWS)],
    "half": [None if row % 7 == 0 else row % 5 / 2 for row in range(ROWS)],
    "who": [f"{row % 80}" for row in range(ROWS)],
    "day": [str(np.datetime64("2024-01-01") + row // 6) for row in range(ROWS)],
    "part": [("train", "train", "validation", "calibration", "test")[row % 5] for row in range(ROWS)],
    "id": [f"n{row}" for row in range(ROWS)],
    "y": [LABELS[row % 3] for row in range(ROWS)],
}
TYPED = {
    **TABLE,
    "region": pa.array(TABLE["region"]).dictionary_encode(),
    "year": pa.array(TABLE["year"], pa.int16()),
    "half": pa.array(TABLE["half"], pa.float32()),
    "day": pa.array(TABLE["day"]).cast(pa.date32()),
    "who": pa.array([int(cell) for cell in TABLE["who"]]),
}
ROLES = ["who", "day", "part", "id"]
EVERY = np.arange(ROWS)


@pytest.fixture(params=["csv", "parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The table in either form."""
    if request.param == "csv":
        return write_csv(tmp_path / "t.csv", TABLE)
    return write_parquet(tmp_path / "t.parquet", TYPED)


def _load(path: Path, names: Sequence[str], split: dict[str, object] | None = None, **data: Any) -> Dataset:
    settings = config(path, split, **data)
    return load(
        settings.model_copy(update={"gate": settings.gate.model_copy(update={"slices": tuple(names)})})
    )


def _texts(name: str) -> list[str]:
    return ["" if cell is None else str(cell) for cell in TABLE[name]]


def test_a_feature_may_be_a_slice(file: Path) -> None:
    """Texts as they stand, numbers as they are written shortest, and "" for a gap."""
    data = _load(file, ["region", "half", "year"], drop=ROLES)
    assert [column.name for column in data.columns] == ["real", "region", "year", "half"]
    assert data.slice_values("region", EVERY).tolist() == _texts("region")
    assert data.slice_values("year", EVERY).tolist() == _texts("year")
    halves = [text.removesuffix(".0") for text in _texts("half")]
    assert data.slice_values("half", EVERY).tolist() == halves
    some = data.parts.test[::-1]
    assert data.slice_values("half", some).tolist() == [halves[row] for row in some]
    assert data.slices["half"].codes.dtype == np.uint8


@pytest.mark.parametrize("data", [{"drop": ["region", "half", *ROLES]}, {"features": ["real", "year"]}])
def test_a_column_that_is_not_learned_from_may_be_a_slice(file: Path, data: dict[str, Any]) -> None:
    """It is read for this alone: features and the split are what they are without it."""
    without = _load(file, [], **data)
    sliced = _load(file, ["region", "half"], **data)
    assert [column.name for column in sliced.columns] == ["real", "year"]
    assert sliced.slice_values("region", EVERY).tolist() == _texts("region")
    written = _texts("half")
    if file.suffix == ".parquet":
        written = [text.removesuffix(".0") for text in written]
    assert sliced.slice_values("half", EVERY).tolist() == written
    assert sides(sliced) == sides(without)
    np.testing.assert_array_equal(sliced.cells, without.cells)
    assert sliced.notes == without.notes


def test_columns_of_other_roles_may_be_slices(file: Path) -> None:
    """A group, a time, a part and a weight, each with its role as before."""
    for name, settings, split in (
        ("who", {"group": "who"}, None),
        ("day", {"time": "day"}, None),
        ("part", {}, {"column": "part"}),
        ("year", {"weight": "year"}, None),
    ):
        drop = [role for role in ROLES if role != name]
        data = _load(file, [name], split, drop=drop, **settings)
        assert data.slice_values(name, EVERY).tolist() == _texts(name)
        assert sides(data) == sides(_load(file, [], split, drop=drop, **settings))
        assert name not in [column.name for column in data.columns]


def test_many_batches_are_as_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are the same whatever is read at once."""
    names = ["region", "year", "day"]
    whole = _load(file, names, features=["real", "year"])
    monkeypatch.setattr(text_file, "_BLOCK", 200)
    monkeypatch.setattr(parquet_file, "_CELLS", 77)
    monkeypatch.setattr(module, "_CHUNK", 13)
    parts = _load(file, names, features=["real", "year"])
    for name in names:
        assert parts.slices[name].texts == whole.slices[name].texts
        np.testing.assert_array_equal(parts.slices[name].codes, whole.slices[name].codes)
    assert parts.fingerprint == whole.fingerprint


def test_the_fingerprint_tells_slices(file: Path) -> None:
    """Others are another one, the same in another order are not, and none leave it as it was."""
    found = [
        _load(file, names, drop=ROLES).fingerprint
        for names in ([], ["region"], ["year"], ["region", "year"], ["year", "region"])
    ]
    assert len(set(found)) == 4
    assert found[3] == found[4]


@pytest.mark.parametrize(
    ("names", "data", "sentence"),
    [
        (
            ["id"],
            {"drop": ROLES},
            "^gate.slices: column 'id' has more than 100 different values; put them into bins",
        ),
        (["id"], {"drop": ["who", "day", "part"]}, "^gate.slices: column 'id' has more than 100 different"),
        (["real"], {"drop": ROLES}, "^gate.slices: column 'real' has more than 100 different values"),
        (["regoin"], {"drop": ROLES}, r"^gate.slices: .* has no column 'regoin'; did you mean 'region'\?"),
        (["y"], {"drop": ROLES}, "^gate.slices: 'y' is the label, and each label is a slice already$"),
    ],
)
def test_what_cannot_be_a_slice_is_told(
    names: list[str], data: dict[str, Any], sentence: str, file: Path
) -> None:
    """Too many values, learned from or not, a column that is not there, and the label."""
    with pytest.raises(InputError, match=sentence):
        _load(file, names, **data)


def test_a_value_that_is_called_empty_is_no_gap(file: Path, tmp_path: Path) -> None:
    """Whatever texts a column holds, a missing cell is apart from them."""
    table = {**TABLE, "region": [("empty", None, "")[row % 3] for row in range(ROWS)]}
    write = write_csv if file.suffix == ".csv" else write_parquet
    path = write(tmp_path / f"gaps{file.suffix}", table)
    for drop in (ROLES, [*ROLES, "region"]):
        found = _load(path, ["region"], drop=drop).slice_values("region", EVERY)
        assert found[:3].tolist() == ["empty", "", ""]


def test_a_hundred_values_are_not_too_many(tmp_path: Path) -> None:
    """And a gap comes on top; one value more is refused."""
    table = {
        "a": [*range(100), None] * 3,
        "b": [f"{row % 101}" for row in range(303)],
        "y": list(range(3)) * 101,
    }
    path = write_csv(tmp_path / "t.csv", table)
    data = _load(path, ["a"])
    assert len(np.unique(data.slice_values("a", np.arange(303)))) == 101
    with pytest.raises(InputError, match="column 'b' has more than 100"):
        _load(path, ["b"])


def _npz(path: Path, names: Sequence[str], **arrays: np.ndarray) -> Config:
    np.savez(path, **arrays)
    return Config.model_validate({"name": "t", "data": {"source": str(path)}, "gate": {"slices": names}})


def test_columns_of_an_npz_file_may_be_slices(tmp_path: Path) -> None:
    """By the names that it gives them, or x0, x1 and so on."""
    random = np.random.default_rng(0)
    x = np.stack([random.normal(size=ROWS), EVERY % 3 / 10, EVERY % 2 * 1e7], axis=1)
    x[5, 1] = np.nan
    y = EVERY % 3
    data = load(_npz(tmp_path / "t.npz", ["tenth", "large"], x=x, y=y, features=["x", "tenth", "large"]))
    assert data.slice_values("tenth", np.arange(6)).tolist() == ["0", "0.1", "0.2", "0", "0.1", ""]
    assert data.slice_values("large", np.arange(2)).tolist() == ["0", "10000000"]
    unnamed = load(_npz(tmp_path / "u.npz", ["x1"], x=x, y=y))
    assert unnamed.slice_values("x1", np.arange(2)).tolist() == ["0", "0.1"]
    with pytest.raises(
        InputError, match=r"^gate.slices: .*u.npz' has no column 'year' \(its columns: 'x0', "
    ):
        load(_npz(tmp_path / "u.npz", ["year"], x=x, y=y))


def test_images_have_no_columns_to_slice_by(tmp_path: Path) -> None:
    """Their labels are slices all the same."""
    images = np.random.default_rng(0).integers(0, 255, (ROWS, 4, 4, 1)).astype(np.uint8)
    with pytest.raises(
        InputError, match=r"^gate.slices names a column of a table, which the source .* is not$"
    ):
        load(_npz(tmp_path / "t.npz", ["x1"], x=images, y=EVERY % 3))
