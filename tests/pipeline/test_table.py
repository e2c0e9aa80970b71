"""A table is the same whatever file it comes in, however it is read, and wherever it lies."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import as_read, column, load_table, sides, write_csv, write_parquet

from pipeline.config import Config
from pipeline.data import Dataset, load, parquet_file, storage, text_file
from pipeline.data.encoding import UNKNOWN
from pipeline.errors import InputError

Columns = dict[str, list[Any]]

_words = st.text("abé😀\"\n; '#", max_size=4)
_cells = {
    "numbers": st.none() | st.floats(-1e38, 1e38),
    "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
    "truth": st.none() | st.booleans(),
    "words": st.none() | _words,
    "mixed": st.none() | _words | st.integers(0, 99).map(str),
}
_types = {
    "numbers": pa.float64(),
    "whole": pa.int64(),
    "truth": pa.bool_(),
    "words": pa.dictionary(pa.int32(), pa.string()),
    "mixed": pa.string(),
    "y": pa.int8(),
}


@st.composite
def _tables(draw: st.DrawFn) -> Columns:
    rows = draw(st.integers(8, 60))
    columns: Columns = {
        name: draw(st.lists(cells, min_size=rows, max_size=rows)) for name, cells in _cells.items()
    }
    return {**columns, "y": [row % 2 for row in range(rows)]}


def _outcome(path: Path, **data: object) -> dict[str, Any] | str:
    try:
        return as_read(load_table(path, **data))
    except InputError as error:
        return str(error).replace(str(path), "")


@settings(max_examples=60)
@given(_tables())
def test_csv_and_parquet_are_the_same_data(columns: Columns) -> None:
    """Cells, columns, labels, parts, fingerprint and notes are equal, or else what is wrong is."""
    with tempfile.TemporaryDirectory() as folder:
        csv = write_csv(Path(folder) / "t.csv", columns)
        arrays = {name: pa.array(cells, _types[name]) for name, cells in columns.items()}
        parquet = write_parquet(Path(folder) / "t.parquet", arrays)
        for more in ({}, {"categorical": ["whole", "mixed"]}, {"drop": ["mixed"]}):
            assert _outcome(csv, **more) == _outcome(parquet, **more)


def _columns(rows: int = 200) -> Columns:
    """Return columns of which much is decided only at the end."""
    random = np.random.default_rng(0)
    return {
        "number": [None if i % 7 == 0 else float(x) for i, x in enumerate(random.normal(size=rows))],
        "late text": [*(str(i % 9) for i in range(rows - 1)), "more"],
        "late number": [*[None] * (rows - 1), "5"],
        "late category": [*(f"k{i % 3}" for i in range(rows - 2)), "new, at the end", None],
        "newline": [f"p\nq{i % 4}" for i in range(rows)],
        "who": [f"w{i % 31}" for i in range(rows)],
        "counts": [1 + i % 3 for i in range(rows)],
        "y": ["low", "mid", "high", "mid"] * (rows // 4),
    }


ROLES: dict[str, Any] = {"labels": ["low", "mid", "high"], "group": "who", "weight": "counts"}


@pytest.fixture(params=["csv", "parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A table in either form."""
    write = {"csv": write_csv, "parquet": write_parquet}[request.param]
    return write(tmp_path / f"t.{request.param}", _columns())


def test_many_batches_are_as_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a column holds, its texts and its rows are those of the whole file, whatever is read at once."""
    whole = as_read(load_table(file, **ROLES))
    assert whole["kinds"] == [True, False, True, False, False]
    assert whole["columns"]["late number"] == [*[None] * 199, 5.0]
    assert whole["columns"]["late category"][-2:] == ["new, at the end", None]
    monkeypatch.setattr(text_file, "_BLOCK", 100)
    monkeypatch.setattr(parquet_file, "_CELLS", 77)
    assert as_read(load_table(file, **ROLES)) == whole


def test_a_table_larger_than_memory_lies_in_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells and features are then mapped from disk, and equal to those in memory."""
    inside = load_table(file, **ROLES)
    monkeypatch.setattr(storage, "IN_MEMORY", 100)
    outside = load_table(file, **ROLES)
    assert isinstance(outside.cells, np.memmap)
    assert isinstance(outside.features, np.memmap)
    assert not isinstance(inside.cells, np.memmap)
    assert as_read(outside) == as_read(inside)
    np.testing.assert_array_equal(outside.features, inside.features)
    assert outside.inputs == inside.inputs


