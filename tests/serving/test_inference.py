"""The Open Inference Protocol, asked by an unchanged client of Triton's."""

import asyncio
import json
import threading

import grpc
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf import descriptor_pb2
from tritonclient.grpc import service_pb2

from serving.client import Client, Policy
from serving.inference.protocol import NAME
from serving.orders import Wanted
from serving.resolve import Resolved
from serving.wire import inference_pb2 as wire

from .categorical_artifact import random_columns
from .conftest import ABSOLUTE, ACTIONS, LABELS, TRIAGE, K

ALL = ["probabilities", "expected_value", "expected_cost", "decision", "margin", "interval", "uncertainty"]
INTEGERS = {"decision", "interval"}
ROWS = np.random.default_rng(8).uniform(-1, 1, (3, 4)).astype(np.float32)
IMAGES = np.random.default_rng(9).integers(0, 17, (5, 8, 8, 1), np.uint8)
COLUMNS = random_columns(10, 7)
# Costs and coverages of each row's own.
COSTS = np.random.default_rng(11).uniform(0, 9, (3, 2, K, 4)).astype(np.float32)
COVERAGES = np.array([0.3, 0.6, 0.95], np.float32)


def tensor(name, array, datatype="FP32"):
    """An input of tritonclient's, raw."""
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def car_inputs(columns):
    """The tensors of a table of cars."""
    numbers = np.array([columns["age"], columns["power"]], np.float32).T.copy()
    texts = np.array([columns["colour"], columns["fuel"], columns["größe"]], np.object_).T.copy()
    return {"numeric": numbers, "categorical": texts}


def local(made, **feed):
    """What onnxruntime makes of the same arrays, by the names of the outputs."""
    session = ort.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def assert_same(result, expected, outputs=ALL):
    """A reply of tritonclient's holds these outputs, as onnxruntime gives them, and no other."""
    assert [output.name for output in result.get_response().outputs] == list(outputs)
    for name in outputs:
        array = result.as_numpy(name)
        assert array.dtype == (np.int64 if name in INTEGERS else np.float32)
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.fixture(scope="module")
def client(running):
    """Triton's client of the shared server."""
    with triton.InferenceServerClient(running.address) as client:
        yield client


@pytest.fixture(scope="module")
def channel(running):
    """A bare channel to the shared server."""
    with grpc.insecure_channel(running.address) as channel:
        yield channel


def typed(channel, request):
    """The reply to a request without raw contents, as tritonclient's messages."""
    method = channel.unary_unary(
        f"/{NAME}/ModelInfer",
        request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=service_pb2.ModelInferResponse.FromString,
    )
    return method(request, timeout=20)


def test_it_lives_and_is_ready(client):
    """Server and models are ready, by number too; what is not served is not ready, and no error."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("wine")
    assert client.is_model_ready("wine", "0")
    assert not client.is_model_ready("beer")
    assert not client.is_model_ready("wine", "7")
    assert not client.is_model_ready("")  # three are served


def test_the_server_says_what_it_is(client):
    """Its name, the version of the package, and no extension."""
    from importlib.metadata import version

    metadata = client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("ordinal-serving", version("ordinal"))
    assert list(metadata.extensions) == []


def test_versions_are_asked_for_by_number_or_alias(serving_of, wine, make, tmp_path):
    """No version means the champion; replies and metadata tell numbers."""
    made = {"9": wine, "10": make(tmp_path / "other.onnx", seed=9)}
    wanted = {
        "new": Resolved(made["10"].path, "wine", "10", ("challenger",)),
        "old": Resolved(made["9"].path, "wine", "9", ("champion",)),
    }
    with serving_of() as server, triton.InferenceServerClient(server.address) as client:
        server.do(server.server.apply(Wanted(wanted)))
        assert list(client.get_model_metadata("wine").versions) == ["9", "10"]
        for asked, version in (("", "9"), ("champion", "9"), ("10", "10"), ("challenger", "10")):
            assert client.is_model_ready("wine", asked)
            result = client.infer("wine", [tensor("numeric", ROWS)], model_version=asked)
            assert result.get_response().model_version == version
            assert_same(result, local(made[version], numeric=ROWS))
        assert not client.is_model_ready("wine", "11")


def described(tensors):
    """Tensors of metadata as tuples."""
    return [(one.name, one.datatype, list(one.shape)) for one in tensors]


OPTIONAL = [("cost", "FP32", [-1, -1, K, -1]), ("coverage", "FP32", [-1])]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("wine", [("numeric", "FP32", [-1, 4])]),
        ("digits", [("image", "UINT8", [-1, 8, 8, 1])]),
        ("cars", [("numeric", "FP32", [-1, 2]), ("categorical", "BYTES", [-1, 3])]),
    ],
)
def test_a_model_says_what_it_takes_and_gives(client, model, inputs):
    """Inputs with the optional ones last, outputs, types and shapes are those of the graph."""
    metadata = client.get_model_metadata(model)
    assert (metadata.name, list(metadata.versions), metadata.platform) == (model, ["0"], "onnxruntime_onnx")
    assert described(metadata.inputs) == [*inputs, *OPTIONAL]
    assert described(metadata.outputs) == [
        ("probabilities", "FP32", [-1, K]),
        ("expected_value", "FP32", [-1]),
        ("expected_cost", "FP32", [-1, -1, -1]),
        ("decision", "INT64", [-1, -1]),
        ("margin", "FP32", [-1, -1]),
        ("interval", "INT64", [-1, 2]),
        ("uncertainty", "FP32", [-1, 2]),
    ]


@pytest.mark.parametrize("rows", [1, 3, 700])
def test_a_table_is_answered_as_onnxruntime_does(client, wine, rows):
    """All outputs of raw numbers, bit for bit, and the request's id, the model and its version."""
    numbers = np.random.default_rng(rows).uniform(-1, 1, (rows, 4)).astype(np.float32)
    result = client.infer("wine", [tensor("numeric", numbers)], request_id="one")
    assert_same(result, local(wine, numeric=numbers))
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("wine", "0", "one")


