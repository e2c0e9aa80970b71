"""Rows by column name."""

import numpy as np
import pytest

from serving.client import Client
from serving.errors import InvalidRequest

FEATURES = ("acidity", "sugar", "alcohol", "pH")


@pytest.fixture
def client(running):
    """A client of the shared server."""
    with Client(running.address) as client:
        yield client


def all_columns(*entries):
    """A table with the same entries in each column."""
    return {name: list(entries) for name in FEATURES}


def columns_of(rows):
    """The columns of rows, by name."""
    return dict(zip(FEATURES, rows.T, strict=True))


def random_rows(count=20):
    """Random rows of four features."""
    return np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)


def check_equal(one, other):
    """Two predictions hold the same numbers."""
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.expected_value, other.expected_value)
    assert one.decisions.keys() == other.decisions.keys()
    for name, decision in one.decisions.items():
        np.testing.assert_array_equal(decision.action, other.decisions[name].action)
        np.testing.assert_array_equal(decision.expected_cost, other.decisions[name].expected_cost)
    assert one.interval.ends == other.interval.ends
    np.testing.assert_array_equal(one.uncertainty.aleatoric, other.uncertainty.aleatoric)


@pytest.mark.parametrize("count", [1, 3, 257])
def test_a_table_is_answered_as_the_tensor(client, wine, count):
    """The same rows by column name and as an array get the same numbers, those of the float64 check."""
    rows = random_rows(count)
    by_name = client.predict(columns_of(rows), "wine", policies=["absolute", "triage"], coverage=0.7)
    check_equal(by_name, client.predict(rows, "wine", policies=["absolute", "triage"], coverage=0.7))
    np.testing.assert_allclose(by_name.probabilities, wine.probabilities(rows), atol=1e-5)
    assert len(by_name) == count


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_columns_come_in_any_order(client, order):
    """Names say which feature a column is, their order says nothing."""
    rows = random_rows()
    columns = columns_of(rows)
    shuffled = {FEATURES[index]: columns[FEATURES[index]] for index in order}
    check_equal(client.predict(shuffled, "wine"), client.predict(rows, "wine"))


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", ">f8", "int8", "int64", "uint8", ">i2", "uint64", "bool"]
)
def test_numbers_of_every_type_are_sent(client, dtype):
    """Floats, whole numbers and booleans of NumPy are sent as the floats they are."""
    rows = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]], np.float32)
    columns = {name: column.astype(dtype) for name, column in columns_of(rows).items()}
    check_equal(client.predict(columns, "wine"), client.predict(rows, "wine"))


def test_lists_are_columns_too(client):
    """Columns need no NumPy, and each may have a type of its own."""
    columns = {
        "acidity": [1, 2],
        "sugar": (0.5, -0.5),
        "alcohol": [True, False],
        "pH": np.array([3, 4], np.uint8),
    }
    rows = np.array([[1, 0.5, 1, 3], [2, -0.5, 0, 4]], np.float32)
    check_equal(client.predict(columns, "wine"), client.predict(rows, "wine"))


def test_columns_need_not_be_contiguous(client):
    """A slice with steps is sent in the order of its elements."""
    rows = random_rows(20)
    columns = columns_of(rows[::-2])
    assert not columns["sugar"].flags.c_contiguous
    check_equal(client.predict(columns, "wine"), client.predict(rows[::-2].copy(), "wine"))


def test_missing_values_pass_where_the_manifest_allows_them(make, serving_of, tmp_path, wine):
    """NaN in a column reaches the graph of a model that allows it, while infinity is still refused."""
    spec = wine.manifest.inputs[0].model_copy(update={"missing": wine.manifest.inputs[0].features})
    made = make(tmp_path / "m.onnx", spec)
    rows = random_rows(3)
    rows[1, 2] = np.nan
    with serving_of(made.path) as server, Client(server.address) as client:
        answer = client.predict(columns_of(rows))
        assert np.isnan(answer.probabilities).any(axis=1).tolist() == [False, True, False]
        np.testing.assert_array_equal(answer.probabilities, client.predict(rows).probabilities)
        rows[2, 0] = np.inf
        with pytest.raises(InvalidRequest, match="or NaN where a value is missing; got inf at row 2, fea"):
            client.predict(columns_of(rows))


