"""Tables with categories: texts beside numbers, or alone."""

import json
import threading

import grpc
import numpy as np
import pytest

from serving.artifact import Artifact
from serving.batching import Batching
from serving.client import Client, Policy
from serving.errors import ArtifactError, InvalidRequest
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

from .categorical_artifact import CATEGORICAL, LENIENT, NUMERIC, encoded, make_cars, random_columns

LONG = 60  # seconds that nothing here takes


@pytest.fixture
def client(running):
    """A client of the shared server, whose model `cars` refuses unknown categories."""
    with Client(running.address) as client:
        yield client


@pytest.fixture(scope="module")
def lenient(make, serving_of, tmp_path_factory):
    """An artifact that takes unknown categories, and a client of its server."""
    made = make_cars(make, tmp_path_factory.mktemp("lenient") / "m.onnx", NUMERIC, LENIENT)
    with serving_of(made.path) as server, Client(server.address) as client:
        yield made, client


def one_row(**changed):
    """Columns of one row, some of them changed."""
    good = {"age": [0.5], "power": [1.0], "colour": ["red"], "fuel": ["diesel"], "größe": ["☃"]}
    return {**good, **changed}


@pytest.mark.parametrize("rows", [1, 3, 257, 1500])
def test_numbers_and_categories_are_answered(client, cars, rows):
    """Each row gets what its numbers and the codes of its categories say, in a run or in several."""
    columns = random_columns(rows, rows)
    answer = client.predict(columns, "cars", policies=["absolute", "triage"])
    np.testing.assert_allclose(answer.probabilities, cars.probabilities(encoded(columns)), atol=1e-5)
    assert len(answer) == rows


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
def test_columns_of_both_kinds_come_in_any_order(client, order):
    """Names say what a column is, categories may come first or between numbers."""
    columns = random_columns(7, 20)
    names = list(columns)
    shuffled = {names[index]: columns[names[index]] for index in order}
    np.testing.assert_array_equal(
        client.predict(shuffled, "cars").probabilities, client.predict(columns, "cars").probabilities
    )


@pytest.mark.parametrize("spec", [CATEGORICAL, NUMERIC], ids=["categories alone", "numbers alone"])
def test_a_model_may_have_one_kind_alone(make, serving_of, tmp_path, spec):
    """Categories need no numbers beside them, nor numbers categories."""
    made = make_cars(make, tmp_path / "m.onnx", spec)
    columns = {name: column for name, column in random_columns(1, 30).items() if name in spec.features}
    with serving_of(made.path) as server, Client(server.address) as client:
        answer = client.predict(columns)
        with pytest.raises(InvalidRequest, match="must be one of") as caught:
            client.predict({**columns, "wheels": [4.0] * 30})
    assert caught.value.field == f"table.columns[{len(columns)}].name"
    np.testing.assert_allclose(answer.probabilities, made.probabilities(encoded(columns, spec)), atol=1e-5)


@pytest.mark.parametrize(
    "text", ["unheard of", "Red", "red ", " red", "blue", "re", "red\0", "⛄", "r" * 100_000]
)
def test_an_unknown_category_reaches_a_graph_that_takes_it(lenient, text):
    """What is no category, and be it by a blank or a capital, is unknown to the graph."""
    made, client = lenient
    columns = one_row(colour=[text])
    expected = made.probabilities(encoded(columns, NUMERIC, LENIENT))
    assert not np.allclose(expected, made.probabilities(encoded(one_row(), NUMERIC, LENIENT)))
    np.testing.assert_allclose(client.predict(columns).probabilities, expected, atol=1e-5)


