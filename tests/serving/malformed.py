"""Requests that are wrong, each in one way, and what is said to them."""

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from serving.wire import ordinal_pb2 as wire

SERVICE = "/ordinal.v1.OrdinalService"
PREDICT, STREAM = f"{SERVICE}/Predict", f"{SERVICE}/PredictStream"
GET_MODEL, LIST_MODELS = f"{SERVICE}/GetModel", f"{SERVICE}/ListModels"
RECORD_OUTCOME = f"{SERVICE}/RecordOutcome"
FLOATS = np.zeros((2, 4), "<f4")
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
NOT_DONE = grpc.StatusCode.UNIMPLEMENTED


def request(model="wine", policies=(), version="", coverage=None, outputs=(), **tensor):
    """A good request of two rows for the model, with changes; returned as bytes."""
    good = {"dtype": wire.FLOAT32, "shape": [2, 4], "data": FLOATS.tobytes()}
    if model == "digits":
        good = {"dtype": wire.UINT8, "shape": [2, 8, 8, 1], "data": bytes(128)}
    return wire.PredictRequest(
        model=model,
        version=version,
        tensor=wire.Tensor(**{**good, **tensor}),
        policies=policies,
        coverage=coverage,
        outputs=outputs,
    ).SerializeToString()


def with_number(number, row=1, column=2):
    """A request whose data has that number in one place."""
    rows = FLOATS.copy()
    rows[row, column] = number
    return request(data=rows.tobytes())


def column(name, *floats, strings=()):
    """A column of a table."""
    return wire.Column(name=name, floats=floats, strings=strings)


def table(model="wine", more=(), **changed):
    """A request with a table of two rows; columns of the name changed or, where None, left out."""
    good = {name: column(name, 0, 0) for name in ("acidity", "sugar", "alcohol", "pH")}
    columns = [one for one in {**good, **changed}.values() if one is not None]
    return wire.PredictRequest(model=model, table=wire.Table(columns=[*columns, *more])).SerializeToString()


def costs(cost, actions=("a", "b"), name="", abstain_cost=None):
    """A request with one policy of the caller's own."""
    matrix = wire.CostMatrix(actions=actions, cost=cost)
    return request(policies=[wire.Policy(name=name, cost=matrix, abstain_cost=abstain_cost)])


def profile(*names, abstain_cost=None):
    """A request with policies that name profiles."""
    return request(policies=[wire.Policy(profile=name, abstain_cost=abstain_cost) for name in names])


TEN = [1.0] * 10


def ten_but(index, value):
    """Ten costs, one of them changed."""
    return [*TEN[:index], value, *TEN[index + 1 :]]


