"""Files of rows with categories, and with numbers as people write them."""

import json
import math

import numpy as np
import pytest

from serving.client import Client
from serving.errors import InvalidRequest
from serving.model_info import Input
from serving.rows_file import read_rows

from .categorical_artifact import CATEGORICAL, NUMERIC, encoded, random_columns

NAN = math.nan


def described(spec):
    """What a client is told of an input."""
    fields = ("name", "dtype", "shape", "features", "missing", "missing_texts", "categories")
    return Input(**{name: getattr(spec, name) for name in fields}, unknown_allowed=spec.unknown_allowed)


NUMBERS, CATEGORIES = described(NUMERIC), described(CATEGORICAL)
BOTH = (NUMBERS, CATEGORIES)


@pytest.fixture
def read(tmp_path):
    """Write a file and read it: `read("rows.csv", text, *inputs)`."""

    def read(name, content, *inputs):
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        return read_rows(tmp_path / name, inputs or BOTH, "utf-8")

    return read


def check_columns(found, expected):
    """Columns are the same, NaN where NaN is, and lists of plain floats and texts."""
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert {type(entry) for entry in found[name]} == {type(entry) for entry in column}
        if isinstance(column[0], str):
            assert found[name] == column
        else:
            np.testing.assert_array_equal(found[name], column)


def test_a_csv_has_numbers_and_categories(read):
    """Each column comes in the type of its feature, in the order of the model."""
    found = read(
        "rows.csv", "fuel,id,age,größe,power,colour\ndiesel,7,1,klein,2.5,red\npetrol,8,-1e1,☃,3,green\n"
    )
    check_columns(
        found,
        {
            "age": [1.0, -10.0],
            "power": [2.5, 3.0],
            "colour": ["red", "green"],
            "fuel": ["diesel", "petrol"],
            "größe": ["klein", "☃"],
        },
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.5", 1.5),
        (" 1.5\t", 1.5),
        ("true", 1.0),
        ("TRUE", 1.0),
        (" False ", 0.0),
        ("", NAN),
        (" ", NAN),
        ("?", NAN),
        (" ? ", NAN),
        ("n/a", NAN),
        ("+.5E+1", 5.0),
        ("2.", 2.0),
        ("nan", NAN),
        ("-NaN", NAN),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("1" * 200_000, math.inf),
    ],
)
def test_a_number_is_written_in_many_ways(read, text, number):
    """Blanks round it do not count, truth is 1, and nothing or a text for it is missing."""
    for name, content in (
        ("rows.csv", f"age,power\n0,{text}\n"),
        ("rows.json", json.dumps([{"age": 0, "power": text}])),
    ):
        check_columns(read(name, content, NUMBERS), {"age": [0.0], "power": [number]})


@pytest.mark.parametrize(
    "text",
    ["yes", "N/A", "1,5", "1 5", "0x10", "t", "'1'", "1_000", "١٢", "１", "1e", ".", "--1"],
)
def test_what_is_no_number_is_refused(read, text):
    """A text for a missing value counts as it is written, and truth is not abbreviated."""
    with pytest.raises(InvalidRequest, match="row 1, feature 'power': must be a number, got ") as caught:
        read("rows.csv", f'age,power\n0,1\n0,"{text}"\n', NUMBERS)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", [" blue ", " red", "red ", "", "?", "true", "1", "1.0", "1,5", "nan", "Red"]
)
def test_a_category_is_taken_as_it_stands(read, text):
    """Blanks and capitals belong to it, and nothing is made a number here."""
    found = read("rows.csv", f'größe,fuel,colour,age,power\nklein,diesel,"{text}",1,1\n')
    assert found["colour"] == [text]
    row = {"größe": "klein", "fuel": "diesel", "colour": text, "age": 1, "power": 1}
    assert read("rows.json", json.dumps([row])) == found


@pytest.mark.parametrize(
    ("text", "missing"), [(" ", ""), ("\t\u00a0", ""), ("?", "?"), (" ? ", ""), ("n/a ", "")]
)
def test_blanks_round_what_is_missing_do_not_count(read, text, missing):
    """A category that is but for blanks a text for a missing value is sent as the empty text."""
    found = read("rows.csv", f"größe,fuel,colour,age,power\nklein,{text},red,1,1\n")
    assert found["fuel"] == [missing]
    row = {"größe": "klein", "fuel": text, "colour": "red", "age": 1, "power": 1}
    assert read("rows.json", json.dumps([row])) == found


def test_names_of_a_header_may_have_blanks(read):
    """Round the names of features they do not count, unless a feature's own name has them."""
    own = Input("numeric", "float32", (2,), ("age", " power"))
    check_columns(
        read("rows.csv", " age ,\t power\n1,2\n".replace("\t", ""), own), {"age": [1.0], " power": [2.0]}
    )
    check_columns(read("rows.csv", "age , power\n1,2\n", NUMBERS), {"age": [1.0], "power": [2.0]})


