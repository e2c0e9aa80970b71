"""Parquet files: types, roles, and what is broken."""

from __future__ import annotations

import datetime as dt
import decimal
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from tables import column, load_table, sides, write_parquet

from pipeline.errors import InputError

ROWS = 120
X = np.random.default_rng(0).normal(size=ROWS)
Y = np.arange(ROWS) % 3 + 1
WORDS = [f"k{i % 3}" for i in range(ROWS)]
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(i) for i in range(ROWS)]
HOURS = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=i) for i in range(ROWS)]


def _cents(kind: pa.DataType) -> pa.Array:
    return pa.array([decimal.Decimal(f"{i}.25") for i in range(ROWS)], kind)


READ = {
    "float16": (pa.array((X * 8).astype(np.float16)), (X * 8).astype(np.float16).tolist()),
    "float32": (pa.array(X.astype(np.float32)), X.astype(np.float32).tolist()),
    "int8": (pa.array(np.arange(ROWS, dtype=np.int8)), list(range(ROWS))),
    "uint64": (pa.array(np.arange(ROWS, dtype=np.uint64)), list(range(ROWS))),
    "truth values": (pa.array([True, False, None] * 40), [1, 0, None] * 40),
    "decimals": (_cents(pa.decimal128(10, 2)), [i + 0.25 for i in range(ROWS)]),
    "wide decimals": (_cents(pa.decimal256(50, 2)), [i + 0.25 for i in range(ROWS)]),
    "nothing at all": (pa.nulls(ROWS), [None] * ROWS),
    "NaN and null": (pa.array([np.nan, None, 1.0] * 40, from_pandas=False), [None, None, 1] * 40),
    "texts": (pa.array(WORDS), WORDS),
    "large texts": (pa.array(WORDS, pa.large_string()), WORDS),
    "views of texts": (pa.array(WORDS, pa.string_view()), WORDS),
    "a dictionary of texts": (pa.array(WORDS).dictionary_encode(), WORDS),
    "a dictionary of numbers": (pa.array(np.arange(ROWS) % 4).dictionary_encode(), [0, 1, 2, 3] * 30),
    "texts of numbers": (pa.array([f" {i}.5" for i in range(ROWS)]), [i + 0.5 for i in range(ROWS)]),
    "texts that are missing": (pa.array(["NA", "", None, "b"] * 30), [None, None, None, "b"] * 30),
}


@pytest.mark.parametrize(("cells", "expected"), READ.values(), ids=READ)
def test_a_type_is_read_rightly(cells: pa.Array, expected: list[object], tmp_path: Path) -> None:
    """Numbers of all types are numbers, texts of all types categories, unless they are numbers."""
    data = load_table(write_parquet(tmp_path / "t.parquet", {"x": X, "a": cells, "y": Y}))
    assert column(data, "a") == expected


def test_names_may_hold_points(tmp_path: Path) -> None:
    """A column a.b is no field of a column a."""
    path = write_parquet(tmp_path / "t.parquet", {"a": X, "a.b": Y * 2, "y": Y})
    assert column(load_table(path), "a.b") == [2.0, 4.0, 6.0] * 40
    nested = write_parquet(tmp_path / "n.parquet", {"a": [{"c": 1}] * ROWS, "a.b": X, "y": Y})
    assert [one.name for one in load_table(nested, drop=["a"]).columns] == ["a.b"]


def test_the_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    """What pandas adds to a table without a name is left out, as from a CSV file, and a note says so."""
    frame = pd.DataFrame({"x": X, "y": Y}, index=[f"r{i}" for i in range(ROWS)])
    frame.to_parquet(tmp_path / "t.parquet")
    data = load_table(tmp_path / "t.parquet")
    assert [one.name for one in data.columns] == ["x"]
    assert data.notes[0] == "column 3 has no name and is left out"


NOT_LEARNED = {
    "timestamps": (pa.array(HOURS), r"timestamp\[us\]", ", or as data.time to split rows by it"),
    "dates": (pa.array(DAYS), r"date32\[day\]", ", or as data.time to split rows by it"),
    "times of day": (pa.array([dt.time(1)] * ROWS), r"time64\[us\]", ""),
    "durations": (pa.array([dt.timedelta(1)] * ROWS), r"duration\[us\]", ""),
    "lists": (pa.array([[1.0]] * ROWS), "list<element: double>", ""),
    "structures": (pa.array([{"q": 1}] * ROWS), "struct<q: int64>", ""),
    "bytes": (pa.array([b"x"] * ROWS), "binary", ""),
}


@pytest.mark.parametrize(("cells", "declared", "more"), NOT_LEARNED.values(), ids=NOT_LEARNED)
def test_a_type_that_nothing_can_be_learned_from_is_named(
    cells: pa.Array, declared: str, more: str, tmp_path: Path
) -> None:
    """The sentence says what it is and what to do; dropped, it does no harm."""
    path = write_parquet(tmp_path / "t.parquet", {"x": X, "a": cells, "y": Y})
    sentence = (
        f"^column 'a' is of type {declared}, which nothing can be learned from as it is; "
        f"name it in data.drop{more}$"
    )
    with pytest.raises(InputError, match=sentence):
        load_table(path)
    assert [one.name for one in load_table(path, drop=["a"]).columns] == ["x"]