def test_images_are_answered_as_onnxruntime_does(client, digits):
    """Raw bytes of an image are UINT8."""
    result = client.infer("digits", [tensor("image", IMAGES, "UINT8")])
    assert_same(result, local(digits, image=IMAGES))


def test_categories_are_answered_as_onnxruntime_does(client, cars):
    """Texts are BYTES, in UTF-8, missing ones too, and the order of inputs does not matter."""
    arrays = car_inputs(COLUMNS)
    inputs = [tensor("categorical", arrays["categorical"], "BYTES"), tensor("numeric", arrays["numeric"])]
    assert_same(client.infer("cars", inputs), local(cars, **arrays))


def test_the_same_as_ordinal_v1(running, client):
    """Probabilities, values, decisions, intervals and uncertainty are those of Predict."""
    policies = ["absolute", "triage"]
    with Client(running.address) as ordinal:
        expected = ordinal.predict(ROWS, "wine", policies=policies, coverage=0.6)
    parameters = {"cost_profile": "absolute, triage", "coverage": 0.6}
    result = client.infer("wine", [tensor("numeric", ROWS)], parameters=parameters)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected.probabilities)
    np.testing.assert_array_equal(result.as_numpy("expected_value"), expected.expected_value)
    interval = result.as_numpy("interval")
    np.testing.assert_array_equal(interval[:, 0], expected.interval.lower)
    np.testing.assert_array_equal(interval[:, 1], expected.interval.upper)
    for index, name in enumerate(policies):
        decision = expected.decisions[name]
        np.testing.assert_array_equal(result.as_numpy("decision")[:, index], decision.action)
        np.testing.assert_array_equal(result.as_numpy("margin")[:, index], decision.margin)
    np.testing.assert_array_equal(result.as_numpy("uncertainty")[:, 0], expected.uncertainty.aleatoric)


def test_outputs_are_those_asked_for_in_their_order(client, wine):
    """Whatever else the graph computes stays there."""
    wanted = ["margin", "interval", "probabilities"]
    outputs = [triton.InferRequestedOutput(name) for name in wanted]
    result = client.infer("wine", [tensor("numeric", ROWS)], outputs=outputs)
    assert_same(result, local(wine, numeric=ROWS), wanted)


def texts(response):
    """The parameters of a reply."""
    return {name: value.string_param for name, value in response.parameters.items()}


def test_parameters_say_what_answered_and_what_numbers_stand_for(client):
    """Provider, labels, and of decisions the policies and their actions; no policies without decisions."""
    inputs = [tensor("numeric", ROWS)]
    parameters = {"cost_profile": "triage,absolute"}
    said = texts(client.infer("wine", inputs, parameters=parameters).get_response())
    assert said["provider"] == "CPUExecutionProvider"
    assert json.loads(said["labels"]) == list(LABELS)
    assert json.loads(said["policies"]) == ["triage", "absolute"]
    assert json.loads(said["actions"]) == [list(ACTIONS), list(LABELS)]
    outputs = [triton.InferRequestedOutput("probabilities")]
    assert set(texts(client.infer("wine", inputs, outputs=outputs).get_response())) == {
        "provider",
        "labels",
    }


@pytest.mark.parametrize(
    ("profile", "cost"),
    [("absolute", ABSOLUTE), ("triage", TRIAGE)],
)
def test_a_profile_decides(client, wine, profile, cost):
    """The parameter `cost_profile` is as the profile's costs in the input."""
    expected = local(wine, numeric=ROWS, cost=cost[np.newaxis, np.newaxis])
    result = client.infer("wine", [tensor("numeric", ROWS)], parameters={"cost_profile": profile})
    assert_same(result, expected)