READ_AND_TELL = """
import resource, sys, time
from tables import load_table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = load_table(sys.argv[1], features=["c0", "words"])
assert data.cells.shape == (400_000, 2), data.cells.shape
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_reading_does_not_take_the_file_into_memory(tmp_path: Path, root: Path) -> None:
    """Of 1.3 GB in one group of rows, reading two columns takes less than a quarter of that."""
    rows = 400_000
    numbers = pa.array(np.random.default_rng(0).normal(size=rows))
    words = pa.array([f"a word of some length, {i % 7}" for i in range(rows)])
    columns = {f"c{i}": numbers for i in range(400)}
    path = write_parquet(
        tmp_path / "t.parquet",
        {**columns, "words": words, "y": np.arange(rows) % 3},
        row_group_size=rows,
        compression="none",
        use_dictionary=False,
    )
    try:
        size = path.stat().st_size
        done = subprocess.run(
            [sys.executable, "-c", READ_AND_TELL, str(path)],
            env={"PYTHONPATH": f"{root}:{root / 'tests'}"},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        path.unlink()
    assert size > 1.2e9
    assert int(done.stdout) * 1024 < size / 4


def _grown(folder: Path, name: str, columns: Columns, **data: Any) -> Dataset:
    return load_table(write_csv(folder / name, columns), **data)


def test_a_category_that_training_has_not_seen_is_unknown(tmp_path: Path) -> None:
    """Its code is -1; a gap has the code behind the categories where training has gaps, else -1 too."""
    parts = ["train"] * 6 + ["validation", "calibration", "test"]
    columns: Columns = {
        "a": ["q", "p", "q", None, "p", "p", "new", None, "q"],
        "b": ["s", "r", "s", "r", "s", "r", "s", None, "other"],
        "x": list(range(9)),
        "part": parts,
        "y": [1, 2, 1, 2, 1, 2, 1, 2, 1],
    }
    data = _grown(tmp_path, "t.csv", columns, split={"column": "part"})
    codes = data.features[:, 1:].T.tolist()
    assert data.features[:, 0].tolist() == list(range(9))
    assert codes == [[1, 0, 1, 2, 0, 0, UNKNOWN, 2, 1], [1, 0, 1, 0, 1, 0, 1, UNKNOWN, UNKNOWN]]
    (_, texts) = data.inputs
    assert texts.categories == (("p", "q"), ("r", "s"))
    assert texts.missing == ("a", "b")
    assert texts.unknown_allowed
    refused = _grown(tmp_path, "r.csv", columns, split={"column": "part"}, unknown="refuse")
    assert not refused.inputs[1].unknown_allowed


def test_what_the_artifact_is_given_is_what_was_read(tmp_path: Path) -> None:
    """`raw` gives numbers with NaN for gaps, and texts with "" for them."""
    columns: Columns = {
        "a": ["q", None, " p "] * 40,
        "x": [None, 1.5, 2.5] * 40,
        "z": list(range(120)),
        "y": [1, 2] * 60,
    }
    data = _grown(tmp_path, "t.csv", columns)
    raw = data.raw(np.array([0, 1, 2]))
    assert raw["categorical"].tolist() == [["q"], [""], [" p "]]
    np.testing.assert_array_equal(raw["numeric"], np.array([[np.nan, 0], [1.5, 1], [2.5, 2]], np.float32))


def test_a_gap_with_blanks_around_it_is_one_and_the_artifact_says_so_too(tmp_path: Path) -> None:
    """The texts that occur stand beside those of the config, each once; other texts keep their blanks."""
    columns: Columns = {
        "a": ["NA", " NA", " q", "NA "] * 30,
        "b": [" NA", " ", "\t?", "r"] * 30,
        "z": list(range(120)),
        "y": [1, 2] * 60,
    }
    data = _grown(tmp_path, "t.csv", columns, missing=["NA", "NA", "?"])
    assert column(data, "a") == [None, None, " q", None] * 30
    assert column(data, "b") == [None, None, None, "r"] * 30
    assert data.missing_texts == ("NA", "?", "\t?", " ", " NA", "NA ")
    assert data.inputs[1].missing_texts == data.missing_texts


def test_a_gap_of_the_config_may_have_blanks_itself(tmp_path: Path) -> None:
    """They do not count there either."""
    columns: Columns = {
        "a": ["-", " - ", "q"] * 40,
        "x": ["-", 1, 2] * 40,
        "z": list(range(120)),
        "y": [1, 2] * 60,
    }
    data = _grown(tmp_path, "t.csv", columns, missing=[" - "])
    assert column(data, "a") == [None, None, "q"] * 40
    assert column(data, "x") == [None, 1, 2] * 40
    assert data.missing_texts == (" - ", "-")


def test_rare_categories_beyond_the_cap_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most frequent are kept, of equals those that come first in the alphabet; a note tells."""
    monkeypatch.setattr("pipeline.data.encoding.MOST_CATEGORIES", 3)
    monkeypatch.setattr("pipeline.data.checks.MOST_CATEGORIES", 3)
    columns: Columns = {
        "a": ["e", "e", "d", "c", "b", "e", "c", "b", "d", "b"],
        "part": [*["train"] * 7, "validation", "calibration", "test"],
        "y": [1, 2] * 5,
    }
    data = _grown(tmp_path, "t.csv", columns, split={"column": "part"})
    assert data.inputs[0].categories == (("b", "c", "e"),)
    assert data.features[:, 0].tolist() == [2, 2, UNKNOWN, 1, 0, 2, 1, 0, UNKNOWN, 0]
    (note,) = [note for note in data.notes if "different texts" in note]
    assert note.startswith("column 'a' has 4 different texts, of which the 3 most frequent are categories")


