"""The typed client against a real server."""

import subprocess
import sys

import numpy as np
import pytest

from serving.client import Client, Policy
from serving.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, Unavailable
from serving.orders import Wanted
from serving.resolve import Resolved


@pytest.fixture
def client(running):
    """A client of the shared server."""
    with Client(running.address) as client:
        yield client


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_are_sent_as_float32(client, dtype):
    """Every float type of NumPy is answered like float32."""
    rows = np.array([[0.5, 0.25, -1, 2]])
    expected = client.predict(rows.astype(np.float32), "wine").probabilities
    np.testing.assert_array_equal(client.predict(rows.astype(dtype), "wine").probabilities, expected)


def test_rows_need_not_be_contiguous(client):
    """A transposed array is sent in the order of its elements."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3) / 12
    expected = client.predict(rows.T.copy(), "wine").probabilities
    np.testing.assert_array_equal(client.predict(rows.T, "wine").probabilities, expected)


@pytest.mark.parametrize("rows", [np.zeros((2, 4), np.int64), [[True] * 4], [["a"] * 4]])
def test_other_types_are_refused_before_sending(client, rows):
    """Integers, booleans and texts raise TypeError that says how to convert."""
    with pytest.raises(TypeError, match=r"rows must be float32 or uint8, .*rows\.astype"):
        client.predict(rows, "wine")


def test_refusals_keep_their_field(client):
    """INVALID_ARGUMENT is InvalidRequest with the violated field and its description."""
    with pytest.raises(InvalidRequest, match=r"^tensor\.shape: must be \[rows, 4\]") as caught:
        client.predict(np.zeros((2, 5)), "wine")
    assert caught.value.field == "tensor.shape"
    assert caught.value.message == "must be [rows, 4], got [2, 5]"
    with pytest.raises(InvalidRequest, match=r"^policies\[1\]\.cost\.cost\[0\]: every cost"):
        client.predict(np.zeros((2, 4)), "wine", policies=["triage", Policy("p", -np.eye(5))])


def test_what_overflows_float32_is_refused(client):
    """A float64 beyond float32 becomes infinite, which the service refuses."""
    with pytest.raises(InvalidRequest, match="got inf at row 0, feature 'acidity'"):
        client.predict([[1e300, 0, 0, 0]], "wine")


def test_unknown_model_is_model_not_found(client):
    """NOT_FOUND is ModelNotFound, naming what is served."""
    with pytest.raises(
        ModelNotFound, match=r"'beer' is not served; served are \['cars', 'digits', 'wine'\]"
    ):
        client.model("beer")


def test_nobody_there_is_unavailable():
    """A connection that is refused is Unavailable with the address."""
    with (
        Client("127.0.0.1:1", retry=False) as client,
        pytest.raises(Unavailable, match=r"^127\.0\.0\.1:1: .*refused"),
    ):
        client.model()


def test_a_timeout_is_deadline_exceeded(serving_of, make, tmp_path):
    """DEADLINE_EXCEEDED has a class of its own, and keeps its name."""
    made = make(tmp_path / "slow.onnx", slow=True)
    with (
        serving_of(made.path) as server,
        Client(server.address) as client,
        pytest.raises(DeadlineExceeded, match="DEADLINE_EXCEEDED"),
    ):
        client.predict([[200_000.0, 0, 0, 0]], timeout=0.1)


def test_a_cost_that_does_not_fit_its_actions_is_refused_before_sending(client):
    """A policy's costs are (labels, actions)."""
    with pytest.raises(ValueError, match=r"'p': cost must be \(labels, 3, one column .*got shape \(5, 2\)"):
        client.predict(np.zeros((1, 4)), "wine", policies=[Policy("p", np.ones((5, 2)), ["a", "b", "c"])])
    with pytest.raises(
        ValueError, match=r"cost must be \(labels, actions\), or as much for each row, got shape \(5,\)"
    ):
        client.predict(np.zeros((1, 4)), "wine", policies=[Policy("p", np.ones(5))])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy("p"), r"^policy 'p': exactly one of cost and profile must be given$"),
        (Policy("p", abstain_cost=1), r"exactly one of cost and profile"),
        (Policy("p", np.ones((5, 5)), profile="triage"), r"exactly one of cost and profile"),
        (
            Policy("p", profile="triage", actions=["a", "b"]),
            r"^policy 'p': a profile has actions of its own$",
        ),
        (Policy("p", np.ones((2, 5, 2)), ["a", "b", "c"]), r"\(labels, 3, one .* got shape \(2, 5, 2\)$"),
        (Policy("p", np.ones((1, 2, 5, 2))), r"or as much for each row, got shape \(1, 2, 5, 2\)$"),
        (Policy("p", 1.0), r"got shape \(\)$"),
    ],
)
def test_a_policy_that_is_none_is_refused_before_sending(client, policy, message):
    """A policy has costs that fit its actions or a profile, one of the two."""
    with pytest.raises(ValueError, match=message):
        client.predict(np.zeros((1, 4)), "wine", policies=[policy])