def test_json_objects_are_rows(read):
    """Values by feature, in any order and with others between; null is missing, true is 1."""
    rows = [
        {"note": {"x": 1}, "fuel": None, "age": 3, "größe": "groß", "power": True, "colour": "red"},
        {"age": 0.5, "power": None, "colour": "green", "fuel": "?", "größe": ""},
    ]
    check_columns(
        read("rows.json", json.dumps(rows)),
        {
            "age": [3.0, 0.5],
            "power": [1.0, NAN],
            "colour": ["red", "green"],
            "fuel": ["", "?"],
            "größe": ["groß", ""],
        },
    )


GOOD = {"age": 1, "power": 2, "colour": "red", "fuel": "diesel", "größe": "groß"}
BAD_OBJECTS = {
    "a feature left out": (
        [GOOD, {"age": 1, "colour": "red"}],
        "row 1 must have a value for every feature of the model, or null; missing are ['power', 'fuel', "
        "'größe']",
    ),
    "a list among objects": ([GOOD, [1, 2]], "row 1 must be an object, as others are, it is [1, 2]"),
    "an object among lists": ([[1, 2], GOOD], "row 0 must be an object, as others are, it is [1, 2]"),
    "null for a row": ([GOOD, None], "row 1 must be an object, as others are, it is null"),
    "a number for a category": (
        [GOOD | {"fuel": 3}],
        "row 0, feature 'fuel': a category must be a text or null, got 3",
    ),
    "truth for a category": ([GOOD | {"fuel": True}], "a category must be a text or null, got true"),
    "a list for a category": ([GOOD | {"fuel": ["diesel"]}], 'must be a text or null, got ["diesel"]'),
    "a text for a number": ([GOOD | {"age": "old"}], "row 0, feature 'age': must be a number, got 'old'"),
    "a list for a number": (
        [GOOD | {"age": [1]}],
        "row 0, feature 'age': must be a number or null, got [1]",
    ),
    "a number beyond floats": ([GOOD | {"age": 10**400}], "int too large to convert to float"),
    "lists": (
        [[1, 2]],
        "the model takes categories, ['colour', 'fuel', 'größe']: give its rows as .csv with",
    ),
    "no rows": ([], "the model takes categories"),
    "columns": ({"age": [1]}, 'must hold a list of rows, it holds {"age": [1]}'),
    "a text": ("rows", 'must hold a list of rows, it holds "rows"'),
}


@pytest.mark.parametrize("name", BAD_OBJECTS)
def test_json_that_is_no_rows_is_refused(read, name):
    """One sentence names row and feature."""
    rows, reason = BAD_OBJECTS[name]
    with pytest.raises(InvalidRequest) as caught:
        read("rows.json", json.dumps(rows))
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_array_holds_no_categories(tmp_path):
    """NumPy's files are for numbers and images."""
    np.save(tmp_path / "rows.npy", np.zeros((2, 5)))
    with pytest.raises(
        InvalidRequest, match=r"takes categories, .*: give its rows as \.csv with a header, or"
    ):
        read_rows(tmp_path / "rows.npy", BOTH, "utf-8")


def test_arrays_are_read_for_numbers_alone(tmp_path):
    """As before: .npy, .npz, and lists in .json with null for a missing value."""
    np.save(tmp_path / "rows.npy", np.array([[1, 2], [3, 4]]))
    (tmp_path / "rows.json").write_text("[[1, null], [true, 4.5]]")
    found = read_rows(tmp_path / "rows.npy", [NUMBERS], "utf-8")
    assert (found.dtype, found.tolist()) == (np.float32, [[1, 2], [3, 4]])
    found = read_rows(tmp_path / "rows.json", [NUMBERS], "utf-8")
    np.testing.assert_array_equal(found, np.array([[1, NAN], [1, 4.5]], np.float32))


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_predict_answers_rows_with_categories(running, cars, tmp_path, capsys, suffix):
    """The command's answers are those of the float64 check."""
    from serving.__main__ import main

    columns = random_columns(9, 12)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".csv":
        lines = [",".join(f"{'' if value != value else value}" for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]), encoding="utf-8")
    else:
        path.write_text(json.dumps([{k: None if v != v else v for k, v in row.items()} for row in rows]))
    with pytest.raises(SystemExit) as ended:
        main(["predict", "cars", str(path), "--json", "--address", running.address])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)["probabilities"]
    np.testing.assert_allclose(found, cars.probabilities(encoded(columns)), atol=1e-5)


def test_predict_tells_which_field_has_an_unknown_category(running, tmp_path, capsys):
    """What the service refuses is one sentence with row, feature, neighbour and what is allowed."""
    from serving.__main__ import main

    (tmp_path / "rows.csv").write_text("age,power,colour,fuel,größe\n1,2, red,diesel,☃\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["predict", "cars", str(tmp_path / "rows.csv"), "--address", running.address])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "ordinal-serving: table.columns[2].strings[0]: every entry must be one of ['red', 'green', "
        "' blue ']; got ' red' at row 0, feature 'colour'; did you mean 'red'?\n"
    )


def test_what_the_model_says_is_enough_to_read_its_files(running):
    """The inputs that a client is told are those that files are read by."""
    with Client(running.address) as client:
        for told, spec in zip(client.model("cars").inputs, BOTH, strict=True):
            assert vars(told) == vars(spec)
