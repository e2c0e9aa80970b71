"""What is worth knowing of rows before anything learns from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import load_table, write_csv

from pipeline.draft import draft

ROWS = 600
RANDOM = np.random.default_rng(0)
LATENT = RANDOM.normal(size=ROWS)
CLEAN: dict[str, list[Any]] = {
    "length": (LATENT + RANDOM.normal(0, 0.5, ROWS)).round(3).tolist(),
    "width": RANDOM.normal(size=ROWS).round(3).tolist(),
    "count": RANDOM.integers(0, 9, ROWS).tolist(),
    "colour": RANDOM.choice(["red", "green", "blue"], ROWS).tolist(),
    "y": (np.digitize(LATENT, [-0.5, 0.5]) + 1).tolist(),
}

Notes = Callable[..., list[str]]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Reads the clean table with columns that are changed or added, and returns its notes."""

    def read(columns: dict[str, list[Any]] | None = None, **data: Any) -> list[str]:
        path = write_csv(tmp_path / "t.csv", {**CLEAN, **(columns or {})})
        return list(load_table(path, **data).notes)

    return read


def test_a_clean_table_has_no_note(notes: Notes) -> None:
    """Numbers, counts and categories that each say a little are nothing to be warned of."""
    assert notes() == []


@pytest.mark.parametrize(
    ("cells", "shown"),
    [([7] * ROWS, "7"), ([None] * ROWS, "empty"), (["same"] * ROWS, "'same'")],
    ids=["a number", "nothing", "a text"],
)
def test_a_constant_column_is_named(notes: Notes, cells: list[Any], shown: str) -> None:
    """With what it always is, once, also where there is another one like it."""
    said = f"columns that say nothing: 'a' is always {shown}, 'b' is always {shown}; name them in data.drop"
    assert notes({"a": cells, "b": cells}) == [said]


def test_a_column_that_is_sometimes_empty_is_not_constant(notes: Notes) -> None:
    """Whether something is known may say something."""
    assert notes({"a": np.random.default_rng(1).choice([7, None], ROWS).tolist()}) == []


@pytest.mark.parametrize("name", ["length", "colour"])
def test_a_column_that_is_another_is_named(notes: Notes, name: str) -> None:
    """Numbers and categories alike; texts count, not the numbers that they have inside."""
    (said,) = notes({"copy": CLEAN[name]})
    assert said == f"columns that are the same as another: 'copy' is '{name}'; name them in data.drop"


def test_many_columns_are_named_by_the_first_ones(notes: Notes) -> None:
    """Five are named, the others counted."""
    (said,) = notes({f"c{i}": [i] * ROWS for i in range(8)})
    assert "'c4' is always 4 and 3 more; name them in data.drop" in said


def test_rows_that_are_equal_are_counted(notes: Notes) -> None:
    """And so are the sets of them whose labels differ."""
    twice = {name: cells + cells[:50] for name, cells in CLEAN.items()}
    assert notes(twice) == ["50 rows repeat another one"]
    twice["y"][-1], twice["y"][-2] = 1 + twice["y"][-1] % 3, 1 + twice["y"][-2] % 3
    assert notes(twice) == ["50 rows repeat another one; 2 sets of equal rows have labels that differ"]


def test_equal_rows_in_different_parts_are_counted(notes: Notes) -> None:
    """By a column of parts they may be; three of a kind in two parts are three rows, in one part none."""
    columns = {name: [*cells, *cells[:3], cells[0]] for name, cells in CLEAN.items()}
    part = [("train", "validation", "calibration", "test")[i % 4] for i in range(ROWS)]
    columns["part"] = [*part, "test", part[1], part[2], part[0]]
    (said,) = notes(columns, split={"column": "part"})
    assert said == (
        "4 rows repeat another one; 3 rows have an equal one in another part, so that scores tell of rows "
        "that were learned from"
    )


def _tells(name: str, where: str = "") -> str:
    return (
        f"column '{name}' tells the label of every row by itself{where}; if it is not known before the "
        "label is, name it in data.drop"
    )


