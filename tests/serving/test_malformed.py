"""Every malformed request gets its status, names its field, and harms nobody."""

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from serving.wire import ordinal_pb2 as wire

PREDICT = "/ordinal.v1.OrdinalService/Predict"
GET_MODEL = "/ordinal.v1.OrdinalService/GetModel"
FLOATS = np.zeros((2, 4), "<f4")
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def request(model="wine", policies=(), version="", **tensor):
    """A good request of two rows for the model, with changes; returned as bytes."""
    good = {"dtype": wire.FLOAT32, "shape": [2, 4], "data": FLOATS.tobytes()}
    if model == "digits":
        good = {"dtype": wire.UINT8, "shape": [2, 8, 8, 1], "data": bytes(128)}
    return wire.PredictRequest(
        model=model, version=version, tensor=wire.Tensor(**{**good, **tensor}), policies=policies
    ).SerializeToString()


def with_number(number, row=1, column=2):
    """A request whose data has that number in one place."""
    rows = FLOATS.copy()
    rows[row, column] = number
    return request(data=rows.tobytes())


def costs(cost, actions=("a", "b"), name=""):
    """A request with one policy of the caller's own."""
    matrix = wire.CostMatrix(actions=actions, cost=cost)
    return request(policies=[wire.Policy(name=name, cost=matrix)])


def profile(*names):
    """A request with policies that name profiles."""
    return request(policies=[wire.Policy(profile=name) for name in names])


TEN = [1.0] * 10


def ten_but(index, value):
    """Ten costs, one of them changed."""
    return [*TEN[:index], value, *TEN[index + 1 :]]


WIDE = wire.CostMatrix(actions=[f"a{i}" for i in range(20000)], cost=[1.0] * 100_000)
TALL = [
    wire.Policy(name="wide", cost=WIDE),
    *(wire.Policy(name=f"p{i}", profile="triage") for i in range(1000)),
]

