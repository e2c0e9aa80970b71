"""Every malformed request of the Open Inference Protocol gets its status, names its field, harms nobody."""

import struct

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as triton

from serving.inference.protocol import NAME
from serving.wire import inference_pb2 as wire

from .conftest import K
from .malformed import violation

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
NAN, INF = float("nan"), float("inf")
ROWS = np.zeros((2, 4), np.float32)
CAR = [["red", "petrol", "klein"], ["green", "", "☃"]]
PROFILE, COVERAGE = "parameters['cost_profile']", "parameters['coverage']"
RAW, TYPED = "raw_input_contents[{}]", "inputs[{}].contents.{}"


def infer(*tensors, model="wine", parameters=None, outputs=(), version="", raw=True):
    """A request of tensors: name, datatype, shape, and bytes or the typed field with its elements."""
    request = wire.ModelInferRequest(model_name=model, model_version=version, id="case")
    for name, datatype, shape, contents in tensors:
        made = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if raw:
            request.raw_input_contents.append(contents)
        elif contents is not None:
            field, elements = contents
            getattr(made.contents, field).extend(elements)
    for name, value in (parameters or {}).items():
        request.parameters[name].MergeFrom(wire.InferParameter(**value))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def fp32(name, array, shape=None):
    """A tensor of numbers, raw."""
    array = np.asarray(array, np.float32)
    return (name, "FP32", array.shape if shape is None else shape, array.tobytes())


def texts(*rows, shape=None):
    """A tensor of texts, raw."""
    encoded = [text if isinstance(text, bytes) else text.encode() for row in rows for text in row]
    raw = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    return ("categorical", "BYTES", (len(rows), 3) if shape is None else shape, raw)


NUMBERS = fp32("numeric", ROWS)
GOOD = infer(NUMBERS)
AGES = fp32("numeric", np.zeros((2, 2)))


def with_number(number):
    """Rows one of whose numbers is this one."""
    array = ROWS.copy()
    array[1, 2] = number
    return array


def costs(*entries, shape=(1, 1, K, 3)):
    """Costs, all of them 1 but these: (place, cost)."""
    array = np.ones(shape, np.float32)
    for place, cost in entries:
        array[place] = cost
    return fp32("cost", array)


def typed(field, elements, shape=(2, 4), datatype="FP32", model="wine", name="numeric"):
    """A request with one typed tensor."""
    return infer((name, datatype, shape, (field, elements)), raw=False, model=model)


def altered(alter, *tensors, **more):
    """A request that is good but for what `alter` does to it."""
    request = infer(*(tensors or (NUMBERS,)), **more)
    alter(request)
    return request


def on_input(name):
    """Give the input a parameter."""
    return altered(lambda request: request.inputs[0].parameters[name].MergeFrom(TRUE))


def on_output(name):
    """Give a requested output a parameter."""
    return altered(
        lambda request: request.outputs[0].parameters[name].MergeFrom(TRUE), NUMBERS, outputs=["decision"]
    )


TRUE = wire.InferParameter(bool_param=True)
WIDE = np.zeros((2, 5), np.float32)