def test_a_column_of_numbers_may_be_one_of_categories(tmp_path: Path) -> None:
    """`data.categorical` takes the texts as they are written: 007 is not 7."""
    columns: Columns = {"zip": ["007", "7", "1e1"] * 40, "z": list(range(120)), "y": [1, 2] * 60}
    assert column(_grown(tmp_path, "t.csv", columns), "zip") == [7.0, 7.0, 10.0] * 40
    named = _grown(tmp_path, "t.csv", columns, categorical=["zip"])
    assert column(named, "zip") == ["007", "7", "1e1"] * 40


def test_the_config_says_which_texts_mean_missing(tmp_path: Path) -> None:
    """`data.missing` stands in place of the usual ones, and empty cells are missing anyway."""
    columns: Columns = {
        "x": ["-", "", "3"] * 40,
        "a": ["NA", "", "-"] * 40,
        "z": list(range(120)),
        "y": [1, 2] * 60,
    }
    data = _grown(tmp_path, "t.csv", columns, missing=["-"])
    assert column(data, "x") == [None, None, 3.0] * 40
    assert column(data, "a") == ["NA", None, None] * 40
    assert data.inputs[1].missing_texts == ("-",)


def test_the_fingerprint_is_that_of_what_is_learned(tmp_path: Path) -> None:
    """Equal data has an equal one; another cell, label, name, split or weight has another."""
    columns = _columns()

    def fingerprint(split: dict[str, object] | None = None, **changed: list[Any]) -> str:
        path = write_csv(tmp_path / "t.csv", {**columns, **changed})
        return load_table(path, split, **ROLES).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    others = [
        fingerprint(number=[1.0, *columns["number"][1:]]),
        fingerprint(newline=["p", *columns["newline"][1:]]),
        fingerprint(y=["mid", *columns["y"][1:]]),
        fingerprint(counts=[9, *columns["counts"][1:]]),
        fingerprint({"seed": 1}),
        fingerprint(another=[0] * 200),
    ]
    assert len({first, *others}) == 7