# name: (status, field, part of the message, bytes sent to Predict)
CASES = {
    "garbage": (INVALID, "", "these 4 bytes are no ordinal.v1.PredictRequest", b"\xff\xff\xff\xff"),
    "truncated": (INVALID, "", "are no ordinal.v1.PredictRequest", request()[:-3]),
    "invalid utf-8": (INVALID, "", "are no ordinal.v1.PredictRequest", b"\x0a\x02\xff\xfe"),
    "no rows": (INVALID, "tensor", "must have rows", wire.PredictRequest(model="wine").SerializeToString()),
    "dtype unspecified": (
        INVALID,
        "tensor.dtype",
        "must be FLOAT32, got DATA_TYPE_UNSPECIFIED",
        request(dtype=0),
    ),
    "dtype unknown": (INVALID, "tensor.dtype", "must be FLOAT32, got number 77", request(dtype=77)),
    "dtype of an image for a table": (
        INVALID,
        "tensor.dtype",
        "must be FLOAT32, got UINT8",
        request(dtype=2),
    ),
    "dtype of a table for an image": (
        INVALID,
        "tensor.dtype",
        "UINT8, got FLOAT32",
        request("digits", dtype=1),
    ),
    "no shape": (INVALID, "tensor.shape", r"must be [rows, 4], got []", request(shape=[])),
    "rank too low": (INVALID, "tensor.shape", r"must be [rows, 4], got [8]", request(shape=[8])),
    "rank too high": (INVALID, "tensor.shape", r"got [2, 4, 1]", request(shape=[2, 4, 1])),
    "rank of 100,000": (INVALID, "tensor.shape", "99988 more]", request(shape=[1] * 100_000)),
    "too many features": (INVALID, "tensor.shape", r"got [2, 5]", request(shape=[2, 5])),
    "image turned flat": (
        INVALID,
        "tensor.shape",
        "[rows, 8, 8, 1], got [2, 64]",
        request("digits", shape=[2, 64]),
    ),
    "no row": (INVALID, "tensor.shape[0]", "at least one row, got 0", request(shape=[0, 4], data=b"")),
    "negative rows": (INVALID, "tensor.shape[0]", "at least one row, got -2", request(shape=[-2, 4])),
    "2^40 rows": (INVALID, "tensor.data", "needs 17592186044416 bytes, got 32", request(shape=[2**40, 4])),
    "2^63-1 rows": (INVALID, "tensor.data", "bytes, got 32", request(shape=[2**63 - 1, 4])),
    "2^40 rows as values": (
        INVALID,
        "tensor.values",
        "needs 4398046511104 elements, got 1",
        request(shape=[2**40, 4], data=b"", values=[1]),
    ),
    "two wrongs that multiply right": (INVALID, "tensor.shape", "got [-2, -4]", request(shape=[-2, -4])),
    "a byte short": (INVALID, "tensor.data", "needs 32 bytes, got 31", request(data=bytes(31))),
    "a row too many": (INVALID, "tensor.data", "needs 32 bytes, got 48", request(data=bytes(48))),
    "no elements": (INVALID, "tensor.data", "exactly one of data and values", request(data=b"")),
    "elements twice": (
        INVALID,
        "tensor.values",
        "exactly one of data and values",
        request(values=[0.0] * 8),
    ),
    "values short": (
        INVALID,
        "tensor.values",
        "needs 8 elements, got 7",
        request(data=b"", values=[0.0] * 7),
    ),
    "values for bytes": (
        INVALID,
        "tensor.values",
        "only FLOAT32 has values",
        request("digits", data=b"", values=[0.0] * 128),
    ),
    "NaN": (INVALID, "tensor", "got nan at row 1, feature 'alcohol'", with_number(np.nan)),
    "infinity": (INVALID, "tensor", "got inf at row 0, feature 'acidity'", with_number(np.inf, 0, 0)),
    "minus infinity": (INVALID, "tensor", "got -inf at row 1, feature 'pH'", with_number(-np.inf, 1, 3)),
    "unknown profile": (
        INVALID,
        "policies[1].profile",
        "must be one of ['triage', 'absolute'], got 'triag'; did you mean 'triage'?",
        profile("absolute", "triag"),
    ),
    "empty profile": (INVALID, "policies[0].profile", "must be one of", profile("")),
    "very long profile": (INVALID, "policies[0].profile", "must be one of", profile("☃" * 100_000)),
    "same profile twice": (
        INVALID,
        "policies[1].name",
        "'triage' comes twice",
        profile("triage", "triage"),
    ),
    "policy without rule": (
        INVALID,
        "policies[0]",
        "must have a profile or a cost",
        request(policies=[wire.Policy(name="x")]),
    ),
    "empty cost matrix": (
        INVALID,
        "policies[0].cost.cost",
        "5 × 5 = 25 entries (no actions are named",
        costs([], ()),
    ),
    "cost too short": (
        INVALID,
        "policies[0].cost.cost",
        "5 × 2 = 10 entries, or as many for each of 2 rows, got 9",
        costs(TEN[:9]),
    ),
    "cost too long": (
        INVALID,
        "policies[0].cost.cost",
        "5 × 2 = 10 entries, or as many for each of 2 rows, got 11",
        costs([*TEN, 1.0]),
    ),
    "one action": (
        INVALID,
        "policies[0].cost.actions",
        "at least two actions, got 1",
        costs([1.0] * 5, ["a"]),
    ),
    "action named twice": (
        INVALID,
        "policies[0].cost.actions[1]",
        "'a' comes twice",
        costs(TEN, ["a", "a"]),
    ),
    "action without a name": (
        INVALID,
        "policies[0].cost.actions[1]",
        "must have a name",
        costs(TEN, ["a", ""]),
    ),
    "negative cost": (
        INVALID,
        "policies[0].cost.cost[7]",
        "from 0 to below 1e+30, got -1 at true label 3, action 'b'",
        costs(ten_but(7, -1.0)),
    ),
    "NaN cost": (INVALID, "policies[0].cost.cost[0]", "got nan", costs(ten_but(0, np.nan))),
    "infinite cost": (INVALID, "policies[0].cost.cost[9]", "got inf", costs(ten_but(9, np.inf))),
    "cost as large as the padding": (
        INVALID,
        "policies[0].cost.cost[3]",
        "got 1e+30",
        costs(ten_but(3, 1e30)),
    ),
    "an answer of gigabytes": (INVALID, "policies", "send fewer at a time", request(policies=TALL)),
    "unknown model": (
        MISSING,
        None,
        "'beer' is not served; served are ['digits', 'wine']",
        request("beer"),
    ),
    "no model of two": (MISSING, None, "names no model", request("")),
    "unknown version": (
        MISSING,
        None,
        "'7' of 'wine' is not served; served are versions ['0']",
        request(version="7"),
    ),
}


