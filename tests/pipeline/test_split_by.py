"""Parting the rows of a table: by content, group, time or a column; what is parted stays parted."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tables import load_table, sides, write_csv, write_parquet

from pipeline.data.splits import PARTS
from pipeline.errors import InputError

ROWS = 400
_RANDOM = np.random.default_rng(0)
Columns = dict[str, list[Any]]
TABLE: Columns = {
    "number": [None if i % 50 == 0 else i % 17 for i in range(ROWS)],
    "truth": [("true", "False", "")[i % 3] for i in range(ROWS)],
    "real": _RANDOM.normal(size=ROWS).tolist(),
    "word": [f"w{i % 11}" for i in range(ROWS)],
    "who": [f"{i % 83}" for i in range(ROWS)],
    "hour": (np.arange(ROWS) // 3).tolist(),
    "day": [str(np.datetime64("2024-01-01") + i // 2) for i in range(ROWS)],
    "part": [PARTS[0 if i % 7 < 4 else i % 7 - 3] for i in range(ROWS)],
    "y": [1 + i % 3 for i in range(ROWS)],
}
ROLES = ["who", "hour", "day", "part"]


def _sides(path: Path, split: Mapping[str, object] | None = None, **data: Any) -> list[str]:
    drop = [name for name in ROLES if name not in (*data.values(), *(split or {}).values())]
    return sides(load_table(path, split, drop=drop, **data))


def _more(**new: Any) -> Columns:
    """Return the table behind forty more rows, of which the first has the `new` cells."""
    added = {name: cells[:40] for name, cells in TABLE.items()}
    added["real"] = [x + 1 for x in added["real"]]
    for name, cell in new.items():
        added[name] = [cell, *added[name][1:]]
    return {name: added[name] + cells for name, cells in TABLE.items()}


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "content": ({}, {}),
    "group": ({"group": "who"}, {}),
    "column": ({}, {"column": "part"}),
    "numbers with cuts": ({"time": "hour"}, {"cuts": [60, 80, 100.5]}),
    "dates with cuts": ({"time": "day"}, {"cuts": ["2024-04-01", "2024-05-01", "2024-06-01"]}),
}
GROWTH: dict[str, Columns] = {
    "more of the same": _more(),
    "a number becomes a text": _more(number="many"),
    "a truth value becomes a text": _more(truth="maybe"),
    "a category comes first": _more(word="a new one"),
    "a gap more": _more(real=None, word=None),
    "a gap in blanks": _more(number=" NA", word=" ?"),
}


@pytest.mark.parametrize(("data", "split"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("grown", GROWTH.values(), ids=GROWTH)
def test_no_old_row_changes_sides_when_data_grows(
    data: dict[str, Any], split: dict[str, Any], grown: Columns, tmp_path: Path
) -> None:
    """Ten per cent more rows leave the others where they are, and so does taking them away again."""
    before = _sides(write_csv(tmp_path / "t.csv", TABLE), split, **data)
    assert set(before) == set(PARTS)
    assert _sides(write_csv(tmp_path / "t.csv", grown), split, **data)[40:] == before
    text = {**TABLE, "number": grown["number"][40:]}
    assert _sides(write_csv(tmp_path / "t.csv", text), split, **data) == before


@pytest.mark.parametrize(("data", "split"), WAYS.values(), ids=WAYS)
def test_no_row_changes_sides_when_data_moves_to_parquet(
    data: dict[str, Any], split: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever types the columns have there."""
    before = _sides(write_csv(tmp_path / "t.csv", TABLE), split, **data)
    typed = {
        **TABLE,
        "number": pa.array(TABLE["number"], pa.int16()),
        "truth": [{"true": True, "False": False, "": None}[cell] for cell in TABLE["truth"]],
        "word": pa.array(TABLE["word"]).dictionary_encode(),
        "who": pa.array([int(cell) for cell in TABLE["who"]]),
        "day": pa.array(TABLE["day"]).cast(pa.date32()),
    }
    assert _sides(write_parquet(tmp_path / "t.parquet", typed), split, **data) == before