@pytest.mark.parametrize("name", ["a, b", "a,b"])
def test_a_name_may_have_a_comma(serving_of, make, tmp_path, wine, name):
    """A text that is the name of a profile as a whole is that profile, and not several."""
    profiles = {**wine.manifest.profiles, name: wine.manifest.profiles["triage"]}
    made = make(tmp_path / "comma.onnx", profiles=profiles)
    with serving_of(made.path) as server, triton.InferenceServerClient(server.address) as client:
        result = client.infer("wine", [tensor("numeric", ROWS)], parameters={"cost_profile": name})
    assert json.loads(texts(result.get_response())["policies"]) == [name]


@pytest.mark.parametrize("coverage", [0.5, "0.5", " 5e-1 "])
def test_a_coverage_is_a_number_or_a_text_of_one(client, wine, coverage):
    """Both set the interval as the input does."""
    expected = local(wine, numeric=ROWS, coverage=np.array([0.5], np.float32))
    result = client.infer("wine", [tensor("numeric", ROWS)], parameters={"coverage": coverage})
    assert_same(result, expected)


@pytest.mark.parametrize("rows", [slice(0, 1), slice(0, 3)])
def test_costs_and_coverages_may_be_inputs(client, wine, rows):
    """For all rows or for each; there are no names of actions then."""
    inputs = [
        tensor("coverage", COVERAGES[rows]),
        tensor("numeric", ROWS),
        tensor("cost", COSTS[rows].copy()),
    ]
    result = client.infer("wine", inputs)
    assert_same(result, local(wine, numeric=ROWS, cost=COSTS[rows], coverage=COVERAGES[rows]))
    assert set(texts(result.get_response())) == {"provider", "labels"}


def test_a_policy_may_lack_actions(running, client):
    """1e30 in all of a column is an action that is not there, as Predict stacks policies."""
    cost = np.full((1, 2, K, K), 1e30, np.float32)
    cost[0, 0], cost[0, 1, :, : len(ACTIONS)] = ABSOLUTE, TRIAGE
    result = client.infer("wine", [tensor("numeric", ROWS), tensor("cost", cost)])
    policies = [Policy("a", ABSOLUTE), Policy("b", TRIAGE, ACTIONS)]
    with Client(running.address) as ordinal:
        expected = ordinal.predict(ROWS, "wine", policies=policies)
    for index, name in enumerate("ab"):
        np.testing.assert_array_equal(
            result.as_numpy("decision")[:, index], expected.decisions[name].action
        )
        np.testing.assert_array_equal(result.as_numpy("margin")[:, index], expected.decisions[name].margin)


def test_what_clients_send_of_their_own_accord_changes_nothing(client, wine):
    """Sequences, priority, timeout, and what belongs to HTTP or to other servers are left unread."""
    numbers = tensor("numeric", ROWS)
    numbers._get_tensor().parameters["content_type"].string_param = "np"
    output = triton.InferRequestedOutput("decision")
    output._get_tensor().parameters["binary_data"].bool_param = True
    result = client.infer(
        "wine",
        [numbers],
        outputs=[output],
        sequence_id=3,
        sequence_start=True,
        priority=2,
        timeout=1_000_000,
        client_timeout=20,
        headers={"custom": "1"},
        parameters={"content_type": "np"},
    )
    assert_same(result, local(wine, numeric=ROWS), ["decision"])


def test_compression_and_callbacks_work(client, wine):
    """What tritonclient offers beside plain calls."""
    expected = local(wine, numeric=ROWS)
    inputs = [tensor("numeric", ROWS)]
    assert_same(client.infer("wine", inputs, compression_algorithm="gzip"), expected)
    done, got = threading.Event(), []
    client.async_infer("wine", inputs, lambda result, error: (got.extend([result, error]), done.set()))
    assert done.wait(20)
    assert got[1] is None
    assert_same(got[0], expected)