WIDE = wire.Policy(
    name="wide", cost=wire.CostMatrix(actions=[f"a{i}" for i in range(20000)], cost=[1.0] * 100_000)
)
BY_ROW = wire.Policy(name="by row", cost=wire.CostMatrix(actions=["a", "b"], cost=TEN * 2))
MANY = [wire.Policy(name=f"p{i}", profile="triage") for i in range(1000)]
NONE = dict.fromkeys(("acidity", "sugar", "alcohol", "pH"))

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
    "NaN": (INVALID, "tensor.data", "got nan at row 1, feature 'alcohol'", with_number(np.nan)),
    "infinity": (INVALID, "tensor.data", "got inf at row 0, feature 'acidity'", with_number(np.inf, 0, 0)),
    "minus infinity": (
        INVALID,
        "tensor.data",
        "got -inf at row 1, feature 'pH'",
        with_number(-np.inf, 1, 3),
    ),
    "NaN among values": (
        INVALID,
        "tensor.values[6]",
        "got nan at row 1, feature 'alcohol'",
        request(data=b"", values=[0.0] * 6 + [np.nan, np.inf]),
    ),
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
    "an answer of gigabytes": (
        INVALID,
        "policies",
        "send fewer at a time",
        request(policies=[WIDE, *MANY]),
    ),
    "unknown model": (
        MISSING,
        None,
        "'beer' is not served; served are ['cars', 'digits', 'wine']",
        request("beer"),
    ),
    "no model of three": (MISSING, None, "names no model", request("")),
    "unknown version": (
        MISSING,
        None,
        "'7' of 'wine' is not served; served are versions ['0']",
        request(version="7"),
    ),
    "a group in a group, 10,000 deep": (INVALID, "", "are no ordinal.v1.PredictRequest", b"\x0b" * 10_000),
    "a length beyond the end": (INVALID, "", "these 6 bytes are no", b"\x0a\xff\xff\xff\xff\x0f"),
    "rows of another wire type": (INVALID, "tensor", "must have rows", b"\x0a\x04wine\x20\x01"),
    "nothing at all": (MISSING, None, "names no model", b""),
    "shape of zeros": (INVALID, "tensor.shape", "got [0, 0]", request(shape=[0, 0], data=b"")),
    "rows of no features": (INVALID, "tensor.shape", "got [2, 0]", request(shape=[2, 0], data=b"")),
    "-2^63 rows": (INVALID, "tensor.shape[0]", "got -9223372036854775808", request(shape=[-(2**63), 4])),
    "2^63-1 images": (
        INVALID,
        "tensor.data",
        "needs 590295810358705651648 bytes, got 128",
        request("digits", shape=[2**63 - 1, 8, 8, 1]),
    ),
    "model of 100,000 characters": (MISSING, None, "mm' is not served; served are", request("m" * 100_000)),
    "model of spaces": (MISSING, None, "'  ' is not served", request("  ")),
    "version of 100,000 characters": (
        MISSING,
        None,
        "of 'wine' is not served",
        request(version="☃" * 100_000),
    ),
    "version of zero bytes": (MISSING, None, "version '\\x00' of 'wine'", request(version="\0")),
    "table without columns": (
        INVALID,
        "table.columns",
        "missing are ['acidity', 'sugar', 'alcohol', 'pH']",
        table(**NONE),
    ),
    "unknown column": (
        INVALID,
        "table.columns[1].name",
        "must be one of ['acidity', 'sugar', 'alcohol', 'pH'], got 'suger'; did you mean 'sugar'?",
        table(sugar=column("suger", 0, 0)),
    ),
    "column with a capital": (
        INVALID,
        "table.columns[1].name",
        "got 'Sugar'; did you mean 'sugar'?",
        table(sugar=column("Sugar", 0, 0)),
    ),
    "column like no other": (
        INVALID,
        "table.columns[4].name",
        "'pH'], got 'colour'",
        table(more=[column("colour", 0, 0)]),
    ),
    "column without a name": (INVALID, "table.columns[0].name", "got ''", table(acidity=column("", 0, 0))),
    "column twice": (
        INVALID,
        "table.columns[4].name",
        "names must differ, 'sugar' comes twice",
        table(more=[column("sugar", 0, 0)]),
    ),
    "columns left out": (
        INVALID,
        "table.columns",
        "missing are ['sugar', 'pH']",
        table(sugar=None, pH=None),
    ),
    "texts for a number": (
        INVALID,
        "table.columns[2].strings",
        "feature 'alcohol' is a number; send it as floats",
        table(alcohol=column("alcohol", strings=["1", "2"])),
    ),
    "numbers and texts": (
        INVALID,
        "table.columns[2].strings",
        "feature 'alcohol' is a number",
        table(alcohol=column("alcohol", 1, 2, strings=["1", "2"])),
    ),
    "column too long": (
        INVALID,
        "table.columns[3].floats",
        "as many entries as the first, 2, got 3 of 'pH'",
        table(pH=column("pH", 0, 0, 0)),
    ),
    "column without entries": (
        INVALID,
        "table.columns[1].floats",
        "as the first, 2, got 0 of 'sugar'",
        table(sugar=column("sugar")),
    ),
    "first column without entries": (
        INVALID,
        "table.columns[0].floats",
        "at least one row, got 0",
        table(acidity=column("acidity")),
    ),
    "table without rows": (
        INVALID,
        "table.columns[0].floats",
        "at least one row, got 0",
        table(**{name: column(name) for name in NONE}),
    ),
    "NaN in a column": (
        INVALID,
        "table.columns[2].floats[1]",
        "every entry must be finite; got nan at row 1, feature 'alcohol'",
        table(alcohol=column("alcohol", 0, np.nan)),
    ),
    "infinity in a column that is elsewhere": (
        INVALID,
        "table.columns[3].floats[0]",
        "got -inf at row 0, feature 'acidity'",
        table(acidity=None, more=[column("acidity", -np.inf, 0)]),
    ),
    "table for an image": (
        INVALID,
        "table",
        "this model takes images: send a tensor of [rows, 8, 8, 1]",
        table("digits"),
    ),
    "10,000 unknown columns": (
        INVALID,
        "table.columns[0].name",
        "got 'c0'",
        table(**NONE, more=[column(f"c{i}", 0, 0) for i in range(10_000)]),
    ),
    "10,000 columns more": (
        INVALID,
        "table.columns[4].name",
        "got 'c0'",
        table(more=[column(f"c{i}", 0, 0) for i in range(10_000)]),
    ),
    "column name of 100,000 characters": (
        INVALID,
        "table.columns[1].name",
        "got 'ssssssssssssssssssssssssssssss…sssssssssssssss'",
        table(sugar=column("s" * 100_000, 0, 0)),
    ),
    "column name of no utf-8": (
        INVALID,
        "",
        "are no ordinal.v1.PredictRequest",
        table().replace(b"sugar", b"sug\xff\xfe"),
    ),
    "a good tensor, then a wrong table": (
        INVALID,
        "table.columns",
        "missing are ['pH']",
        request() + table(pH=None),
    ),
    "a good table, then a wrong tensor": (
        INVALID,
        "tensor.shape",
        "must be [rows, 4], got [2, 5]",
        table() + request(shape=[2, 5]),
    ),
    **{
        f"coverage {shown}": (
            INVALID,
            "coverage",
            f"must lie between 0 and 1, got {shown}",
            request(coverage=float(shown)),
        )
        for shown in ("0", "-0", "1", "-0.5", "1.5", "nan", "inf", "-inf")
    },
    "output unspecified": (
        INVALID,
        "outputs[0]",
        "must be one of PROBABILITIES, EXPECTED_VALUE, DECISION, ACTION_COSTS, INTERVAL, UNCERTAINTY, "
        "got OUTPUT_UNSPECIFIED",
        request(outputs=[0]),
    ),
    "output unknown": (INVALID, "outputs[2]", "got number 99", request(outputs=[1, 2, 99])),
    "output negative": (INVALID, "outputs[0]", "got number -1", request(outputs=[-1])),
    **{
        f"abstention for {shown}": (
            INVALID,
            "policies[1].abstain_cost",
            f"must be a number from 0 to below 1e+30, got {shown}",
            request(
                policies=[
                    wire.Policy(profile="absolute"),
                    wire.Policy(profile="triage", abstain_cost=float(shown)),
                ]
            ),
        )
        for shown in ("-1", "nan", "inf", "-inf", "1e+30")
    },
    "more outputs than there are": (
        INVALID,
        "outputs",
        "there are 6 to ask for, once each, got 7",
        request(outputs=[1, 2, 3, 4, 5, 6, 1]),
    ),
    "100,000 outputs": (INVALID, "outputs", "once each, got 100000", request(outputs=[3] * 100_000)),
    "abstention that is an action already": (
        INVALID,
        "policies[0].abstain_cost",
        "would add the action 'abstain', which policy 'cost' has already",
        costs(TEN, ("abstain", "b"), abstain_cost=1),
    ),
    "abstention from nothing": (
        INVALID,
        "policies[0]",
        "must have a profile or a cost",
        request(policies=[wire.Policy(abstain_cost=1)]),
    ),
    "abstention counted among the costs": (
        INVALID,
        "policies[0].cost.cost",
        "5 × 2 = 10 entries, or as many for each of 2 rows, got 15",
        costs([1.0] * 15, abstain_cost=1),
    ),
    "unknown profile to abstain from": (
        INVALID,
        "policies[0].profile",
        "did you mean 'triage'?",
        profile("Triage", abstain_cost=1),
    ),
    "one name for two policies": (
        INVALID,
        "policies[1].name",
        "names must differ, 'wide' comes twice",
        request(policies=[WIDE, wire.Policy(name="wide", profile="triage")]),
    ),
    "10,000 policies of one name": (
        INVALID,
        "policies[1].name",
        "'absolute' comes twice",
        profile(*["absolute"] * 10_000),
    ),
    "costs of three rows for two": (
        INVALID,
        "policies[0].cost.cost",
        "5 × 2 = 10 entries, or as many for each of 2 rows, got 30",
        costs(TEN * 3),
    ),
    "a negative cost in one row": (
        INVALID,
        "policies[0].cost.cost[17]",
        "got -1 at row 1, true label 3, action 'b'",
        costs(TEN + ten_but(7, -1.0)),
    ),
    "NaN among the costs of one row": (
        INVALID,
        "policies[0].cost.cost[2]",
        "got nan at row 0, true label 1, action 'a'",
        costs(ten_but(2, np.nan) + TEN),
    ),
    "an infinite cost in one row": (
        INVALID,
        "policies[0].cost.cost[19]",
        "got inf at row 1, true label 4, action 'b'",
        costs(TEN + ten_but(9, np.inf)),
    ),
    "costs of gigabytes": (
        INVALID,
        "policies",
        "rows × policies × labels × actions must be at most 4194304, got 2 × 30 × 5 × 20000",
        request(policies=[WIDE, BY_ROW, *MANY[:28]]),
    ),
}