def test_unknown_categories_stand_among_known_ones(lenient):
    """Rows with and without them are answered together."""
    made, client = lenient
    columns = random_columns(5, 200, ["unheard of", "Red"])
    np.testing.assert_allclose(
        client.predict(columns).probabilities,
        made.probabilities(encoded(columns, NUMERIC, LENIENT)),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("columns", "field", "message"),
    [
        (
            one_row(colour=["gren"]),
            "table.columns[2].strings[0]",
            "every entry must be one of ['red', 'green', ' blue ']; got 'gren' at row 0, feature 'colour'; "
            "did you mean 'green'?",
        ),
        (
            one_row(colour=["#"]),
            "table.columns[2].strings[0]",
            "['red', 'green', ' blue ']; got '#' at row 0, feature 'colour'",
        ),
        (
            one_row(colour=["blue"]),
            "table.columns[2].strings[0]",
            "got 'blue' at row 0, feature 'colour'; did",
        ),
        (one_row(fuel=["red"]), "table.columns[3].strings[0]", "['petrol', 'diesel']; got 'red'"),
        (
            one_row(fuel=["x" * 1000]),
            "table.columns[3].strings[0]",
            f"got '{'x' * 30}…{'x' * 15}' at row 0",
        ),
        (
            {name: column * 2 for name, column in one_row().items()} | {"größe": ["groß", "gross"]},
            "table.columns[4].strings[1]",
            "got 'gross' at row 1, feature 'größe'; did you mean 'groß'?",
        ),
        (
            one_row(colour=[""]),
            "table.columns[2].strings[0]",
            "every entry must be a category such as 'red'; got '', which stands for a missing value, at "
            "row 0, feature 'colour'; of categorical features values may be missing only in ['fuel', "
            "'größe']",
        ),
        (
            one_row(colour=["n/a"]),
            "table.columns[2].strings[0]",
            "got 'n/a', which stands for a missing value",
        ),
        (
            one_row(age=[np.nan]),
            "table.columns[0].floats[0]",
            "every entry must be finite; got nan at row 0, feature 'age'; of numeric features values may "
            "be missing only in ['power']",
        ),
        (
            one_row(power=[np.inf]),
            "table.columns[1].floats[0]",
            "must be a finite number, or NaN where a value is missing; got inf at row 0, feature 'power'",
        ),
        (
            one_row(age=[np.inf]),
            "table.columns[0].floats[0]",
            "must be finite; got inf at row 0, feature 'age'",
        ),
        (
            one_row(colour=[3]),
            "table.columns[2].floats",
            "feature 'colour' is a category; send it as strings, empty where a value is missing",
        ),
        (
            one_row(age=["3"]),
            "table.columns[0].strings",
            "feature 'age' is a number; send it as floats, NaN where a value is missing",
        ),
        (one_row(age=[None]), "table.columns[0].strings", "feature 'age' is a number; send it as floats"),
        (
            one_row(fuel=["petrol", "petrol"]),
            "table.columns[3].strings",
            "every column must have as many entries as the first, 1, got 2 of 'fuel'",
        ),
        (one_row(colour=[]), "table.columns[2].strings", "as the first, 1, got 0 of 'colour'"),
        (one_row(color=["red"]), "table.columns[5].name", "got 'color'; did you mean 'colour'?"),
    ],
)
def test_what_the_manifest_does_not_allow_is_refused(client, columns, field, message):
    """Field, feature, row and what came are told, with what is allowed and the nearest neighbour."""
    with pytest.raises(InvalidRequest) as caught:
        client.predict(columns, "cars")
    assert message in str(caught.value)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "n/a"])
def test_a_missing_text_is_not_an_unknown_category(lenient, text):
    """A model that takes unknown categories refuses missing ones all the same, of features without gaps."""
    _, client = lenient
    with pytest.raises(
        InvalidRequest, match="which stands for a missing value, at row 0, feature 'colour'"
    ):
        client.predict(one_row(colour=[text]))


def test_each_text_for_a_missing_value_is_handed_on(client, cars):
    """An empty text and those of the manifest reach the graph, as NaN does, where training had gaps."""
    columns = {"age": [0.5] * 3, "power": [np.nan] * 3, "colour": ["red"] * 3, "größe": ["klein"] * 3}
    answer = client.predict({**columns, "fuel": ["", "?", "n/a"]}, "cars")
    expected = cars.probabilities(encoded({**columns, "fuel": ["", "?", "n/a"]}))
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
    assert (answer.probabilities == answer.probabilities[0]).all()


def test_a_tensor_is_refused_where_there_are_categories(client):
    """The sentence says what to send."""
    with pytest.raises(
        InvalidRequest,
        match=r"^tensor: this model takes categories, \['colour', 'fuel', 'größe'\], which a tensor does "
        r"not hold: send a table, with a column for each feature$",
    ):
        client.predict(np.zeros((1, 5)), "cars")


