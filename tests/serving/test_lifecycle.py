"""From the first health check to the last request of a drain."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from serving.client import Client
from serving.errors import Unavailable
from serving.server import create_server
from serving.settings import Settings
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

Status = health_pb2.HealthCheckResponse
NAME = "ordinal.v1.OrdinalService"


def ask(channel, service=""):
    """The status of a service's health."""
    check = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(check, timeout=10).status


@pytest.mark.parametrize("service", ["", NAME])
def test_health_turns_serving_when_the_models_are_warm(serving_of, wine, service):
    """Before loading, health is NOT_SERVING and requests are UNAVAILABLE; afterwards both are good."""
    with serving_of() as server, grpc.insecure_channel(server.address) as channel:
        assert ask(channel, service) == Status.NOT_SERVING
        with Client(server.address, retry=False) as client:
            with pytest.raises(Unavailable, match="the service is loading its models"):
                client.model()
            server.do(server.server.load([str(wine.path)]))
            assert ask(channel, service) == Status.SERVING
            assert client.model().name == "wine"


def test_health_of_an_unknown_service_is_not_found(running):
    """As the health protocol has it."""
    with grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, "no.such.Service")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_every_watcher_sees_every_change_and_the_end(serving_of, wine):
    """Watchers are told changes even when one of them leaves, and a drain ends their streams."""
    with serving_of() as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        leaving, staying, stranger = (
            stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in (NAME, NAME, "stranger")
        )
        assert next(leaving).status == next(staying).status == Status.NOT_SERVING
        assert next(stranger).status == Status.SERVICE_UNKNOWN
        leaving.cancel()
        server.do(server.server.load([str(wine.path)]))
        assert next(staying).status == Status.SERVING
        draining = server.start(server.server.drain())
        assert [answer.status for answer in staying] == [Status.NOT_SERVING]
        assert list(stranger) == []
        draining.result(timeout=10)


def test_health_is_answered_while_the_model_runs(serving_of, make, tmp_path):
    """A long run occupies a thread, not the event loop."""
    made = make(tmp_path / "slow.onnx", slow=True)
    with serving_of(made.path) as server, grpc.insecure_channel(server.address) as channel:
        with begun(os.getpid()):
            running = slow_call(channel, loops=200_000)
        assert ask(channel) == Status.SERVING
        assert not running.done()
        assert running.result(timeout=30).rows == 1


def computed(pid):
    """Seconds of CPU that all threads of a process have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def begun(pid) -> Iterator[None]:
    """Start a slow call within: afterwards its run is going on, since an idle service uses no CPU."""
    before = computed(pid)
    yield
    end = time.monotonic() + 30
    while computed(pid) < before + 0.2:
        assert time.monotonic() < end, "the run has not begun"
        time.sleep(0.005)


def slow_call(channel, loops):
    """Start a `Predict` that runs for some 7 µs a loop."""
    rows = np.array([[loops, 0, 0, 0]], np.float32)
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[1, 4], data=rows.tobytes())
    return ordinal_pb2_grpc.OrdinalServiceStub(channel).Predict.future(wire.PredictRequest(tensor=tensor))


def test_reflection_lists_and_describes_the_services(running):
    """A tool such as grpcurl needs no .proto: services are listed, and their file is sent."""
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME),
    ]
    with grpc.insecure_channel(running.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        listed, described = stub.ServerReflectionInfo(iter(requests), timeout=10)
    names = {service.name for service in listed.list_services_response.service}
    assert {NAME, "grpc.health.v1.Health"} <= names
    assert wire.DESCRIPTOR.serialized_pb in described.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(process, make, tmp_path, number):
    """Health turns, what is in flight is answered, what comes later is UNAVAILABLE, and the status is 0."""
    made = make(tmp_path / "slow.onnx", slow=True)
    service = process(made.path, "--pause", "0.1")
    address = service.address()
    with grpc.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == Status.SERVING
        with begun(service.workers()[0]):
            in_flight = slow_call(channel, loops=200_000)
        service.popen.send_signal(number)
        assert next(watch).status == Status.NOT_SERVING
        with pytest.raises(StopIteration):
            next(watch)  # the pause is over
        late = slow_call(channel, loops=0)
        assert late.exception(timeout=10).code() == grpc.StatusCode.UNAVAILABLE
        assert not in_flight.done()
        assert in_flight.result(timeout=30).rows == 1
    assert service.end() == 0
    assert service.log[-1].endswith("stopped\n")


def test_a_run_past_its_grace_is_cut_off(serving_of, make, tmp_path):
    """A drain waits for `grace` and no longer."""
    made = make(tmp_path / "slow.onnx", slow=True)
    with (
        serving_of(made.path, grace=0.05) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        with begun(os.getpid()):
            in_flight = slow_call(channel, loops=200_000)
        server.do(server.server.drain())
        assert in_flight.exception(timeout=30).code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        )


@pytest.mark.slow
def test_what_waits_for_a_thread_is_answered_too(process, make, tmp_path):
    """A drain answers every request that was accepted before it, more of them than there are threads."""
    made = make(tmp_path / "slow.onnx", slow=True)
    service = process(made.path, "--pause", "0.2")
    with grpc.insecure_channel(service.address()) as channel:
        calls = [slow_call(channel, loops=10_000) for _ in range(12)]
        assert ask(channel) == Status.SERVING  # on the same connection, so it came after the calls
        service.popen.send_signal(signal.SIGTERM)
        assert [call.result(timeout=30).rows for call in calls] == [1] * 12
    assert service.end() == 0


@pytest.mark.slow
def test_a_run_past_its_grace_does_not_hold_the_process(process, make, tmp_path):
    """The process ends with status 0 and says what it abandoned, while the run is still going on."""
    made = make(tmp_path / "slow.onnx", slow=True)
    service = process(made.path, "--pause", "0", "--grace", "0.1")
    with grpc.insecure_channel(service.address()) as channel:
        with begun(service.workers()[0]):
            endless = slow_call(channel, loops=2_000_000_000)
        service.popen.send_signal(signal.SIGTERM)
        assert endless.exception(timeout=30) is not None
        assert service.end() == 0
    assert "1 requests are not done after 0.1 s and are abandoned" in "".join(service.log)


def test_two_services_on_one_port_are_refused(running, wine, command):
    """The second one says that the port is taken, and ends."""
    port = str(running.server.port)
    ended = command("serve", wine.path, "--port", port)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; another service" in ended.stderr
    assert "Traceback" not in ended.stderr


async def _create(settings):
    await create_server(settings)


@pytest.mark.parametrize(
    ("host", "reason"), [("no.such.host.invalid", "cannot listen on no"), ("203.0.113.7", "Cannot assign")]
)
def test_an_address_of_elsewhere_is_refused(host, reason):
    """A host that is not this machine cannot be listened on."""
    import asyncio

    from serving.errors import AddressError

    with pytest.raises(AddressError, match=reason):
        asyncio.run(_create(Settings(host=host, port=0)))