def test_the_asyncio_client_works(running, wine):
    """All of the six calls from an event loop."""

    async def ask():
        async with triton_aio.InferenceServerClient(running.address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("wine")
            assert (await client.get_server_metadata()).name == "ordinal-serving"
            assert (await client.get_model_metadata("wine")).name == "wine"
            return await client.infer("wine", [tensor("numeric", ROWS)])

    assert_same(asyncio.run(ask()), local(wine, numeric=ROWS))


def typed_request(model, **contents):
    """A request with typed contents, as tritonclient's message: name = (datatype, field, array)."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, (datatype, field, array) in contents.items():
        one = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        getattr(one.contents, field).extend(array.ravel().tolist())
    return request


def assert_typed(response, expected):
    """A reply has typed contents and no raw ones, and they are these."""
    assert not response.raw_output_contents
    assert [output.name for output in response.outputs] == ALL
    for output in response.outputs:
        (field,) = output.contents.ListFields()
        assert field[0].name == ("int64_contents" if output.name in INTEGERS else "fp32_contents")
        got = np.array(field[1], expected[output.name].dtype).reshape(output.shape)
        np.testing.assert_array_equal(got, expected[output.name], err_msg=output.name)


def test_typed_numbers_are_answered_typed(channel, wine):
    """Numbers, costs and coverages as fp32_contents; the reply is typed as well."""
    request = typed_request(
        "wine",
        numeric=("FP32", "fp32_contents", ROWS),
        cost=("FP32", "fp32_contents", COSTS),
        coverage=("FP32", "fp32_contents", COVERAGES),
    )
    expected = local(wine, numeric=ROWS, cost=COSTS, coverage=COVERAGES)
    assert_typed(typed(channel, request), expected)


def test_typed_images_are_answered_typed(channel, digits):
    """Bytes of images as uint_contents."""
    request = typed_request("digits", image=("UINT8", "uint_contents", IMAGES))
    assert_typed(typed(channel, request), local(digits, image=IMAGES))


def test_typed_categories_are_answered_typed(channel, cars):
    """Texts as bytes_contents, in UTF-8."""
    arrays = car_inputs(COLUMNS)
    encoded = np.vectorize(str.encode, otypes=[np.object_])(arrays["categorical"])
    request = typed_request(
        "cars",
        numeric=("FP32", "fp32_contents", arrays["numeric"]),
        categorical=("BYTES", "bytes_contents", encoded),
    )
    assert_typed(typed(channel, request), local(cars, **arrays))


def test_empty_contents_beside_raw_ones_do_no_harm(channel, wine):
    """Some clients write an empty message where there is nothing."""
    request = service_pb2.ModelInferRequest(model_name="wine")
    request.inputs.add(name="numeric", datatype="FP32", shape=ROWS.shape).contents.SetInParent()
    request.raw_input_contents.append(ROWS.tobytes())
    response = typed(channel, request)
    probabilities = np.frombuffer(response.raw_output_contents[0], np.float32)
    np.testing.assert_array_equal(probabilities, local(wine, numeric=ROWS)["probabilities"].ravel())


def test_cyclic_labels_have_a_resultant(serving_of, make, tmp_path):
    """The eighth output is there where the graph has it, in metadata and in replies."""
    from onnx import TensorProto, helper

    from serving import manifest as schema

    def add(graph):
        graph.node.append(
            helper.make_node("ReduceMax", ["probabilities", "axis1"], ["resultant"], keepdims=0)
        )
        graph.output.append(helper.make_tensor_value_info("resultant", TensorProto.FLOAT, ["batch"]))

    topology = schema.Topology(kind="cyclic", period=10)
    made = make(tmp_path / "ring.onnx", edit=add, topology=topology)
    with serving_of(made.path) as server, triton.InferenceServerClient(server.address) as client:
        metadata = client.get_model_metadata("wine")
        result = client.infer("", [tensor("numeric", ROWS)])
    assert described(metadata.outputs)[-1] == ("resultant", "FP32", [-1])
    assert_same(result, local(made, numeric=ROWS), [*ALL, "resultant"])


def _fields(message):
    found = {}
    for field in message.field:
        found[field.name] = (field.number, field.type, field.label, field.type_name)
    for nested in message.nested_type:
        found.update({f"{nested.name}.{name}": value for name, value in _fields(nested).items()})
    return found


def _file(descriptor):
    proto = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(proto)
    return proto


def test_every_field_is_the_protocols():
    """Names, numbers and types of all fields and methods are those of tritonclient's descriptors."""
    ours, theirs = _file(wire.DESCRIPTOR), _file(service_pb2.DESCRIPTOR)
    assert ours.package == theirs.package
    their_messages = {message.name: _fields(message) for message in theirs.message_type}
    for message in ours.message_type:
        known = their_messages[message.name]
        for name, field in _fields(message).items():
            assert known[name] == field, f"{message.name}.{name}"
    (service,) = ours.service
    (their_service,) = theirs.service
    assert service.name == their_service.name
    methods = {method.name: (method.input_type, method.output_type) for method in their_service.method}
    assert len(service.method) == 6
    for method in service.method:
        assert methods[method.name] == (method.input_type, method.output_type)


def test_every_field_that_tritonclient_sends_is_known():
    """Nothing that a client may say in the six calls is dropped unseen."""
    theirs = _file(service_pb2.DESCRIPTOR)
    ours = {message.name: _fields(message) for message in _file(wire.DESCRIPTOR).message_type}
    for message in theirs.message_type:
        if message.name in ours:
            assert set(_fields(message)) == set(ours[message.name]), message.name