def call(channel, sent, method=PREDICT):
    """Send bytes as they are, and return the error that comes back."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(sent, timeout=20)
    return caught.value


@pytest.fixture(scope="module")
def channel(running):
    """A bare channel to the shared server."""
    with grpc.insecure_channel(running.address) as channel:
        yield channel


def violation(error):
    """The violated field and its description, from the status details."""
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(packed)
    assert status.code == INVALID.value[0]
    refused = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(refused)
    (found,) = refused.field_violations
    return found.field, found.description


@pytest.mark.parametrize("name", CASES)
def test_malformed_request_is_refused(channel, name):
    """Status, field and message tell what is wrong, and the next good request is answered."""
    status, field, message, sent = CASES[name]
    error = call(channel, sent)
    assert error.code() == status
    assert message in error.details()
    if field is not None:
        assert violation(error)[0] == field
        assert message in violation(error)[1]
    assert wire.PredictResponse.FromString(channel.unary_unary(PREDICT)(request(), timeout=20)).rows == 2


def test_garbage_for_get_model_is_refused(channel):
    """GetModel answers bytes that are no message like Predict does."""
    error = call(channel, b"\xff\xff", GET_MODEL)
    assert error.code() == INVALID
    assert "no ordinal.v1.GetModelRequest" in error.details()


def test_unknown_method_is_unimplemented(channel):
    """A method that does not exist is gRPC's own UNIMPLEMENTED."""
    assert call(channel, b"", "/ordinal.v1.OrdinalService/Guess").code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_above_the_limit_is_refused(serving_of, wine):
    """What is larger than `max_message_bytes` is refused by gRPC, and the service goes on."""
    with (
        serving_of(wine.path, max_message_bytes=10_000) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        error = call(channel, request(data=bytes(20_000)))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert channel.unary_unary(PREDICT)(request(), timeout=20)


def test_a_fault_of_ours_is_internal_and_only_its_number_is_told(serving_of, wine, monkeypatch, caplog):
    """An unforeseen exception is in the log under a number; the caller gets that number and no more."""

    def broken(*_):
        raise ZeroDivisionError("secret detail")

    with serving_of(wine.path) as server, grpc.insecure_channel(server.address) as channel:
        monkeypatch.setattr("serving.service.rows_of", broken)
        sent = wire.PredictRequest(request_id="order-7").SerializeToString()
        error = call(channel, sent)
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    number = error.details().split()[2].rstrip(";")
    (record,) = [entry for entry in caplog.records if number in entry.getMessage()]
    assert "order-7" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_model_of_two_inputs_refuses_a_tensor(wine, digits):
    """One tensor cannot feed several inputs."""
    from serving.errors import InvalidRequest
    from serving.rows import rows_of

    parsed = wire.PredictRequest.FromString(request())
    with pytest.raises(InvalidRequest, match=r"several inputs, \['numeric', 'image'\], cannot be fed"):
        rows_of(parsed, [*wine.manifest.inputs, *digits.manifest.inputs])


def test_infinity_in_a_float_image_names_its_place(digits):
    """In an image of floats a wrong number is found by row and position."""
    from serving.errors import InvalidRequest
    from serving.rows import rows_of

    spec = digits.manifest.inputs[0].model_copy(update={"dtype": "float32"})
    rows = np.zeros((2, 8, 8, 1), np.float32)
    rows[1, 2, 3, 0] = np.inf
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=rows.shape, data=rows.tobytes())
    with pytest.raises(InvalidRequest, match=r"got inf at row 1, position \[2, 3, 0\]"):
        rows_of(wire.PredictRequest(tensor=tensor), [spec])