def test_a_category_that_gives_the_label_away_is_named(notes: Notes) -> None:
    """Where each of its texts goes with one label only."""
    assert notes({"verdict": [f"grade {y}" for y in CLEAN["y"]]}) == [_tells("verdict")]
    nearly = [f"grade {y}" for y in CLEAN["y"]]
    nearly[0] = "grade 1" if nearly[0] != "grade 1" else "grade 2"
    assert notes({"verdict": nearly}) == []


def test_a_number_that_gives_the_label_away_is_named(notes: Notes) -> None:
    """Where thresholds part the labels: each has a range of its own."""
    assert notes({"score": LATENT.tolist()}) == [_tells("score")]
    assert notes({"code": [10 * y for y in CLEAN["y"]]}) == [_tells("code")]
    noisy = LATENT.copy()
    noisy[np.argmax(LATENT)] = -9
    assert notes({"score": noisy.tolist()}) == []


@pytest.mark.parametrize("form", ["{}", "grade {}"], ids=["numbers", "categories"])
def test_a_column_with_gaps_may_give_the_label_away(notes: Notes, form: str) -> None:
    """Where it is filled, in half of the rows or more; or altogether, where gaps are one more value."""
    cells = [form.format(y) for y in CLEAN["y"]]
    some = [None if i % 3 == 0 else cell for i, cell in enumerate(cells)]
    assert notes({"code": some}) == [_tells("code", " where it is not empty")]
    few = [cell if i % 3 == 0 else None for i, cell in enumerate(cells)]
    assert notes({"code": few}) == []
    last = [None if y < 3 else cell for y, cell in zip(CLEAN["y"], cells, strict=True)]
    assert notes({"code": last}) == []
    told = [None if y == 1 else cell for y, cell in zip(CLEAN["y"], cells, strict=True)]
    assert notes({"code": told}) == [_tells("code")]


def test_words_among_numbers_are_named(notes: Notes) -> None:
    """With the first of a column and its row, unless the config says that it is one of categories."""
    count = [*CLEAN["count"][:120], "unknwon", *CLEAN["count"][121:]]
    doors = [("2", "3", "5more")[i] for i in np.random.default_rng(1).integers(0, 3, ROWS)]
    (said,) = notes({"count": count, "doors": doors})
    assert said == (
        f"numbers and words make categories: 'count' ('unknwon' in row 121), 'doors' ('5more' in row "
        f"{doors.index('5more') + 1}); name such columns in data.categorical, or if a word is a slip, mend "
        "it or give it in data.missing"
    )
    assert notes({"count": count, "doors": doors}, categorical=["count", "doors"]) == []
    assert not any("words" in note for note in notes({"count": count}, missing=["unknwon"]))
    assert notes({"truth": [("0", "true", "False", "1")[i % 4] for i in range(ROWS)]}) == []


def test_blanks_around_categories_are_told(notes: Notes) -> None:
    """Unless they are those of gaps."""
    colour = [f" {colour}" for colour in CLEAN["colour"]]
    (said,) = notes({"colour": colour})
    assert said == (
        f"categories with blanks around them are taken as they stand: ' {CLEAN['colour'][0]}' in 'colour'; "
        "rows that are asked about must have them too"
    )
    gaps = [" ?" if i % 9 == 0 else colour for i, colour in enumerate(CLEAN["colour"])]
    assert notes({"colour": gaps}) == []


def test_decimal_commas_are_told_once(tmp_path: Path) -> None:
    """With a cell and how it was read, and a column whose numbers have points if there is one."""
    text = write_csv(tmp_path / "t.csv", CLEAN).read_text(encoding="utf-8").replace(",", ";")
    (tmp_path / "t.csv").write_text(text.replace(".", ","), encoding="utf-8")
    shown = str(CLEAN["length"][0])
    as_read = f": '{shown.replace('.', ',')}' in row 1 of 'length' is {shown}"
    assert load_table(tmp_path / "t.csv").notes == (f"numbers are read with decimal commas{as_read}",)
    lines = [line.split(";") for line in text.splitlines()]
    width = lines[1][lines[0].index("width")]
    mixed = "\n".join(";".join([line[0].replace(".", ","), *line[1:]]) for line in lines)
    (tmp_path / "t.csv").write_text(mixed, encoding="utf-8")
    assert load_table(tmp_path / "t.csv").notes == (
        f"numbers are read with decimal commas{as_read}; a point is one too, {width!r} in row 1 of 'width'",
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["5.1", "3.5", "7", "y"], True),
        (["3.5", "5.1", "7", "y"], False),
        (["5.1", "a", "b", "y"], False),
        (["0", "1", "2", "y"], False),
    ],
)
def test_a_first_line_that_looks_like_a_row_is_told(names: list[str], told: bool, tmp_path: Path) -> None:
    """Most of its cells are numbers, which do not rise as wavelengths and counts do."""
    columns = dict(zip(names, [*list(CLEAN.values())[:3], CLEAN["y"]], strict=True))
    said = (
        "columns are called '5.1', '3.5', '7', 'y', which looks like a row; the first line must name them"
    )
    assert load_table(write_csv(tmp_path / "t.csv", columns)).notes == ((said,) if told else ())


