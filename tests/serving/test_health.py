"""What the health service tells of services and models."""

import contextlib

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.orders import Wanted
from serving.resolve import Resolved
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

Status = health_pb2.HealthCheckResponse
SERVICES = ("", "ordinal.v1.OrdinalService", "inference.GRPCInferenceService")


def ask(channel, name=""):
    """The status of a name; None where it is not known."""
    check = health_pb2.HealthCheckRequest(service=name)
    try:
        return health_pb2_grpc.HealthStub(channel).Check(check, timeout=10).status
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return None


def watch(channel, name):
    """What a watcher of a name is told."""
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))


@pytest.fixture
def serving(serving_of):
    """A server without models, and a channel to it."""
    with serving_of() as server, grpc.insecure_channel(server.address) as channel:
        yield server, channel


def entry(made, version="3", *aliases, name=""):
    """What a file is served as."""
    return Resolved(made.path, name, version, aliases)


def test_a_model_has_names_of_its_own(serving, wine, digits):
    """NAME, NAME/VERSION and NAME@ALIAS, of what is served and of nothing else."""
    server, channel = serving
    assert ask(channel, "wine") is None
    state = {"a": entry(wine, "3", "champion", "new"), "b": entry(digits, "0")}
    server.do(server.server.apply(Wanted(state)))
    for name in (*SERVICES, "wine", "wine/3", "wine@champion", "wine@new", "digits", "digits/0"):
        assert ask(channel, name) == Status.SERVING, name
    for name in ("wine/0", "wine@", "wine/", "digits@champion", "wine/champion", "wine@3"):
        assert ask(channel, name) is None, name


def test_names_come_and_go_with_what_is_served(serving, wine):
    """Watchers are told SERVING of a name that appears, and SERVICE_UNKNOWN of one that vanishes."""
    server, channel = serving
    old, new, alias = (watch(channel, name) for name in ("wine/3", "wine/4", "wine@champion"))
    assert next(old).status == next(new).status == next(alias).status == Status.SERVICE_UNKNOWN
    server.do(server.server.apply(Wanted({"a": entry(wine, "3", "champion")})))
    assert next(old).status == next(alias).status == Status.SERVING
    server.do(server.server.apply(Wanted({"a": entry(wine, "4", "champion")})))
    assert next(old).status == Status.SERVICE_UNKNOWN
    assert next(new).status == Status.SERVING
    server.do(server.server.apply(Wanted({"a": entry(wine, "4")})))
    assert next(alias).status == Status.SERVICE_UNKNOWN


def test_nothing_serves_until_all_models_do(serving, wine, tmp_path):
    """Where one of them cannot be loaded the others answer, and the service as a whole is not ready."""
    server, channel = serving
    missing = Resolved(tmp_path / "missing.onnx", "digits", "1")
    applied = server.do(server.server.apply(Wanted({"a": entry(wine), "b": missing})))
    assert list(applied.served) == ["a"]
    assert [ask(channel, name) for name in SERVICES] == [Status.NOT_SERVING] * 3
    assert ask(channel, "wine") == Status.SERVING
    assert ask(channel, "digits") is None


def test_without_any_model_callers_are_told_unavailable(serving, tmp_path):
    """They may ask another worker."""
    server, channel = serving
    server.do(server.server.apply(Wanted({"a": Resolved(tmp_path / "missing.onnx", "wine", "1")})))
    stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
    with pytest.raises(grpc.RpcError, match="the service is loading its models"):
        stub.GetModel(wire.GetModelRequest(), timeout=10)
    assert ask(channel) == Status.NOT_SERVING


def test_a_drain_is_told_of_every_name(serving, wine):
    """NOT_SERVING, also where models are loaded later than the drain begins."""
    server, channel = serving
    server.do(server.server.apply(Wanted({"a": entry(wine)})))
    watches = [watch(channel, name) for name in (*SERVICES, "wine", "wine/3")]
    assert [next(one).status for one in watches] == [Status.SERVING] * 5
    draining = server.start(server.server.finish())
    assert [next(one).status for one in watches] == [Status.NOT_SERVING] * 5
    server.do(server.server.apply(Wanted({"a": entry(wine, "4")})))
    draining.result(timeout=10)
    assert ask(channel) == ask(channel, "wine/3") == Status.NOT_SERVING
    assert ask(channel, "wine/4") is None


def test_health_is_answered_under_load(serving_of, make, tmp_path):
    """While requests are told RESOURCE_EXHAUSTED, the service is well."""
    made = make(tmp_path / "slow.onnx", slow=True)
    with (
        serving_of(made.path, max_queue=2) as server,
        contextlib.ExitStack() as stack,
        grpc.insecure_channel(server.address) as channel,
    ):
        rows = np.array([[20_000, 0, 0, 0]], np.float32)
        tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[1, 4], data=rows.tobytes())
        calls = []
        for number in range(4):
            other = stack.enter_context(grpc.insecure_channel(server.address, options=[("number", number)]))
            stub = ordinal_pb2_grpc.OrdinalServiceStub(other)
            calls += [stub.Predict.future(wire.PredictRequest(tensor=tensor)) for _ in range(10)]
        assert all(ask(channel) == Status.SERVING for _ in range(20))
        codes = [call.exception(timeout=60) and call.code() for call in calls]
    assert set(codes) == {None, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_the_command_asks_for_a_model(running, command):
    """`--model` means what the health service knows of one."""
    well = command("health", "--address", running.address, "--model", "wine/0")
    assert (well.returncode, well.stdout) == (0, "SERVING\n")
    strange = command("health", "--address", running.address, "--model", "beer")
    assert (strange.returncode, strange.stdout) == (2, "")
    assert strange.stderr == f"ordinal-serving: model 'beer' is not served by {running.address}\n"
