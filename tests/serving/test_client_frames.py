"""Data frames in and out of the client, against a real server."""

import datetime
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from serving.client import Client, Policy


@pytest.fixture
def client(running):
    """A client of the shared server."""
    with Client(running.address) as client:
        yield client


def asked(client, rows):
    """The numbers of an answer about cars."""
    answer = client.predict(rows, "cars")
    return np.column_stack([answer.probabilities, answer.expected_value])


@pytest.fixture
def table(cars):
    """Four cars by name of the feature, some values missing: lists, as a caller would write them."""
    numeric, categorical = cars.manifest.inputs
    numbers = {name: [0.5, 0.25, -1.0, 0.0] for name in numeric.features}
    texts = {
        name: [known[0], known[-1], known[0], known[-1]]
        for name, known in zip(categorical.features, categorical.categories, strict=True)
    }
    for name in numeric.missing or ():
        numbers[name] = [0.5, None, -1.0, 0.0]
    for name in categorical.missing or ():
        texts[name] = [texts[name][0], None, *texts[name][2:]]
    return {**numbers, **texts}


def frames(table):
    """The same rows as frames of several libraries, and with other types of column."""
    polars = pl.DataFrame(table)
    texts = [name for name, kind in polars.schema.items() if kind == pl.String]
    numbers = [name for name in polars.columns if name not in texts]
    pandas = pd.DataFrame(table)
    arrow = pa.table(table)
    return {
        "polars": polars,
        "categorical": polars.with_columns(pl.col(texts).cast(pl.Categorical)),
        "enum": polars.with_columns(
            pl.col(name).cast(pl.Enum(polars[name].drop_nulls().unique())) for name in texts
        ),
        "float32": polars.with_columns(pl.col(numbers).cast(pl.Float32)),
        "another order": polars.select(reversed(polars.columns)),
        "slice": pl.concat([polars, polars]).slice(4, 4),
        "pandas": pandas,
        "pandas categories": pandas.astype(dict.fromkeys(texts, "category")),
        "pandas nullable": pandas.convert_dtypes(),
        "pyarrow": arrow,
        "pyarrow dictionary": pa.table(
            {
                name: arrow[name].dictionary_encode() if name in texts else arrow[name]
                for name in arrow.column_names
            }
        ),
        "record batch": arrow.to_batches()[0],
        "columns of polars": {name: polars[name] for name in polars.columns},
    }


def test_frames_are_answered_as_their_columns_are(client, table):
    """Whatever library and types they have, in any order of the columns; nulls are missing values."""
    expected = asked(client, table)
    assert len(expected) == 4
    for name, frame in frames(table).items():
        np.testing.assert_array_equal(asked(client, frame), expected, err_msg=name)


WINE = ("acidity", "sugar", "alcohol", "pH")


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({name: [1, 0] for name in WINE}, schema=dict.fromkeys(WINE, pl.Int64)),
        pl.DataFrame({name: [1, 0] for name in WINE}, schema=dict.fromkeys(WINE, pl.UInt8)),
        pl.DataFrame({name: [True, False] for name in WINE}),
        pd.DataFrame({name: [1, 0] for name in WINE}),
        pd.DataFrame({name: [True, False] for name in WINE}),
        pa.table({name: [True, False] for name in WINE}),
        pa.table({name: pa.array([1, 0], pa.int16()) for name in WINE}),
    ],
)
def test_integers_and_booleans_are_numbers(client, frame):
    """Of any width; True is 1."""
    expected = client.predict(np.array([[1] * 4, [0] * 4], np.float32), "wine")
    np.testing.assert_array_equal(client.predict(frame, "wine").probabilities, expected.probabilities)