def test_decimal_commas_are_the_numbers_that_they_are(tmp_path: Path) -> None:
    """A row stays where it is when its file is written with semicolons and commas, or gets a text too."""
    few = {**TABLE, "number": [None if x is None else x / 4 for x in TABLE["number"]]}
    before = _sides(write_csv(tmp_path / "t.csv", few))
    german = (tmp_path / "t.csv").read_text().replace(",", ";").replace(".", ",")
    (tmp_path / "g.csv").write_text(german)
    assert _sides(tmp_path / "g.csv") == before
    (tmp_path / "g.csv").write_text(german + "viel;true;0,1;w1;1;1;2024-01-01;train;1\n")
    assert _sides(tmp_path / "g.csv")[:-1] == before


def test_gaps_in_blanks_are_gaps_whatever_their_column_becomes(tmp_path: Path) -> None:
    """A column of numbers with " ?" for gaps moves no row when one more row makes it one of texts."""
    gaps = {**TABLE, "number": [" ?" if x is None else f" {x}" for x in TABLE["number"]]}
    before = _sides(write_csv(tmp_path / "t.csv", gaps))
    assert before == _sides(write_csv(tmp_path / "t.csv", TABLE))
    grown = {name: [*cells, cells[-1]] for name, cells in gaps.items()}
    grown["number"][-1] = " many"
    data = load_table(write_csv(tmp_path / "t.csv", grown), drop=ROLES)
    assert sides(data)[:-1] == before
    assert data.columns[0].texts is not None
    assert " ?" in data.missing_texts


def test_rows_of_a_group_never_part(tmp_path: Path) -> None:
    """And a group has the same part in every file, whatever else its rows hold."""
    part = dict(zip(TABLE["who"], _sides(write_csv(tmp_path / "t.csv", TABLE), group="who"), strict=True))
    assert _sides(tmp_path / "t.csv", group="who") == [part[who] for who in TABLE["who"]]
    other = {name: cells[::-1][:200] for name, cells in TABLE.items()}
    other["real"] = [0.5 * x for x in other["real"]]
    found = _sides(write_csv(tmp_path / "o.csv", other), group="who")
    assert found == [part[who] for who in other["who"]]


@pytest.mark.parametrize("column", ["hour", "day"])
def test_by_time_the_latest_rows_are_for_testing(column: str, tmp_path: Path) -> None:
    """Training, validation, calibration, test follow one another; rows of one time stay together."""
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = {name: [cells[i] for i in order] for name, cells in TABLE.items()}
    found = _sides(write_csv(tmp_path / "t.csv", shuffled), time=column)
    times: dict[str, set[Any]] = {name: set() for name in PARTS}
    for time, part in zip(shuffled[column], found, strict=True):
        times[part].add(time)
    train, validation, calibration, test = (times[name] for name in PARTS)
    assert max(train) < min(validation) <= max(validation) < min(calibration)
    assert max(calibration) < min(test)
    assert found.count("test") / ROWS == pytest.approx(0.2, abs=0.02)
    assert found.count("validation") / ROWS == pytest.approx(0.15, abs=0.02)


