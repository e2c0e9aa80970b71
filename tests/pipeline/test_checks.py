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
    assert notes(twice) == ["50 rows repeat another one; a split by content keeps equal rows in one part"]
    twice["y"][-1], twice["y"][-2] = 1 + twice["y"][-1] % 3, 1 + twice["y"][-2] % 3
    (said,) = notes(twice)
    assert said.startswith("50 rows repeat another one; 2 sets of equal rows have labels that differ;")


def _tells(name: str) -> str:
    return (
        f"column '{name}' tells the label of every row by itself; if it is not known before the label is, "
        "name it in data.drop"
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
    if name != "eucalyptus":
        assert others == []
    else:
        cells = np.asarray(data.cells)
        copies = {i for i in range(91) for j in range(i) if np.array_equal(cells[:, i], cells[:, j])}
        assert [note.partition(":")[0] for note in others] == [
            "columns that are the same as another",
            "-2147483648 often stands for a missing value",
        ]
        assert f"and {len(copies) - 5} more" in others[0]