# name: (field, part of the message, request)
CASES = {
    # what is asked of
    "bytes that are no message": ("", "these 3 bytes are no inference.ModelInferRequest", b"\x0a\xff\xff"),
    # inputs
    "no input": ("inputs", "must hold every input of the model; missing are ['numeric']", infer()),
    "one of two inputs": ("inputs", "missing are ['categorical']", infer(AGES, model="cars")),
    "only options": ("inputs", "missing are ['numeric']", infer(costs())),
    "unknown input": (
        "inputs[0].name",
        "must be one of ['numeric', 'cost', 'coverage'], got 'numerics'; did you mean 'numeric'?",
        infer(fp32("numerics", ROWS)),
    ),
    "input without a name": ("inputs[0].name", "got ''", infer(fp32("", ROWS))),
    "input twice": ("inputs[1].name", "names must differ, 'numeric' comes twice", infer(NUMBERS, NUMBERS)),
    "FP64": (
        "inputs[0].datatype",
        "must be FP32 of 'numeric', got 'FP64'; nothing is converted here: send array.astype(np.float32)",
        infer(("numeric", "FP64", (2, 4), ROWS.astype(np.float64).tobytes())),
    ),
    "lower case": ("inputs[0].datatype", "got 'fp32'", infer(("numeric", "fp32", (2, 4), ROWS.tobytes()))),
    "no datatype": ("inputs[0].datatype", "got ''", infer(("numeric", "", (2, 4), ROWS.tobytes()))),
    "numbers as texts": ("inputs[0].datatype", "got 'BYTES'", infer(("numeric", "BYTES", (2, 4), b""))),
    "an image of FP32": (
        "inputs[0].datatype",
        "must be UINT8 of 'image', got 'FP32'",
        infer(fp32("image", np.zeros((1, 8, 8, 1))), model="digits"),
    ),
    "categories as numbers": (
        "inputs[1].datatype",
        "must be BYTES of 'categorical', got 'FP32'",
        infer(AGES, fp32("categorical", np.zeros((2, 3))), model="cars"),
    ),
    "too many features": (
        "inputs[0].shape",
        "must be [rows, 4] of 'numeric', got [2, 5]",
        infer(fp32("numeric", WIDE)),
    ),
    "one dimension": ("inputs[0].shape", "must be [rows, 4]", infer(fp32("numeric", np.zeros(4)))),
    "three dimensions": ("inputs[0].shape", "got [1, 2, 4]", infer(fp32("numeric", ROWS[np.newaxis]))),
    "no shape": ("inputs[0].shape", "got []", infer(fp32("numeric", ROWS, ()))),
    "another image": (
        "inputs[0].shape",
        "must be [rows, 8, 8, 1] of 'image', got [1, 8, 8]",
        infer(("image", "UINT8", (1, 8, 8), bytes(64)), model="digits"),
    ),
    "no rows": ("inputs[0].shape[0]", "must be at least 1 (rows), got 0", infer(fp32("numeric", ROWS[:0]))),
    "negative rows": ("inputs[0].shape[0]", "got -2", infer(fp32("numeric", ROWS, (-2, 4)))),
    "too few bytes": (
        RAW.format(0),
        "shape [3, 4] of FP32 needs 48 bytes, got 32",
        infer(fp32("numeric", ROWS, (3, 4))),
    ),
    "absurd rows": (RAW.format(0), "got 32", infer(fp32("numeric", ROWS, (2**62, 4)))),
    "absurd rows of texts": (
        RAW.format(1),
        "need at least",
        infer(AGES, texts(*CAR, shape=(2**62, 3)), model="cars"),
    ),
    "a contents for no input": (
        "raw_input_contents",
        "must be empty, or have the bytes of each of 1 inputs, got 2",
        altered(lambda request: request.raw_input_contents.append(b"")),
    ),
    "raw and typed contents": (
        "inputs[0].contents",
        "must be empty where raw_input_contents has the elements",
        altered(lambda request: request.inputs[0].contents.fp32_contents.append(1)),
    ),
    "rows that differ": (
        "inputs[1].shape[0]",
        "every input must have as many rows as the first, 2, got 1 of 'categorical'",
        infer(AGES, texts(*CAR[:1]), model="cars"),
    ),
    # what rows say
    "NaN": (
        RAW.format(0),
        "finite; got nan at row 1, feature 'alcohol'",
        infer(fp32("numeric", with_number(NAN))),
    ),
    "infinity": (RAW.format(0), "got -inf at row 1", infer(fp32("numeric", with_number(-INF)))),
    "typed NaN": (
        "inputs[0].contents.fp32_contents[6]",
        "got nan at row 1, feature 'alcohol'",
        typed("fp32_contents", with_number(NAN).ravel()),
    ),
    "NaN where others may be missing": (
        RAW.format(0),
        "got nan at row 1, feature 'age'",
        infer(fp32("numeric", [[0, 0], [NAN, NAN]]), texts(*CAR), model="cars"),
    ),
    "unknown category": (
        RAW.format(1),
        "one of ['red', 'green', ' blue ']; got 'rad' at row 0, feature 'colour'; did you mean 'red'?",
        infer(AGES, texts(["rad", "petrol", "klein"], CAR[1]), model="cars"),
    ),
    "missing category": (
        RAW.format(1),
        "got '?', which stands for a missing value",
        infer(AGES, texts(["?", "petrol", "klein"], CAR[1]), model="cars"),
    ),
    "typed unknown category": (
        "inputs[1].contents.bytes_contents[3]",
        "got 'grün' at row 1, feature 'colour'",
        infer(
            ("numeric", "FP32", (2, 2), ("fp32_contents", [0, 0, 0, 0])),
            (
                "categorical",
                "BYTES",
                (2, 3),
                ("bytes_contents", [t.encode() for t in ("red", "petrol", "klein", "grün", "", "")]),
            ),
            model="cars",
            raw=False,
        ),
    ),
    # texts
    "no UTF-8": (
        RAW.format(1),
        "element 0 must be a text in UTF-8, got '�'",
        infer(AGES, texts([b"\xff", "petrol", "klein"], CAR[1]), model="cars"),
    ),
    "a length beyond the end": (
        RAW.format(1),
        "bytes end before element 5 of 6 does",
        infer(AGES, ("categorical", "BYTES", (2, 3), texts(*CAR)[3][:-1]), model="cars"),
    ),
    "a length cut short": (
        RAW.format(1),
        "bytes end before element 1 of 6 does",
        infer(
            AGES,
            ("categorical", "BYTES", (2, 3), struct.pack("<I", 19) + b"x" * 19 + b"\x00"),
            model="cars",
        ),
    ),
    "an absurd length": (
        RAW.format(1),
        "bytes end before element 0 of 6 does",
        infer(AGES, ("categorical", "BYTES", (2, 3), b"\xff" * 30), model="cars"),
    ),
    "bytes after the last text": (
        RAW.format(1),
        "6 elements end at byte",
        infer(AGES, ("categorical", "BYTES", (2, 3), texts(*CAR)[3] + b"\x00"), model="cars"),
    ),
    # typed contents
    "no contents": (
        TYPED.format(0, "fp32_contents"),
        "shape [2, 4] needs 8 elements of FP32, got 0",
        infer(("numeric", "FP32", (2, 4), None), raw=False),
    ),
    "too few elements": (
        TYPED.format(0, "fp32_contents"),
        "needs 8 elements of FP32, got 7",
        typed("fp32_contents", [0] * 7),
    ),
    "elements of another type": (
        TYPED.format(0, "fp64_contents"),
        "elements of FP32 go into fp32_contents",
        typed("fp64_contents", [0] * 8),
    ),
    "a byte above 255": (
        "inputs[0].contents.uint_contents[1]",
        "an element of UINT8 is from 0 to 255, got 256",
        typed("uint_contents", [1, 256, *[0] * 62], (1, 8, 8, 1), "UINT8", "digits", "image"),
    ),
    # outputs
    "unknown output": (
        "outputs[1].name",
        "got 'decisions'; did you mean 'decision'?",
        infer(NUMBERS, outputs=["margin", "decisions"]),
    ),
    "output of cyclic labels": (
        "outputs[0].name",
        "got 'resultant'",
        infer(NUMBERS, outputs=["resultant"]),
    ),
    "output twice": (
        "outputs[1].name",
        "names must differ, 'margin' comes twice",
        infer(NUMBERS, outputs=["margin", "margin"]),
    ),
    "classification": (
        "outputs[0].parameters['classification']",
        "outputs come as tensors, not as classes",
        on_output("classification"),
    ),
    "an output in shared memory": (
        "outputs[0].parameters['shared_memory_region']",
        "shared memory is not served",
        on_output("shared_memory_region"),
    ),
    # parameters
    "unknown parameter": (
        "parameters['cost_profil']",
        "must be one of ['cost_profile', 'coverage']; did you mean 'cost_profile'?",
        infer(NUMBERS, parameters={"cost_profil": {"string_param": "triage"}}),
    ),
    "an input in shared memory": (
        "inputs[0].parameters['shared_memory_region']",
        "shared memory is not served: send contents",
        on_input("shared_memory_region"),
    ),
    "unknown parameter of an input": (
        "inputs[0].parameters['scale']",
        "is no parameter of a tensor; none are read",
        on_input("scale"),
    ),
    "parameter at the wrong place": (
        "inputs[0].parameters['coverage']",
        "belongs to the parameters of the request",
        on_input("coverage"),
    ),
    "unknown profile": (
        PROFILE,
        "of ['absolute', 'triage'], or several, parted by commas; got 'triag'; did you mean 'triage'?",
        infer(NUMBERS, parameters={"cost_profile": {"string_param": "absolute,triag"}}),
    ),
    "empty profile": (PROFILE, "got ''", infer(NUMBERS, parameters={"cost_profile": {"string_param": ""}})),
    "profile twice": (
        PROFILE,
        "names must differ, 'triage' comes twice",
        infer(NUMBERS, parameters={"cost_profile": {"string_param": "triage, triage"}}),
    ),
    "profile as a number": (
        PROFILE,
        "must be a string_param, got int64_param 1",
        infer(NUMBERS, parameters={"cost_profile": {"int64_param": 1}}),
    ),
    "parameter without a value": (
        PROFILE,
        "must be a string_param, got none",
        infer(NUMBERS, parameters={"cost_profile": {}}),
    ),
    "profile and costs": (
        PROFILE,
        "must be left out where input 1 says the same",
        infer(NUMBERS, costs(), parameters={"cost_profile": {"string_param": "triage"}}),
    ),
    **{
        f"coverage {value}": (
            COVERAGE,
            "must be a number between 0 and 1, got ",
            infer(NUMBERS, parameters={"coverage": value}),
        )
        for value in (
            {"double_param": 1.0},
            {"double_param": 0.0},
            {"double_param": -0.5},
            {"double_param": NAN},
            {"string_param": "much"},
            {"string_param": "nan"},
            {"string_param": "90"},
            {"int64_param": 1},
            {"bool_param": True},
            {},
        )
    },
    "two coverages": (
        COVERAGE,
        "must be left out where input 0 says the same",
        infer(fp32("coverage", [0.5]), NUMBERS, parameters={"coverage": {"double_param": 0.5}}),
    ),
    # costs
    "costs of three dimensions": (
        "inputs[1].shape",
        "must be [1 or rows, policies, 5, actions] of 'cost', got [1, 5, 3]",
        infer(NUMBERS, fp32("cost", np.ones((1, K, 3)))),
    ),
    "costs of other labels": (
        "inputs[1].shape",
        "got [1, 1, 4, 3]",
        infer(NUMBERS, fp32("cost", np.ones((1, 1, 4, 3)))),
    ),
    "costs of other rows": (
        "inputs[1].shape[0]",
        "must be 1 or as many as there are rows, 2, got 3",
        infer(NUMBERS, costs(shape=(3, 1, K, 3))),
    ),
    "no policy": (
        "inputs[1].shape[1]",
        "must be at least 1 (policies), got 0",
        infer(NUMBERS, costs(shape=(1, 0, K, 3))),
    ),
    "one action": (
        "inputs[1].shape[3]",
        "there must be at least two actions, got 1",
        infer(NUMBERS, costs(shape=(1, 1, K, 1))),
    ),
    "negative cost": (
        RAW.format(1),
        "got -1 at row 0, policy 0, true label 2, action 1",
        infer(NUMBERS, costs(((0, 0, 2, 1), -1))),
    ),
    "cost of NaN": (
        RAW.format(1),
        "got nan at row 1",
        infer(NUMBERS, costs(((1, 0, 0, 0), NAN), shape=(2, 1, K, 3))),
    ),
    "cost of infinity": (RAW.format(1), "got inf at row 0", infer(NUMBERS, costs(((0, 0, 0, 0), INF)))),
    "cost beyond all": (RAW.format(1), "got 2e+30", infer(NUMBERS, costs(((0, 0, 0, 0), 2e30)))),
    "typed negative cost": (
        "inputs[1].contents.fp32_contents[7]",
        "got -2 at row 0, policy 0, true label 2, action 1",
        infer(
            ("numeric", "FP32", (2, 4), ("fp32_contents", [0] * 8)),
            ("cost", "FP32", (1, 1, K, 3), ("fp32_contents", [*[0] * 7, -2, *[0] * 7])),
            raw=False,
        ),
    ),
    "an action that is lacked for one label": (
        RAW.format(1),
        "1e+30 stands for an action that a policy lacks, and so for all true labels or none",
        infer(NUMBERS, costs(((0, 0, 2, 1), 1e30))),
    ),
    "all but one action lacked": (
        RAW.format(1),
        "every policy must have at least two actions, got 1 of policy 1 at row 0",
        infer(NUMBERS, costs(((0, 1, slice(None), slice(1, None)), 1e30), shape=(1, 2, K, 3))),
    ),
    "too many expected costs": (
        "inputs[1].shape",
        "rows × policies × actions must be at most 4194304, got 900 × 1000 × 5",
        infer(fp32("numeric", np.zeros((900, 4))), costs(shape=(1, 1000, K, 5))),
    ),
    # coverages
    "coverage of two dimensions": (
        "inputs[1].shape",
        "must be [1 or rows] of 'coverage', got [1, 1]",
        infer(NUMBERS, fp32("coverage", [[0.5]])),
    ),
    "coverages of other rows": (
        "inputs[1].shape[0]",
        "must be 1 or as many as there are rows, 2, got 3",
        infer(NUMBERS, fp32("coverage", [0.5] * 3)),
    ),
    "a coverage of 1": (
        RAW.format(1),
        "every coverage must be a number between 0 and 1, got 1 at row 1",
        infer(NUMBERS, fp32("coverage", [0.5, 1])),
    ),
    "a coverage of NaN": (RAW.format(1), "got nan at row 0", infer(NUMBERS, fp32("coverage", [NAN]))),
}
UNKNOWN = {
    "no model": ("the request names no model", infer(NUMBERS, model="")),
    "unknown model": (
        "model 'beer' is not served; served are ['cars', 'digits', 'wine']",
        infer(NUMBERS, model="beer"),
    ),
    "unknown version": ("version '7' of 'wine' is not served", infer(NUMBERS, version="7")),
    "unknown alias": ("version 'champion' of 'wine' is not served", infer(NUMBERS, version="champion")),
}