def test_a_missing_value_is_refused_where_it_is_not_allowed(client):
    """The field is that of the column as it was sent; row and feature are named."""
    rows = random_rows(3)
    rows[1, 2] = np.nan
    columns = {"alcohol": rows[:, 2], **columns_of(rows)}  # which comes first, then
    with pytest.raises(
        InvalidRequest, match="must be finite; got nan at row 1, feature 'alcohol'"
    ) as caught:
        client.predict(columns, "wine")
    assert caught.value.field == "table.columns[0].floats[1]"


def test_what_overflows_float32_is_refused(client):
    """A whole number or a float64 beyond float32 becomes infinite, which the service refuses."""
    columns = columns_of(random_rows(2).astype(np.float64))
    with pytest.raises(InvalidRequest, match="got inf at row 1, feature 'sugar'"):
        client.predict({**columns, "sugar": [0.0, 1e300]}, "wine")


@pytest.mark.parametrize(
    ("columns", "field", "message"),
    [
        ({}, "table.columns", r"missing are \['acidity', 'sugar', 'alcohol', 'pH'\]"),
        ({"acidity": [1], "sugar": [1]}, "table.columns", r"missing are \['alcohol', 'pH'\]"),
        ({"acidty": [1]}, "table.columns[0].name", "got 'acidty'; did you mean 'acidity'?"),
        (all_columns(), "table.columns[0].floats", "at least one row, got 0"),
        (
            {**all_columns(1.0, 2.0), "pH": [3.0]},
            "table.columns[3].floats",
            "as many entries as the first, 2, got 1 of 'pH'",
        ),
        (
            {**all_columns(1.0), "pH": ["neutral"]},
            "table.columns[3].strings",
            "feature 'pH' is a number; send it as floats",
        ),
    ],
)
def test_a_wrong_table_is_an_invalid_request(client, columns, field, message):
    """What the service refuses comes back with its field."""
    with pytest.raises(InvalidRequest, match=message) as caught:
        client.predict(columns, "wine")
    assert caught.value.field == field


def test_a_table_for_an_image_is_refused(client):
    """A model of images says what it takes."""
    with pytest.raises(
        InvalidRequest, match=r"^table: this model takes images: send a tensor of \[rows, 8,"
    ):
        client.predict({"pixels": [1, 2]}, "digits")


@pytest.mark.parametrize(
    ("entries", "error", "message"),
    [
        ([[1.0, 2.0]], ValueError, r"column 'sugar' must have one dimension, got shape \(1, 2\)"),
        (1.0, ValueError, r"column 'sugar' must have one dimension, got shape \(\)"),
        (
            np.array([1, "a", 2.5], object),
            TypeError,
            "column 'sugar' must hold numbers or texts, .*; got int beside texts at row 0",
        ),
        (["a", 1.5], TypeError, "and None where a value is missing; got float beside texts at row 1"),
        (["a", True], TypeError, "got bool beside texts at row 1"),
        ([None, {}], TypeError, "got dict at row 1"),
        ([b"a"], TypeError, "column 'sugar' must hold numbers or texts, .*; got bytes at row 0"),
        ([1j], TypeError, "got complex at row 0"),
        (
            [None, 10**400],
            ValueError,
            "column 'sugar' must hold numbers that a float can hold: int too large",
        ),
        (np.array(["2024-01-01"], "datetime64[D]"), TypeError, "column 'sugar' must hold numbers or texts"),
    ],
)
def test_a_column_that_cannot_be_sent_is_refused_before_sending(client, entries, error, message):
    """More dimensions than one, and entries that are neither numbers nor texts, are the caller's errors."""
    with pytest.raises(error, match=message):
        client.predict({**all_columns(1.0), "sugar": entries}, "wine")