DAY = datetime.date(2026, 1, 31)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (pl.DataFrame({"day": [DAY]}), "Date"),
        (pl.DataFrame({"day": [[1.0]]}), r"List\(Float64\)"),
        (pl.DataFrame({"day": [None]}), "Null"),
        (pl.DataFrame({"day": ["1.5"]}).cast(pl.Decimal(4, 1)), "Decimal"),
        (pl.DataFrame({"day": [b"1"]}), "Binary"),
        (pd.DataFrame({"day": [pd.Timestamp(DAY)]}), "datetime64"),
        (pd.DataFrame({"day": ["a", 1]}), "object"),
        (pa.table({"day": [DAY]}), "date32"),
        (pa.table({"day": pa.nulls(1)}), "null"),
        (pa.table({"day": pa.array([1.0]).dictionary_encode()}), "dictionary"),
    ],
)
def test_other_types_are_refused_with_the_column(client, frame, kind):
    """Before anything is sent."""
    with pytest.raises(TypeError, match=rf"^column 'day' must hold numbers, booleans or texts, got {kind}"):
        client.predict(frame, "wine")


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (pl.LazyFrame({"a": [1.0]}), TypeError, r"a LazyFrame is still to be computed: collect\(\) it"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), ValueError, "different names, got 'a' twice"),
        (pd.DataFrame([[1.0, 2.0]]), TypeError, "columns must be named by texts, as features are, got 0"),
        (pa.table([[1], [2]], names=["a", "a"]), ValueError, "different names, got 'a' twice"),
    ],
)
def test_what_is_no_table_of_named_columns_is_refused(client, frame, error, message):
    """A frame that is still to be computed, names that come twice, names that are none."""
    with pytest.raises(error, match=message):
        client.predict(frame, "wine")


def test_a_prediction_becomes_a_frame(client):
    """A column for each thing that was asked for, labels and actions by name, in their order."""
    rows = np.random.default_rng(1).uniform(-1, 1, (6, 4))
    answer = client.predict(rows, "wine", policies=["absolute", "triage"])
    frame = answer.to_polars()
    assert frame.columns == [
        *(f"p_{label}" for label in answer.labels),
        "expected_value",
        *("decision_absolute", "expected_cost_absolute", "margin_absolute"),
        *("decision_triage", "expected_cost_triage", "margin_triage"),
        *("lower", "upper", "aleatoric", "epistemic"),
    ]
    np.testing.assert_array_equal(frame.select(pl.col("^p_.*$")).to_numpy(), answer.probabilities)
    triage = answer.decisions["triage"]
    assert frame["decision_triage"].to_list() == triage.chosen
    assert frame.schema["decision_triage"] == pl.Enum(triage.actions)
    assert frame["margin_triage"].to_numpy().tolist() == triage.margin.tolist()
    assert list(zip(frame["lower"], frame["upper"], strict=True)) == answer.interval.ends
    assert frame.filter(pl.col("lower") > "awful").height == sum(answer.interval.lower > 0)


def test_it_has_what_came_back_and_no_more(client):
    """What was left out of the outputs has no column; costs of all actions have one for each policy."""
    rows = np.zeros((3, 4))
    outputs = ["expected_value", "action_costs"]
    own = Policy("own", np.eye(5)[:, :2], ["a", "b"])
    frame = client.predict(rows, "wine", outputs=outputs, policies=[own]).to_polars()
    assert frame.schema == {"expected_value": pl.Float32, "action_costs_own": pl.Array(pl.Float32, 2)}
    assert frame.height == 3


def test_slices_of_a_frame_are_a_stream(client, wine):
    """So a frame of any size is answered, a part at a time."""
    rows = np.random.default_rng(2).uniform(-1, 1, (1000, 4)).astype(np.float32)
    frame = pl.DataFrame(rows, schema=WINE)
    answers = client.predict_stream(frame.iter_slices(300), "wine")
    answered = pl.concat(answer.to_polars() for answer in answers)
    assert answered.height == 1000
    np.testing.assert_allclose(
        answered.select(pl.col("^p_.*$")).to_numpy(), wine.probabilities(rows), atol=1e-5
    )


def test_whoever_has_no_frames_needs_no_polars():
    """The client loads it for frames only, and says what to install where it is not there."""
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "import numpy as np; from serving import aio, client\n"
        "from serving.requests import prediction_request as ask\n"
        "ask(np.zeros((1, 2)), '', '', (), None, (), '')\n"
        "ask({'a': [1.0]}, '', '', (), None, (), '')\n"
        "print(*{'pandas', 'pyarrow'} & set(sys.modules))\n"
        "from serving.answers import prediction; from serving.wire import ordinal_pb2 as wire\n"
        "prediction(wire.PredictResponse(labels=['a'])).to_polars()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == []
    assert "ImportError: to_polars needs polars, which is not installed: pip install" in done.stderr