@pytest.mark.parametrize("name", ["policies", "outputs"])
def test_a_text_is_no_list(client, name):
    """A single name in place of a list of them is told as such, and not read letter by letter."""
    with pytest.raises(
        TypeError, match=rf"^{name} must be a list, such as \['decision'\], got 'decision'$"
    ):
        client.predict(np.zeros((1, 4)), "wine", **{name: "decision"})


def test_an_unknown_output_is_refused_before_sending(client):
    """The message lists what may be asked for."""
    with pytest.raises(
        ValueError, match=r"output 'probs' must be one of probabilities, expected_value, dec"
    ):
        client.predict(np.zeros((1, 4)), "wine", outputs=["decision", "probs"])


def test_models_are_those_that_model_describes(client):
    """Every served model is described, by name, as when it is asked for alone."""
    models = client.models()
    assert [one.name for one in models] == ["cars", "digits", "wine"]
    for one in models:
        alone = client.model(one.name, one.version)
        assert repr(one) == repr(alone)
        assert (one.digest, one.manifest, one.coverage) == (alone.digest, alone.manifest, alone.coverage)


def test_models_come_by_name_and_version(serving_of, wine):
    """Versions are ordered as numbers, so that 10 comes after 9, and have their aliases."""
    entries = [("b", "10", ()), ("a", "3", ("new",)), ("b", "9", ("champion", "old")), ("a", "0", ())]
    wanted = {f"{entry[0]}/{entry[1]}": Resolved(wine.path, *entry) for entry in entries}
    with serving_of() as server, Client(server.address, retry=False) as client:
        with pytest.raises(Unavailable, match="loading its models"):
            client.models()
        server.do(server.server.apply(Wanted(wanted)))
        found = [(one.name, one.version, one.aliases) for one in client.models()]
    assert found == [("a", "0", ()), ("a", "3", ("new",)), ("b", "9", ("champion", "old")), ("b", "10", ())]


def test_shapes_and_types_of_a_prediction(client):
    """Arrays have the documented shapes and dtypes; names are plain strings."""
    answer = client.predict(np.zeros((7, 4)), "wine", policies=["triage"])
    triage = answer.decisions["triage"]
    assert (answer.probabilities.shape, answer.probabilities.dtype) == ((7, 5), np.float32)
    assert (answer.expected_value.shape, answer.expected_value.dtype) == ((7,), np.float32)
    assert (triage.action.shape, triage.action.dtype) == ((7,), np.int32)
    assert triage.expected_cost.shape == triage.margin.shape == (7,)
    assert triage.chosen == [triage.actions[index] for index in triage.action]
    assert len(answer) == 7


def test_reprs_are_readable(client):
    """The repr of an answer fits a few lines and says what was decided."""
    answer = client.predict(np.zeros((7, 4)), "wine", policies=["triage"])
    assert repr(answer).startswith(f"Prediction(wine version 0, 7 rows: {answer.most_probable[0]} 0.")
    assert f"Decision('triage': {answer.decisions['triage'].chosen[0]} (cost " in repr(answer)
    assert repr(answer).endswith("… 2 more))")
    assert repr(client.model("wine")) == (
        "ModelInfo(wine version 0: awful < poor < fair < good < superb; numeric float32 [4]; "
        "profiles ['absolute', 'triage']; CPUExecutionProvider)"
    )
    assert repr(client) == f"Client({client.address!r})"


def test_reprs_are_short(client):
    """However much there is: a few numbers and names stand for all."""
    wide = Policy("wide", np.arange(5000.0).reshape(5, 1000), [f"action {n}" for n in range(1000)], None, 3)
    assert repr(wide) == (
        "Policy('wide': cost 5 × 1000, 0 … 4999, actions ["
        + ", ".join(f"'action {n}'" for n in range(12))
        + ", … 988 more], abstain 3)"
    )
    assert repr(Policy("p", profile="triage")) == "Policy('p': profile 'triage')"
    names = [f"p{number}" for number in range(9)]
    many = client.predict(
        np.zeros((2000, 4)), "wine", policies=[Policy(name, profile="triage") for name in names]
    )
    assert len(repr(many)) < 1500
    assert repr(many).endswith(", … 6 more decisions)")
    model = client.model("wine")
    assert repr(model.profiles["triage"]) == (
        "Profile('triage': cost 5 × 3, 0 … 9, actions ['page', 'queue', 'ignore'])"
    )
    assert repr(model.inputs[0]) == (
        "Input(numeric float32 [4], features ['acidity', 'sugar', 'alcohol', 'pH'])"
    )


def test_the_client_needs_neither_the_runtime_nor_the_registry():
    """Importing the client loads grpc and NumPy, and nothing of what serving takes."""
    code = (
        "import sys, serving.client, serving.aio; "
        "print(*{'onnxruntime', 'pydantic', 'mlflow', 'rich', 'typer', 'pandas', 'polars', 'pyarrow',"
        " 'uvloop', 'google.rpc'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_server_loads_nothing_of_training():
    """`from serving import server` stays free of what only training takes."""
    absent = "tensorflow keras prefect mlflow sklearn pandas pipeline rich"
    code = f"import sys; from serving import server; print(*set({absent!r}.split()) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