def test_a_column_of_different_numbers_gives_nothing_away(notes: Notes) -> None:
    """That no two cells are equal is no knowledge."""
    assert notes({"order": np.random.default_rng(1).permutation(ROWS).tolist()}) == []


def test_an_identifier_is_named(notes: Notes) -> None:
    """A category with another text in every second row or more often names rows."""
    said = "column 'id' has 600 different texts in 600 rows; if it names rows, name it in data.drop"
    assert notes({"id": [f"row {i}" for i in range(ROWS)]}) == [said]
    assert notes({"id": [f"row {i % 200}" for i in range(ROWS)]}) == []
    assert (
        "has 400 different texts in 400 rows"
        in notes({"id": [*(f"r {i}" for i in range(400)), *[None] * 200]})[0]
    )


def test_numbers_that_stand_for_missing_values_are_named(notes: Notes) -> None:
    """The smallest whole number of 32 bits is seldom a measurement."""
    cells = [*CLEAN["width"][:-3], *[-(2**31)] * 3]
    said = "-2147483648 often stands for a missing value: 'width' in 3 rows; leave such cells empty"
    assert notes({"width": cells}) == [said]


def test_labels_with_few_rows_are_named_by_part(notes: Notes) -> None:
    """Of a label with four rows no part says much."""
    rare = [3 if i < 60 else 1 + i % 2 for i in range(ROWS)]
    said = notes({"y": rare[:60] + rare[60:]}, split={"test": 0.02, "validation": 0.3})
    assert [note.partition(":")[0] for note in said] == ["few rows of a label in test"]
    assert said[0].endswith("; what it says of that label is chance")


@pytest.mark.parametrize(
    "name",
    [
        "ESL",
        "LEV",
        "SWD",
        "car",
        "car-categorical",
        "cement_strength",
        "eucalyptus",
        "winequality-red",
        "winequality-white",
    ],
)
def test_real_tables_raise_no_false_alarm(root: Path, name: str) -> None:
    """What is said of published tables is true: equal rows, rare labels, copies and stand-ins."""
    path = root.parent / "shared" / "data" / "tables" / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine")
    data = load_table(path, label=draft(str(path)).label, labels=draft(str(path)).order.names)
    others = [
        note for note in data.notes if not note.startswith("few rows") and "repeat another" not in note
    ]
    if name == "car-categorical":
        assert [note.partition(";")[0] for note in others] == [
            "numbers and words make categories: 'doors' ('5more' in row 82), 'persons' ('more' in row 19)"
        ]
    elif name != "eucalyptus":
        assert others == []
    else:
        cells = np.asarray(data.cells)
        copies = {i for i in range(91) for j in range(i) if np.array_equal(cells[:, i], cells[:, j])}
        assert [note.partition(":")[0] for note in others] == [
            "columns that are the same as another",
            "-2147483648 often stands for a missing value",
        ]
        assert f"and {len(copies) - 5} more" in others[0]


def test_a_word_among_truth_values_is_told(tmp_path: Path) -> None:
    """A slip in a column of true and false makes it one of categories, and that is said."""
    cells = ["true", "false"] * 60
    cells[6] = "maybe"
    path = write_csv(tmp_path / "t.csv", {"x": list(range(120)), "old": cells, "y": [0, 1, 1] * 40})
    (note,) = [one for one in load_table(path).notes if "make categories" in one]
    assert "'old' ('maybe' in row 7)" in note
