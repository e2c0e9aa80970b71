"""The Open Inference Protocol when not all is well: what other servers have got wrong."""

import gc
import logging
import re
import threading
import time
import weakref

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper, numpy_helper
from tritonclient.utils import InferenceServerException

from serving.inference.model import Model

from .test_inference import ROWS, assert_same, local, tensor

pytestmark = pytest.mark.slow  # real processes, and seconds of load

GOOD = [tensor("numeric", ROWS)]


def code(caught):
    """The status of a call that tritonclient saw fail."""
    return caught.value.status().removeprefix("StatusCode.")


def asked_of(address):
    """Triton's client."""
    return triton.InferenceServerClient(address)


def test_while_loading_it_lives_and_is_not_ready(serving_of, wine):
    """Readiness is an answer and no error; the others are UNAVAILABLE, and not UNKNOWN."""
    with serving_of() as server, asked_of(server.address) as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("wine")
        assert client.get_server_metadata().name == "ordinal-serving"
        for call in (lambda: client.infer("wine", GOOD), lambda: client.get_model_metadata("wine")):
            with pytest.raises(
                InferenceServerException, match="the service is loading its models"
            ) as caught:
                call()
            assert code(caught) == "UNAVAILABLE"
        server.do(server.server.load([str(wine.path)]))
        assert client.is_server_ready()
        assert client.is_model_ready("wine")
        assert_same(client.infer("wine", GOOD), local(wine, numeric=ROWS))


def test_a_drain_is_told_before_it_refuses(serving_of, wine):
    """Not ready at once; what comes within the pause is answered, and what comes later is UNAVAILABLE."""
    with serving_of(wine.path, pause=1.0) as server, asked_of(server.address) as client:
        assert client.is_server_ready()
        draining = server.start(server.server.drain())
        until = time.monotonic() + 0.8
        while client.is_server_ready():
            assert time.monotonic() < until
        assert client.is_server_live()
        assert not client.is_model_ready("wine")
        assert_same(client.infer("wine", GOOD), local(wine, numeric=ROWS))
        draining.result(20)
        with pytest.raises(InferenceServerException) as caught:
            client.infer("wine", GOOD)
        assert code(caught) == "UNAVAILABLE"


def fail_above_nine(graph):
    """Let the graph fail on a number of 10 or more: it is looked up in a list of ten."""
    (score,) = (node for node in graph.node if "score" in node.output)
    score.output[0] = "raw"
    place = list(graph.node).index(score) + 1
    nodes = [
        helper.make_node("ReduceMax", ["flat"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["number"], to=TensorProto.INT64),
        helper.make_node("Gather", ["ten", "number"], ["zero"]),
        helper.make_node("Add", ["raw", "zero"], ["score"]),
    ]
    for node in reversed(nodes):
        graph.node.insert(place, node)
    graph.initializer.append(numpy_helper.from_array(np.zeros(10, np.float32), "ten"))


def test_a_failing_run_is_internal_and_keeps_its_text(serving_of, make, tmp_path, caplog):
    """The caller gets a number, under which the log has what onnxruntime said; the next one is answered."""
    made = make(tmp_path / "fails.onnx", edit=fail_above_nine)
    bad = ROWS.copy()
    bad[1, 2] = 12
    with (
        caplog.at_level(logging.ERROR),
        serving_of(made.path) as server,
        asked_of(server.address) as client,
    ):
        with pytest.raises(InferenceServerException) as caught:
            client.infer("wine", [tensor("numeric", bad)], request_id="seven")
        assert code(caught) == "INTERNAL"
        said = re.fullmatch(
            r"internal error (\w{12}); the service's log tells more", caught.value.message()
        )
        assert said
        assert_same(client.infer("wine", GOOD), local(made, numeric=ROWS))
    (record,) = (record for record in caplog.records if said[1] in record.getMessage())
    assert "request id 'seven'" in record.getMessage()
    assert "Gather" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("patched", "ask"),
    [
        ("serving.inference.protocol.reply", lambda client: client.infer("wine", GOOD)),
        ("serving.inference.protocol.read", lambda client: client.infer("wine", GOOD)),
        ("serving.inference.metadata.model", lambda client: client.get_model_metadata("wine")),
        ("serving.inference.metadata.server", lambda client: client.get_server_metadata()),
    ],
)
def test_a_fault_of_ours_is_internal_wherever_it_is(serving_of, wine, monkeypatch, patched, ask):
    """A bug in reading, writing or describing is never INVALID_ARGUMENT, and its text stays here."""

    def fail(*_, **__):
        raise ValueError("what nobody shall see")

    with serving_of(wine.path) as server, asked_of(server.address) as client:
        monkeypatch.setattr(patched, fail)
        with pytest.raises(InferenceServerException) as caught:
            ask(client)
        assert code(caught) == "INTERNAL"
        assert re.fullmatch(r"internal error \w{12}; the service's log tells more", caught.value.message())
        monkeypatch.undo()
        assert_same(client.infer("wine", GOOD), local(wine, numeric=ROWS))


def test_models_never_get_each_others_answers(serving_of, make, tmp_path):
    """Equal requests about models of equal shapes, all at once, from several threads."""
    made = {
        name: make(tmp_path / f"{name}.onnx", name=name, seed=seed)
        for seed, name in enumerate(("a", "b", "c"))
    }
    expected = {name: local(one, numeric=ROWS) for name, one in made.items()}
    failures = []

    def ask(client, names):
        try:
            for name in names * 30:
                result = client.infer(name, [tensor("numeric", ROWS)])
                assert result.get_response().model_name == name
                # Shared runs may sum in another order; other models are further away than that.
                np.testing.assert_allclose(
                    result.as_numpy("probabilities"), expected[name]["probabilities"], rtol=1e-4
                )
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    with (
        serving_of(*(one.path for one in made.values()), batch="on") as server,
        asked_of(server.address) as client,
    ):
        threads = [
            threading.Thread(target=ask, args=(client, names))
            for names in (["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "a", "b"])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_version_that_is_replaced_is_forgotten(serving_of, wine, make, tmp_path, monkeypatch):
    """The new file answers, and what was kept of the old one goes with it."""
    kept = []
    before = Model.__init__

    def remember(model, served):
        kept.extend((weakref.ref(model), weakref.ref(served)))
        before(model, served)

    monkeypatch.setattr(Model, "__init__", remember)
    other = make(tmp_path / "other.onnx", seed=9)
    with serving_of(wine.path) as server, asked_of(server.address) as client:
        assert_same(client.infer("wine", GOOD), local(wine, numeric=ROWS))
        server.do(server.server.load([str(other.path)]))
        assert_same(client.infer("wine", GOOD), local(other, numeric=ROWS))
        old, new = kept[:2], kept[2:]
        gc.collect()
        assert [one() for one in old] == [None, None]
        assert None not in [one() for one in new]


def test_an_expired_call_is_told_so(serving_of, make, tmp_path):
    """Tritonclient's own timeout ends the call as gRPC has it."""
    made = make(tmp_path / "slow.onnx", slow=True)
    with serving_of(made.path) as server, asked_of(server.address) as client:
        slow = np.full((1, 4), 100_000, np.float32)
        with pytest.raises(InferenceServerException) as caught:
            client.infer("wine", [tensor("numeric", slow)], client_timeout=0.2)
        assert code(caught) == grpc.StatusCode.DEADLINE_EXCEEDED.name