MOMENTS: dict[str, list[Any]] = {
    "whole numbers": TABLE["hour"],
    "fractions": [0.1 + i / 7 for i in range(ROWS)],
    "large numbers": [1.7e12 + i * 1e3 for i in range(ROWS)],
    "negative numbers": [-i / 3 for i in range(ROWS)],
    "days": TABLE["day"],
    "seconds": [str(np.datetime64("2024-01-01T00:00:00") + 977 * i) for i in range(ROWS)],
    "microseconds": [str(np.datetime64("1969-12-31T23:59:00.000001") + 600_007 * i) for i in range(ROWS)],
    "zones": [f"{np.datetime64('2024-01-01T00:00') + 7 * i}+0{i % 3}:30" for i in range(ROWS)],
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("moments", MOMENTS.values(), ids=MOMENTS)
def test_the_note_says_the_cuts_that_part_as_the_shares_do(
    moments: list[Any], form: str, tmp_path: Path
) -> None:
    """Written into the config as they stand, they part the same rows, and then there is no note."""
    columns: Columns = {"x": TABLE["real"], "when": moments, "y": TABLE["y"]}
    path = write_csv(tmp_path / "t.csv", columns)
    if form == "parquet":
        typed = pa.array(moments)
        if pa.types.is_string(typed.type) and not moments[0].endswith(":30"):
            typed = typed.cast(pa.timestamp("us"))
        path = write_parquet(tmp_path / "t.parquet", {**columns, "when": typed})
    data = load_table(path, time="when")
    note = data.notes[0]
    assert note.startswith(
        "split by time: rows change sides as later ones come; to keep them where they are"
    )
    cuts = tomllib.loads(note[note.index("split.cuts") :])["split"]["cuts"]
    again = load_table(path, {"cuts": cuts}, time="when")
    assert sides(again) == sides(data)
    assert not [note for note in again.notes if note.startswith("split by time")]


@pytest.mark.parametrize(
    ("split", "data", "sentence"),
    [
        (
            {"cuts": [3, 2, 4]},
            {"time": "hour"},
            "^split.cuts must rise: validation, then calibration, then test",
        ),
        (
            {"cuts": ["2024-01-01", "2024-01-02", "2024-01-03"]},
            {"time": "hour"},
            "split.cuts must be numbers",
        ),
        (
            {"cuts": [1, 2, 3]},
            {"time": "day"},
            "^split.cuts must be dates, as the column data.time is; got 1",
        ),
        ({"cuts": ["a", "b", "c"]}, {"time": "day"}, "^split.cuts: 'a' is no date such as 2026-01-31$"),
        (
            {"cuts": [900, 901, 902]},
            {"time": "hour"},
            "^the split leaves no rows for validation: no row has a",
        ),
        ({"column": "word"}, {}, r"^split.column: a part is one of train, .*, test, got 'w0' \(row 1\)"),
    ],
)
def test_a_split_that_cannot_be_made_is_told(
    split: dict[str, Any], data: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    """Cuts of the wrong kind or order, and parts of the wrong name."""
    with pytest.raises(InputError, match=sentence):
        load_table(write_csv(tmp_path / "t.csv", TABLE), split, **data)


def test_a_mistyped_part_is_named_with_its_neighbour(tmp_path: Path) -> None:
    """And with its row."""
    columns = {**TABLE, "part": [*TABLE["part"][:6], "trian", *TABLE["part"][7:]]}
    sentence = r"got 'trian' \(row 7\); did you mean 'train'\?$"
    with pytest.raises(InputError, match=sentence):
        load_table(write_csv(tmp_path / "t.csv", columns), {"column": "part"})


def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    """With its column and its row."""
    columns = {**TABLE, "day": [*TABLE["day"][:6], "yesterday", *TABLE["day"][7:]]}
    sentence = r"^column 'day': a time is a number or a date such as 2026-01-31, got 'yesterday' \(row 7\)$"
    with pytest.raises(InputError, match=sentence):
        load_table(write_csv(tmp_path / "t.csv", columns), time="day")


def test_few_rows_with_small_shares_are_told(tmp_path: Path) -> None:
    """A share that is less than a row leaves a part empty, and that is all that happens."""
    columns = {name: cells[:9] for name, cells in TABLE.items()}
    split = {"test": 0.01, "validation": 0.01, "calibration": 0.01}
    sentence = "leave a part without rows, since 9 rows have 3 different times, and rows of one time stay"
    with pytest.raises(InputError, match=sentence):
        load_table(write_csv(tmp_path / "t.csv", columns), split, time="hour")