@pytest.mark.parametrize(
    ("role", "cells", "sentence"),
    [
        (
            "group",
            pa.array([[1.0]] * ROWS),
            "which its role does not allow; it must be of numbers, texts or",
        ),
        (
            "time",
            pa.array([dt.time(1)] * ROWS),
            "which its role does not allow; it must be of numbers, texts",
        ),
        ("weight", pa.array(HOURS), "which its role does not allow; it must be of numbers$"),
        ("weight", pa.array(WORDS), r"^data.weight: column 'a' must hold numbers, got 'k0' \(row 1\)$"),
        ("weight", pa.nulls(ROWS), r"^column 'a': a weight must not be empty, got nan \(row 1;"),
        ("weight", pa.array(X), r"^column 'a': a weight must not be negative, got -0.132105 \(row 2;"),
        ("group", pa.nulls(ROWS), "^data.group: its column must not be empty, row 1 is$"),
        ("time", pa.array([1.0, None] * 60), "^data.time: its column must not be empty, row 2 is$"),
        (
            "time",
            pa.array(["2024-01-01", "NA"] * 60),
            "^data.time: its column must not be empty, row 2 is$",
        ),
        ("time", pa.array(WORDS), r"a time is a number or a date such as 2026-01-31, got 'k0' \(row 1\)$"),
    ],
)
def test_a_column_that_cannot_have_its_role_is_named(
    role: str, cells: pa.Array, sentence: str, tmp_path: Path
) -> None:
    """Each role says what its column must hold."""
    path = write_parquet(tmp_path / "t.parquet", {"x": X, "a": cells, "y": Y})
    with pytest.raises(InputError, match=sentence):
        load_table(path, **{role: "a"})


def test_whole_numbers_beyond_float64_are_groups_of_their_own(tmp_path: Path) -> None:
    """Identifiers of 64 bits keep all their digits: they are texts, as in a CSV file."""
    groups = 2**60 + np.arange(ROWS)
    path = write_parquet(tmp_path / "t.parquet", {"x": X, "g": groups, "y": Y})
    (tmp_path / "t.csv").write_text(
        "x,g,y\n" + "".join(f"{x!r},{g},{y}\n" for x, g, y in zip(X.tolist(), groups, Y, strict=True))
    )
    assert sides(load_table(path, group="g")) == sides(load_table(tmp_path / "t.csv", group="g"))
    assert len(set(sides(load_table(path, group="g")))) == 4


def test_labels_and_categories_are_called_as_in_a_csv_file(tmp_path: Path) -> None:
    """0.1 in single precision is 0.1, 5.0 is 5, true is true."""
    single = pa.array([0.1, 0.2, 5.0] * 40, pa.float32())
    path = write_parquet(tmp_path / "t.parquet", {"x": X, "a": [True, False] * 60, "y": single})
    data = load_table(path, categorical=["a"])
    assert data.labels.names == ("0.1", "0.2", "5")
    assert column(data, "a") == ["true", "false"] * 60


def _bytes(rows: int = 20_000) -> bytes:
    file = io.BytesIO()
    numbers = np.random.default_rng(1).normal(size=rows)
    parquet.write_table(pa.table({"x": numbers, "y": np.arange(rows) % 3}), file)
    return file.getvalue()


GOOD = _bytes()
BROKEN = {
    "empty": (b"", "is not a readable Parquet file: Parquet file size is 0 bytes$"),
    "cut off": (GOOD[: len(GOOD) // 2], "is not a readable Parquet file: Parquet magic bytes not found"),
    "a CSV file": (b"a,b\n1,2\n", "is not a readable Parquet file: "),
    "its end overwritten": (GOOD[:-8] + b"\xff\xff\xff\x7fPAR1", "is not a readable Parquet file: "),
    "its schema overwritten": (
        GOOD[:-300] + b"\xff" * 200 + GOOD[-100:],
        "is not a readable Parquet file: ",
    ),
    "its pages overwritten": (GOOD[:4] + b"\xff" * 500 + GOOD[504:], "cannot be read to its end: "),
}


@pytest.mark.parametrize(("content", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_parquet_file_is_one_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    """Whatever Arrow finds wrong, and wherever."""
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InputError, match=f"t.parquet: {sentence}") as caught:
        load_table(tmp_path / "t.parquet")
    assert "\n" not in str(caught.value)


def test_parquet_files_that_hold_nothing_are_told(tmp_path: Path) -> None:
    """No rows, a name twice, a folder, no file."""
    with pytest.raises(InputError, match=r"names its columns and has no rows$"):
        load_table(write_parquet(tmp_path / "none.parquet", {"x": X[:0], "y": Y[:0]}))
    twice = pa.Table.from_arrays([pa.array(X), pa.array(X), pa.array(Y)], ["x", "x", "y"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match=r"column 'x' comes twice; every column needs a name of its own$"):
        load_table(tmp_path / "twice.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(InputError, match=r"folder.parquet' cannot be read: Is a directory$"):
        load_table(tmp_path / "folder.parquet")
    with pytest.raises(InputError, match=r"no.parquet' cannot be read: No such file or directory$"):
        load_table(tmp_path / "no.parquet")
    with pytest.raises(InputError, match=r"has no column 'y'; did you mean 'Y'\? .its columns: 'x', 'Y'.$"):
        load_table(write_parquet(tmp_path / "label.parquet", {"x": X, "Y": Y}))


def test_an_infinite_number_is_named_with_its_row(tmp_path: Path) -> None:
    """As in a CSV file."""
    numbers = X.copy()
    numbers[77] = np.inf
    path = write_parquet(tmp_path / "t.parquet", {"x": X, "a": numbers, "y": Y}, row_group_size=50)
    with pytest.raises(InputError, match=r"^column 'a': must be a finite number, .* got inf \(row 78;"):
        load_table(path)