def test_a_weight_of_each_row_is_read(tmp_path: Path) -> None:
    """It is no feature, and may be zero."""
    columns: Columns = {"x": list(range(120)), "w": [0, 0.5, "2"] * 40, "y": [1, 2] * 60}
    data = _grown(tmp_path, "t.csv", columns, weight="w")
    assert data.weights is not None
    assert data.weights.tolist() == [0, 0.5, 2] * 40
    assert [one.name for one in data.columns] == ["x"]


def test_features_are_those_of_the_config_in_the_order_of_the_file(tmp_path: Path) -> None:
    """A group may be a feature too; all else that has a role is none."""
    columns: Columns = {
        "c": list(range(120)),
        "b": [f"g{i % 30}" for i in range(120)],
        "a": [1.5] * 120,
        "y": [1, 2] * 60,
    }
    data = _grown(tmp_path, "t.csv", columns, features=["b", "c"], group="b")
    assert [one.name for one in data.columns] == ["c", "b"]
    assert all(sides(data))


@pytest.mark.parametrize(
    ("data", "split", "sentence"),
    [
        ({"group": "wo"}, {}, r"^data.group: .* has no column 'wo'; did you mean 'who'\?"),
        ({"features": ["numbr"]}, {}, r"^data.features: .* has no column 'numbr'; did you mean 'number'\?"),
        ({"drop": ["nothing"]}, {}, r"^data.drop: .* has no column 'nothing'"),
        ({"categorical": ["countz"]}, {}, r"^data.categorical: .* did you mean 'counts'\?"),
        ({}, {"column": "prt"}, r"^split.column: .* has no column 'prt'"),
        (
            {"label": ""},
            {},
            r"^data.label is missing: it names the column .*, one of 'number', 'late text'",
        ),
        (
            {"features": ["who", "number"]},
            {"column": "who"},
            "^column 'who' cannot be both data.features and split.column$",
        ),
        ({}, {"column": "y"}, "^column 'y' cannot be both data.label and split.column$"),
        (
            {"weight": "who"},
            {"column": "who"},
            "^column 'who' cannot be both data.weight and split.column$",
        ),
        ({"drop": ["who"]}, {"column": "who"}, "^column 'who' cannot be both data.drop and split.column$"),
        (
            {"categorical": ["who"]},
            {"column": "who"},
            "^column 'who' cannot be both data.categorical and split.column$",
        ),
    ],
)
def test_a_column_that_is_not_there_is_named_with_its_neighbour(
    data: dict[str, Any], split: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    """The sentence begins with the key and lists the columns that are there."""
    path = write_csv(tmp_path / "t.csv", _columns())
    with pytest.raises(InputError, match=sentence):
        load_table(path, split, **data)


def test_a_column_without_a_text_in_training_is_told(tmp_path: Path) -> None:
    """What has no category in any training row cannot be one of categories."""
    parts = ["train", "validation", "calibration", "test"]
    columns: Columns = {
        "x": [float(row) for row in range(80)],
        "note": ["late" if row % 4 else None for row in range(80)],
        "part": [parts[row % 4] for row in range(80)],
        "y": [row // 4 % 2 for row in range(80)],
    }
    path = write_csv(tmp_path / "t.csv", columns)
    config = Config.model_validate(
        {"name": "t", "data": {"source": str(path), "label": "y"}, "split": {"column": "part"}}
    )
    with pytest.raises(
        InputError, match=r"column 'note' is empty in every training row; name it in data.drop"
    ):
        load(config)