# name: (method, status, part of the message, bytes sent to it)
OTHERS = {
    "GetModel garbage": (
        GET_MODEL,
        INVALID,
        "these 2 bytes are no ordinal.v1.GetModelRequest",
        b"\xff\xff",
    ),
    "GetModel no utf-8": (GET_MODEL, INVALID, "are no ordinal.v1.GetModelRequest", b"\x0a\x02\xff\xfe"),
    "GetModel unknown model": (GET_MODEL, MISSING, "'beer' is not served", b"\x0a\x04beer"),
    "GetModel no model of three": (GET_MODEL, MISSING, "names no model", b""),
    "GetModel unknown version": (GET_MODEL, MISSING, "version '7' of", b"\x0a\x04wine\x12\x017"),
    "ListModels garbage": (LIST_MODELS, INVALID, "are no ordinal.v1.ListModelsRequest", b"\xff\xff"),
    "ListModels truncated": (LIST_MODELS, INVALID, "these 2 bytes are no", b"\x0a\x02"),
    "RecordOutcome garbage": (RECORD_OUTCOME, INVALID, "are no ordinal.v1.RecordOutcomeReq", b"\xff\xff"),
    "RecordOutcome nothing": (RECORD_OUTCOME, NOT_DONE, "of 0 rows were not recorded", b""),
    "RecordOutcome": (RECORD_OUTCOME, NOT_DONE, "of 2 rows were not recorded", b"\x12\x00\x12\x00"),
}


def call(channel, sent, method=PREDICT):
    """Send bytes as they are, and return the error that comes back."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(sent, timeout=20)
    return caught.value


def violation(error):
    """The violated field and its description, from the status details."""
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(packed)
    assert status.code == INVALID.value[0]
    refused = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(refused)
    (found,) = refused.field_violations
    return found.field, found.description