def test_missing_numbers_of_a_tensor_are_checked_by_feature(make, serving_of, tmp_path):
    """NaN in a tensor passes in the features that had gaps in training, and in no other."""
    made = make_cars(make, tmp_path / "m.onnx", NUMERIC)
    with serving_of(made.path) as server, Client(server.address) as client:
        rows = np.array([[1.0, np.nan], [2.0, 3.0]])
        filled = np.nan_to_num(rows).astype(np.float32)
        np.testing.assert_allclose(
            client.predict(rows).probabilities, made.probabilities(filled), atol=1e-5
        )
        with pytest.raises(
            InvalidRequest, match=r"must be finite; got nan at row 1, feature 'age'; of num"
        ):
            client.predict(np.array([[1.0, np.nan], [np.nan, np.nan]]))
        with pytest.raises(InvalidRequest, match="or NaN where a value is missing; got -inf at row 0"):
            client.predict(np.array([[1.0, -np.inf]]))


@pytest.mark.parametrize(
    ("entries", "sent"),
    [
        (["petrol", None, "diesel"], ["petrol", "", "diesel"]),
        (["petrol", float("nan"), "diesel"], ["petrol", "", "diesel"]),
        (np.array(["petrol", np.nan, None], object), ["petrol", "", ""]),
        (np.array(["petrol", "?", "diesel"]), ["petrol", "?", "diesel"]),
        (("petrol", np.float32("nan"), np.str_("diesel")), ["petrol", "", "diesel"]),
        ([None, None, None], ["", "", ""]),
    ],
)
def test_none_and_nan_are_missing_texts(client, entries, sent):
    """Whatever the column is made of, a gap among texts is sent as an empty one."""
    columns = {**random_columns(3, 3), "fuel": sent}
    np.testing.assert_array_equal(
        client.predict({**columns, "fuel": entries}, "cars").probabilities,
        client.predict(columns, "cars").probabilities,
    )


@pytest.mark.parametrize(
    ("entries", "sent"),
    [
        ([1, None, 2.5], [1, np.nan, 2.5]),
        (np.array([None, True, np.float32(2)], object), [np.nan, 1, 2]),
        ([None, float("nan"), None], [np.nan, np.nan, np.nan]),
        ([np.bool_(True), None, np.int8(3)], [1, np.nan, 3]),
        ([True, False, True], [1, 0, 1]),
    ],
)
def test_none_is_nan_among_numbers(client, entries, sent):
    """A column of objects that are numbers or None goes as numbers."""
    columns = {**random_columns(3, 3), "power": sent}
    np.testing.assert_array_equal(
        client.predict({**columns, "power": entries}, "cars").probabilities,
        client.predict(columns, "cars").probabilities,
    )


def test_columns_of_a_data_frame_are_sent_as_they_are(client):
    """What pandas holds, gaps included, needs no conversion."""
    pandas = pytest.importorskip("pandas")
    columns = {**random_columns(3, 3), "fuel": ["petrol", None, "?"], "power": [1.0, None, 2.0]}
    frame = pandas.DataFrame(columns)
    frame["größe"] = frame["größe"].astype("category")
    np.testing.assert_array_equal(
        client.predict(dict(frame.items()), "cars").probabilities,
        client.predict({**columns, "power": [1.0, np.nan, 2.0]}, "cars").probabilities,
    )


def test_batches_of_a_stream_may_have_categories(client, cars):
    """Each is answered as it would be alone."""
    batches = [random_columns(seed, seed + 1) for seed in range(20)]
    for columns, answer in zip(batches, client.predict_stream(batches, "cars"), strict=True):
        np.testing.assert_allclose(answer.probabilities, cars.probabilities(encoded(columns)), atol=1e-5)


def test_costs_and_coverage_go_with_categories(client, cars):
    """Policies of the caller's own decide about rows with categories too."""
    columns = random_columns(11, 6)
    cost = np.random.default_rng(0).uniform(0, 5, (6, 5, 3))
    policy = Policy("own", cost=cost, actions=["a", "b", "c"])
    answer = client.predict(columns, "cars", policies=[policy, "triage"], coverage=0.6)
    expected = np.einsum("rk,rka->ra", cars.probabilities(encoded(columns)), cost).min(axis=1)
    np.testing.assert_allclose(answer.decisions["own"].expected_cost, expected, atol=1e-4)
    assert answer.interval.coverage == 0.6


