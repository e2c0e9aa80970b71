"""What the limits of tokens do to streams, and how what is refused is counted."""

import threading
import time

import grpc
import pytest
from hostile import END_HEADERS, END_STREAM, HEADERS, PREDICT, Connection, frame, headers
from servers import wait_until

from serving.security.tokens_file import add
from serving.traces import Tracer
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

from .collector import collecting

Code = grpc.StatusCode
SAMPLED = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of tokens, which is looked at ten times a second."""
    monkeypatch.setattr("serving.security._LOOK", 0.1)
    return tmp_path / "tokens.toml"


@pytest.fixture
def serve(serving_of, wine, file):
    """Makes a server with the tokens of the file."""
    return lambda: serving_of(wine.path, tokens=str(file))


def bearer(token):
    """The metadata of a caller who has a token."""
    return [("authorization", f"Bearer {token}")]


def request():
    """A good request of one row."""
    return wire.PredictRequest(tensor=wire.Tensor(dtype=wire.FLOAT32, shape=[1, 4], data=bytes(16)))


class Stream:
    """A stream that sends one message when it is told to, and counts what is answered."""

    def __init__(self, channel, metadata):
        self.send, self.answered, self.error = threading.Event(), 0, None
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        self._answers = stub.PredictStream(self._messages(), metadata=metadata, timeout=60)
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _messages(self):
        self.send.wait()
        yield request()

    def _take(self):
        try:
            for _ in self._answers:
                self.answered += 1
        except grpc.RpcError as error:
            self.error = error

    def end(self):
        """Cancel it, and wait until it has ended."""
        self.send.set()
        self._answers.cancel()
        self._thread.join()


def predicted(channel, metadata):
    """The error of a call, None where it is answered."""
    try:
        ordinal_pb2_grpc.OrdinalServiceStub(channel).Predict(request(), metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return error
    return None


def counted(server):
    """What a server has counted, by names and labels; of histograms the number."""
    counts = server.server.telemetry.take()
    found = {(name, *labels): number for name, labels, number in counts.counters}
    return found | {(name, *labels): sum(observed) for name, labels, observed, _ in counts.histograms}


def under_way(server):
    """How many calls have not ended."""

    async def look():
        return server.server.telemetry.under_way

    return server.do(look())


def test_idle_streams_do_not_save_up_requests(serve, file):
    """What they send at once is answered one after the other, and holds up no other call for longer."""
    token = bearer(add(file, "few", requests_per_second=5))
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        streams = [Stream(channel, token) for _ in range(40)]
        try:
            wait_until(lambda: under_way(server) == 40)
            began = time.monotonic()
            for stream in streams:
                stream.send.set()
            wait_until(lambda: sum(stream.answered for stream in streams) >= 8)
            passed = time.monotonic() - began
            assert sum(stream.answered for stream in streams) <= 5 + 5 * passed + 1
            assert passed > 0.4
            refused = predicted(channel, token)
            assert refused.code() == Code.RESOURCE_EXHAUSTED
            assert int(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"]) <= 200
        finally:
            for stream in streams:
                stream.end()


def test_the_end_of_a_stream_is_seen_at_once(serve, file):
    """It waits for no turn, and makes room for another call."""
    token = bearer(add(file, "few", requests_per_second=0.1, concurrent=1))
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        began = time.monotonic()
        assert len(list(stub.PredictStream(iter([request()]), metadata=token, timeout=30))) == 1
        assert list(stub.PredictStream(iter([]), metadata=token, timeout=30)) == []
        assert time.monotonic() - began < 5


def test_a_stream_that_waits_for_its_turn_sees_that_its_token_is_gone(serve, file):
    """Long before that turn would come."""
    token = bearer(add(file, "few", requests_per_second=0.001))
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        answers = stub.PredictStream(iter([request()] * 3), metadata=token, timeout=30)
        assert next(answers).rows == 1
        add(file, "few", replace=True)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() == Code.UNAUTHENTICATED


def test_what_is_beyond_limits_is_counted(serve, file):
    """By its status, and as no fault of the service; not among the seconds that requests take."""
    rate = bearer(add(file, "rate", requests_per_second=1))
    one = bearer(add(file, "one", concurrent=1))
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        assert predicted(channel, rate) is None
        assert predicted(channel, rate).code() == Code.RESOURCE_EXHAUSTED
        assert predicted(channel, []).code() == Code.UNAUTHENTICATED
        stream = Stream(channel, one)
        try:
            wait_until(lambda: under_way(server) == 1)
            assert predicted(channel, one).code() == Code.RESOURCE_EXHAUSTED
            found = counted(server)
        finally:
            stream.end()
    wanted = {
        ("requests", "Predict", "OK"): 1,
        ("requests", "Predict", "RESOURCE_EXHAUSTED"): 2,
        ("requests", "Predict", "UNAUTHENTICATED"): 1,
        ("refused", "", "token_limit"): 2,
        ("request_seconds", "Predict"): 1,
    }
    assert {key: found[key] for key in wanted} == wanted


def test_a_call_without_a_message_is_counted(serve, file):
    """Where the guard reads it, since it counts calls at a time."""
    token = bearer(add(file, "one", concurrent=1))
    with serve() as server:
        with Connection(server.address) as connection:
            block = headers(PREDICT, token)
            connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
            wait_until(lambda: connection.received["ended"] == 1)
        assert counted(server) == {("requests", "Predict", "INVALID_ARGUMENT"): 1}


def test_a_stream_whose_token_is_gone_is_counted_and_traced_so(serve, file):
    """UNAUTHENTICATED, as its caller is told."""
    old = bearer(add(file, "mobile"))
    with collecting() as collector, serve() as server, grpc.insecure_channel(server.address) as channel:
        tracer = Tracer(collector.address, "here", server.server.telemetry)
        server.server.telemetry.set_up(counting=False, tracer=tracer)

        def messages():
            yield request()
            add(file, "mobile", replace=True)
            wait_until(lambda: predicted(channel, old) is not None)
            counted(server)
            yield request()

        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.PredictStream(messages(), metadata=[*old, SAMPLED], timeout=30))
        assert caught.value.code() == Code.UNAUTHENTICATED
        wait_until(lambda: not under_way(server))
        found = counted(server)
        assert found[("requests", "PredictStream", "UNAUTHENTICATED")] == 1
        server.do(tracer.close())
        (span,) = [one for one in collector.spans if one["name"].endswith("PredictStream")]
        assert span["attributes"]["rpc.response.status_code"] == "UNAUTHENTICATED"