@pytest.fixture(scope="module")
def channel(running):
    """A bare channel to the shared server."""
    with grpc.insecure_channel(running.address) as channel:
        yield channel


def send(channel, method, request):
    """The bytes of a reply."""
    content = request if isinstance(request, bytes) else request.SerializeToString()
    return channel.unary_unary(f"/{NAME}/{method}")(content, timeout=20)


def refused(channel, request, method="ModelInfer"):
    """The error of a request that must not be answered."""
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, method, request)
    return caught.value


def assert_answers(channel):
    """A good request is answered."""
    reply = triton.ModelInferResponse.FromString(send(channel, "ModelInfer", GOOD))
    assert reply.outputs[0].shape == [2, K]


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_request_is_refused(channel, name):
    """INVALID_ARGUMENT with the field that is wrong and what must hold; the next request is answered."""
    field, message, request = CASES[name]
    error = refused(channel, request)
    assert error.code() == INVALID, error.details()
    assert message in error.details()
    assert violation(error)[0] == field
    assert message in violation(error)[1]
    assert_answers(channel)


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_model_is_not_found(channel, name):
    """NOT_FOUND, naming what is served, of inference and of metadata."""
    message, request = UNKNOWN[name]
    about = wire.ModelMetadataRequest(name=request.model_name, version=request.model_version)
    for error in (refused(channel, request), refused(channel, about, "ModelMetadata")):
        assert error.code() == NOT_FOUND
        assert message in error.details()
    assert_answers(channel)


@pytest.mark.parametrize(
    "method", ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata"]
)
def test_bytes_that_are_no_message_are_refused_by_each_method(channel, method):
    """INVALID_ARGUMENT, and not gRPC's own UNKNOWN."""
    error = refused(channel, b"\x0a\xff\xff", method)
    assert error.code() == INVALID
    assert f"are no inference.{method}Request" in error.details()
    assert_answers(channel)


def test_a_method_of_triton_alone_is_unimplemented(channel):
    """What the protocol does not have is told as such."""
    assert refused(channel, b"", "RepositoryIndex").code() == grpc.StatusCode.UNIMPLEMENTED
