"""A busy service: what is refused, how, and what is answered all the same."""

import threading
import time

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.artifact import Artifact
from serving.batching import Batching
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

LONG = 60  # seconds that nothing here takes
BUSY = 6_000  # loops of some 7 µs


@pytest.fixture(scope="module")
def slow(make, tmp_path_factory):
    """The path of a model whose runs take as long as their first number says."""
    return make(tmp_path_factory.mktemp("slow") / "slow.onnx", slow=True).path


def request(loops):
    """A request of one row that takes so many loops."""
    rows = np.array([[loops, 0, 0, 0]], np.float32)
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[1, 4], data=rows.tobytes())
    return wire.PredictRequest(tensor=tensor)


@pytest.fixture
def busy(serving_of, slow):
    """A server with a queue for eight, and more requests than that under way: `(stub, channel, calls)`."""
    with (
        serving_of(slow, batch="off", max_queue=8) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        calls = [stub.Predict.future(request(BUSY), timeout=LONG) for _ in range(60)]
        yield stub, channel, calls
        for call in calls:
            call.cancel()


def test_what_is_too_much_is_refused_with_the_time_to_come_again(busy):
    """RESOURCE_EXHAUSTED with RetryInfo, and what gRPC's own retries read; the others are answered."""
    *_, calls = busy
    codes = [call.code() for call in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) >= 8
    refused = calls[codes.index(grpc.StatusCode.RESOURCE_EXHAUSTED)]
    assert "requests wait for model 'wine' already" in refused.details()
    trailers = dict(refused.trailing_metadata())
    (detail,) = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    told = error_details_pb2.RetryInfo()
    assert detail.Unpack(told)
    assert 0 < told.retry_delay.ToMilliseconds() <= 5000
    assert trailers["grpc-retry-pushback-ms"] == str(told.retry_delay.ToMilliseconds())


def test_health_and_descriptions_are_answered_while_the_queue_is_full(busy):
    """What runs no graph does not wait for one."""
    stub, channel, calls = busy
    health = health_pb2_grpc.HealthStub(channel)
    for _ in range(5):
        asked = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert asked.status == health_pb2.HealthCheckResponse.SERVING
        assert stub.GetModel(wire.GetModelRequest(), timeout=5).name == "wine"
    assert not all(call.done() for call in calls)


def test_a_refused_message_of_a_stream_ends_it(busy):
    """As any refusal does, after the replies to those before it."""
    stub, *_ = busy
    stream = stub.PredictStream((request(1) for _ in range(30)), timeout=LONG)
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "of the stream: " in caught.value.details()


def test_nobody_works_for_those_who_have_gone(serving_of, slow, monkeypatch):
    """Requests whose deadline passes in the queue, or that are cancelled there, cost no run."""
    ran, run, submit = [], Artifact.run, Batching.submit
    queued, free = threading.Semaphore(0), threading.Event()

    def noted(self, rows, *arguments):
        ran.append(int(rows["numeric"][0, 0]))
        assert free.wait(LONG)
        return run(self, rows, *arguments)

    def counted(self, work, caller):
        future = submit(self, work, caller)
        queued.release()
        return future

    with serving_of(slow, batch="off") as server, grpc.insecure_channel(server.address) as channel:
        monkeypatch.setattr(Artifact, "run", noted)
        monkeypatch.setattr(Batching, "submit", counted)
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        first = [stub.Predict.future(request(100), timeout=LONG) for _ in range(4)]
        for _ in range(4):
            assert queued.acquire(timeout=LONG)
        late = [stub.Predict.future(request(101), timeout=0.5) for _ in range(20)]
        left = [stub.Predict.future(request(102), timeout=LONG) for _ in range(20)]
        for _ in range(40):
            assert queued.acquire(timeout=LONG)
        assert {call.code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        for call in left:
            call.cancel()
        time.sleep(0.5)  # until the last of them is known there
        free.set()
        assert stub.Predict(request(103), timeout=LONG).rows == 1
        assert all(call.code() == grpc.StatusCode.OK for call in first)
        counted_now = server.server.telemetry.take().counters
    assert sorted(ran) == [*[100] * 4, 103]
    refused = {labels: number for name, labels, number in counted_now if name == "refused"}
    assert sum(refused.values()) == 40
    assert {reason for _, reason in refused} <= {"expired", "cancelled"}


def test_a_stream_does_not_hold_up_single_calls(serving_of, slow):
    """A call waits for one message of each stream, not for all that they have sent ahead."""
    with serving_of(slow, batch="off") as server, grpc.insecure_channel(server.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        streams = [stub.PredictStream((request(1000) for _ in range(200)), timeout=LONG) for _ in range(2)]
        for stream in streams:
            next(stream)
        began = time.monotonic()
        assert stub.Predict(request(1000), timeout=LONG).rows == 1
        waited = time.monotonic() - began
        began = time.monotonic()
        for stream in streams:
            assert len(list(stream)) == 199
        # The streams have at least 2 × 64 runs before them, the call had about two.
        assert waited < (time.monotonic() - began) / 4