def _request(columns, number):
    made = [
        wire.Column(name=name, **{"strings" if isinstance(column[0], str) else "floats": column})
        for name, column in columns.items()
    ]
    return wire.PredictRequest(model="cars", request_id=str(number), table=wire.Table(columns=made))


def test_requests_with_categories_share_a_run(serving_of, cars, monkeypatch):
    """What waits is answered by few runs, each request with its rows; a refused one harms no other."""
    sizes, queued, free = [], threading.Semaphore(0), threading.Event()
    run, submit = Artifact.run, Batching.submit

    def held(self, rows, *arguments):
        sizes.append(len(rows["categorical"]))
        assert free.wait(LONG)
        return run(self, rows, *arguments)

    def counted(self, work, caller):
        try:
            return submit(self, work, caller)
        finally:
            queued.release()

    asked = [random_columns(number, 1 + number % 3) for number in range(60)]
    with serving_of(cars.path, batch="on") as server, grpc.insecure_channel(server.address) as channel:
        monkeypatch.setattr(Artifact, "run", held)
        monkeypatch.setattr(Batching, "submit", counted)
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        calls = [
            stub.Predict.future(_request(columns, number), timeout=LONG)
            for number, columns in enumerate(asked)
        ]
        wrong = stub.Predict.future(_request({**asked[0], "colour": ["pink"]}, "wrong"), timeout=LONG)
        for _ in range(61):
            assert queued.acquire(timeout=LONG)
        free.set()
        replies = [call.result() for call in calls]
        assert wrong.code() == grpc.StatusCode.INVALID_ARGUMENT
    for number, (columns, reply) in enumerate(zip(asked, replies, strict=True)):
        assert (reply.request_id, reply.rows) == (str(number), len(columns["age"]))
        np.testing.assert_allclose(
            np.reshape(reply.probabilities, (reply.rows, -1)),
            cars.probabilities(encoded(columns)),
            atol=1e-5,
        )
    assert sum(sizes) == sum(len(columns["age"]) for columns in asked)
    assert len(sizes) < 20


def test_get_model_tells_what_clients_need(client, lenient):
    """Categories, what may be missing and how, and whether unknown categories are taken."""
    info = client.model("cars")
    numeric, categorical = info.inputs
    assert (numeric.name, numeric.dtype, numeric.shape) == ("numeric", "float32", (2,))
    assert (numeric.features, numeric.missing) == (("age", "power"), ("power",))
    assert (numeric.missing_texts, numeric.categories) == (("?", "n/a"), ())
    assert (categorical.name, categorical.dtype, categorical.shape) == ("categorical", "string", (3,))
    assert categorical.features == CATEGORICAL.features
    assert categorical.missing == ("fuel", "größe")
    assert categorical.missing_texts == ("?", "n/a")
    assert categorical.categories == CATEGORICAL.categories
    assert not categorical.unknown_allowed
    assert lenient[1].model().inputs[1].unknown_allowed
    assert "numeric float32 [2], categorical string [3]" in repr(info)


NARROW = {
    "shape": [2],
    "features": CATEGORICAL.features[:2],
    "categories": CATEGORICAL.categories[:2],
    "missing": [],
}
AS_NUMBERS = {
    "name": "numeric",
    "dtype": "float32",
    "ranges": [[0, 1]] * 3,
    "categories": [],
    "unknown_allowed": True,
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (NARROW, r"'categorical' is tensor\(string\) \['batch', 3\], must be .* \['batch', 2\]"),
        (AS_NUMBERS, r"graph wants inputs \['categorical'\], its manifest names \['numeric'"),
        ({"dtype": "float32"}, "categorical must be string, got float32"),
    ],
)
def test_a_graph_of_other_inputs_is_refused(make, tmp_path, changed, reason):
    """The manifest's categories must be texts of the graph, and as many."""
    content = make_cars(make, tmp_path / "good.onnx", CATEGORICAL).manifest.model_dump(mode="json")
    content["inputs"][0] |= changed
    bad = make_cars(make, tmp_path / "bad.onnx", CATEGORICAL, described=json.dumps(content))
    with pytest.raises(ArtifactError, match=reason):
        Artifact(bad.path, "cpu")
