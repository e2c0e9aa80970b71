"""Many requests on one stream against a real server."""

import gc
import itertools
import logging
import queue
import re
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.artifact import Artifact
from serving.batching import Batching
from serving.client import Client, Policy
from serving.errors import InvalidRequest, ModelNotFound, OrdinalError, Unavailable
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

from .malformed import CASES, INVALID, STREAM, request, violation

Status = health_pb2.HealthCheckResponse
LONG = 60  # seconds that nothing here takes


@pytest.fixture
def client(running):
    """A client of the shared server."""
    with Client(running.address) as client:
        yield client


@pytest.fixture
def channel(running):
    """A bare channel to the shared server."""
    with grpc.insecure_channel(running.address) as channel:
        yield channel


@pytest.fixture
def held(monkeypatch):
    """A gate before every run of a graph, shut until it is set; `held.began` is set by the first run."""
    gate, run = threading.Event(), Artifact.run
    gate.began = threading.Event()

    def wait_and_run(self, *arguments):
        gate.began.set()
        assert gate.wait(LONG)
        return run(self, *arguments)

    # Loading runs the graph as well, which nobody would let pass: tests shut the gate later.
    gate.shut = lambda: monkeypatch.setattr(Artifact, "run", wait_and_run)
    yield gate
    gate.set()


@pytest.fixture
def accepted(monkeypatch):
    """Counts the requests that servers accept."""
    counter, submit = Counter(), Batching.submit

    def counted(self, work, caller):
        future = submit(self, work, caller)
        counter.add()
        return future

    monkeypatch.setattr(Batching, "submit", counted)
    return counter


class Counter:
    """A number that can be waited for."""

    def __init__(self):
        self.count = 0
        self._changed = threading.Condition()

    def add(self):
        """Count one more."""
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def reaches(self, count, seconds):
        """Wait until it is as much; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, seconds)


class Sender:
    """Messages for a stream, put in one by one; it goes on until it is closed."""

    def __init__(self):
        self._queue = queue.Queue()

    def __iter__(self):
        return self

    def __next__(self):
        message = self._queue.get(timeout=LONG)
        if message is None:
            raise StopIteration
        return message

    def send(self, message):
        """Send a message, or None for the end."""
        self._queue.put(message)


def wine_rows(seed, rows=3):
    """Random rows for the model of tables."""
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def rows_request(rows, model="wine", request_id=""):
    """A message with these rows."""
    dtype = wire.UINT8 if rows.dtype == np.uint8 else wire.FLOAT32
    tensor = wire.Tensor(dtype=dtype, shape=rows.shape, data=rows.tobytes())
    return wire.PredictRequest(model=model, tensor=tensor, request_id=request_id)


def errors(caplog):
    """What was logged as an error, asyncio's complaints about forgotten tasks and futures included.

    What gRPC's core logs is not ours: where a caller goes while a reply is being sent it says so.
    """
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR and not record.name.startswith("grpc._cython")
    ]


def answered(running):
    """Whether the next request, on a connection of its own, is answered."""
    with Client(running.address) as client:
        return len(client.predict(wine_rows(0), "wine", timeout=LONG)) == 3


def test_many_are_answered_in_order(channel):
    """Sizes, models, policies and outputs may differ from message to message; replies keep the order."""
    random = np.random.default_rng(1)
    sent = []
    for number in range(300):
        rows = int(random.integers(1, 200))
        if number % 3:
            message = rows_request(wine_rows(number, rows), request_id=str(number))
        else:
            image = random.integers(0, 17, (rows, 8, 8, 1), dtype=np.uint8)
            message = rows_request(image, "digits", str(number))
        if number % 2:
            message.policies.add(profile="triage", abstain_cost=float(random.uniform(0, 2)))
        if number % 5 == 0:
            message.coverage = float(random.uniform(0.1, 0.9))
        sent.append(message)
    stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
    replies = list(stub.PredictStream(iter(sent), timeout=LONG))
    assert [reply.request_id for reply in replies] == [message.request_id for message in sent]
    assert [reply.rows for reply in replies] == [message.tensor.shape[0] for message in sent]
    assert [reply.model for reply in replies] == [message.model for message in sent]
    for message, reply in zip(sent[::10], replies[::10], strict=True):
        alone = stub.Predict(message, timeout=LONG)
        np.testing.assert_allclose(reply.probabilities, alone.probabilities, atol=1e-6)
        np.testing.assert_allclose(
            reply.decisions[0].expected_cost, alone.decisions[0].expected_cost, atol=1e-5
        )
        assert list(reply.interval.lower) == list(alone.interval.lower)


def test_a_reply_is_that_of_predict(client):
    """The client's stream yields just what its `predict` returns, whatever is asked."""
    own = Policy("own", np.arange(15).reshape(5, 3), ["a", "b", "c"], abstain_cost=1.5)
    asked = {
        "policies": ["triage", own],
        "coverage": 0.6,
        "outputs": ["probabilities", "decision", "action_costs", "interval"],
    }
    tables = [
        dict(zip(("pH", "alcohol", "sugar", "acidity"), wine_rows(seed).T[::-1], strict=True))
        for seed in range(3)
    ]
    streamed = list(client.predict_stream(tables, "wine", **asked, timeout=LONG))
    assert len(streamed) == 3
    for columns, one in zip(tables, streamed, strict=True):
        alone = client.predict(columns, "wine", **asked)
        np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-6)
        assert list(one.decisions) == ["triage", "own"]
        for name, decision in one.decisions.items():
            np.testing.assert_allclose(decision.action_costs, alone.decisions[name].action_costs, atol=1e-5)
            assert decision.actions == alone.decisions[name].actions
            assert decision.chosen == alone.decisions[name].chosen
        assert one.interval.coverage == pytest.approx(0.6)
        assert one.interval.ends == alone.interval.ends
        assert one.uncertainty is alone.uncertainty is None
        assert (one.labels, one.rows, one.model) == (alone.labels, alone.rows, alone.model)


def test_no_message_no_reply(client):
    """A stream that ends at once ends well."""
    assert list(client.predict_stream([], "wine", timeout=LONG)) == []


def test_ping_pong(client):
    """Who waits for each reply before sending the next message is not kept waiting for more."""
    replied = queue.Queue()

    def batches():
        for number in range(50):
            yield wine_rows(number, 1 + number)
            assert replied.get(timeout=LONG) == 1 + number

    for answer in client.predict_stream(batches(), "wine", timeout=LONG):
        replied.put(len(answer))
    assert replied.empty()


def test_a_thousand_are_sent_before_a_reply_is_read(channel):
    """A client that sends all it has before it reads is answered, and loses nothing."""
    sent = threading.Event()

    def messages():
        for number in range(1000):
            yield rows_request(wine_rows(number, 1), request_id=str(number))
        sent.set()

    stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
    replies = stub.PredictStream(messages(), timeout=LONG)
    assert sent.wait(LONG)
    assert [reply.request_id for reply in replies] == [str(number) for number in range(1000)]


def test_an_endless_generator_is_not_read_far_ahead(client):
    """Nobody reading the replies, messages stop being taken; and closing the stream ends it."""
    far = threading.Event()
    taken = itertools.count(1)
    rows = wine_rows(0, 2048)  # 32 KiB a message and more in reply, of which buffers hold few

    def endless():
        while True:
            if next(taken) == 2000:
                far.set()
            yield rows

    stream = client.predict_stream(endless(), "wine")
    for answer in itertools.islice(stream, 3):
        assert len(answer) == 2048
    assert not far.wait(1)
    for answer in itertools.islice(stream, 100):
        assert len(answer) == 2048
    stream.close()
    assert len(client.predict(rows, "wine")) == 2048


def test_no_more_than_some_are_begun_ahead_of_the_replies(serving_of, wine, held, accepted):
    """Of messages without a reply a limited number is begun; the others are left unread meanwhile."""
    from serving import streams

    with serving_of(wine.path, batch="on") as server, grpc.insecure_channel(server.address) as channel:
        held.shut()
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        replies = stub.PredictStream((rows_request(wine_rows(0)) for _ in range(1000)), timeout=LONG)
        assert accepted.reaches(streams._AHEAD, LONG)
        assert not accepted.reaches(streams._AHEAD + 1, 0.3)
        held.set()
        assert sum(1 for _ in replies) == 1000
        assert accepted.count == 1000


def test_large_messages_are_begun_no_further_ahead_than_memory_allows(serving_of, wine, held, accepted):
    """A limit on bytes comes before that on messages."""
    from serving import streams

    message = rows_request(wine_rows(0, 100_000))
    few = streams._AHEAD_BYTES // message.ByteSize()
    assert 1 < few < streams._AHEAD
    with serving_of(wine.path, batch="on") as server, grpc.insecure_channel(server.address) as channel:
        held.shut()
        message.outputs.append(wire.DECISION)
        replies = ordinal_pb2_grpc.OrdinalServiceStub(channel).PredictStream(
            iter([message] * 12), timeout=LONG
        )
        assert accepted.reaches(few, LONG)
        assert not accepted.reaches(few + 1, 0.3)
        held.set()
        assert sum(len(reply.decisions[0].action) for reply in replies) == 1_200_000


@pytest.mark.parametrize("place", [0, 1, 70, 199])
def test_a_refused_message_ends_the_stream(client, place):
    """What came before it is answered, and the error names message and field."""
    batches = [wine_rows(number, 1 + number % 7) for number in range(200)]
    batches[place] = np.zeros((2, 5))
    sizes = []
    stream = client.predict_stream(batches, "wine", timeout=LONG)
    with pytest.raises(InvalidRequest) as caught:
        sizes.extend(len(answer) for answer in stream)
    assert sizes == [1 + number % 7 for number in range(place)]
    assert caught.value.field == "tensor.shape"
    assert caught.value.message == f"message {place} of the stream: must be [rows, 4], got [2, 5]"


def test_garbage_ends_the_stream(channel):
    """Bytes that are no message are told as such, after the replies to those before."""
    sent = [request(), request(), b"\xff\xff\xff", request()]
    replies = channel.stream_stream(STREAM)(iter(sent), timeout=LONG)
    assert [wire.PredictResponse.FromString(next(replies)).rows for _ in range(2)] == [2, 2]
    with pytest.raises(grpc.RpcError) as caught:
        next(replies)
    assert caught.value.code() == INVALID
    told = "message 2 of the stream: these 3 bytes are no ordinal.v1.PredictRequest"
    assert violation(caught.value) == ("", told)


def test_what_is_refused_after_the_first_is_forgotten(serving_of, wine, digits, caplog):
    """A stream of nothing but wrong messages ends at the first, and no error is left lying about."""
    with (
        serving_of(wine.path, digits.path) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        for _ in range(20):
            replies = channel.stream_stream(STREAM)(
                iter([sent for _, _, _, sent in CASES.values()]), timeout=LONG
            )
            with pytest.raises(grpc.RpcError, match="message 0 of the stream"):
                next(replies)
        assert answered(server)
    gc.collect()  # asyncio complains of errors that nobody has asked for when they are thrown away
    assert errors(caplog) == []


def test_a_stream_refused_at_once_leaves_nothing(serving_of, caplog):
    """Before a model is loaded the first message is UNAVAILABLE, and the others are not mourned."""
    with (
        serving_of() as server,
        Client(server.address) as client,
        pytest.raises(Unavailable, match="message 0 of the stream: the service is loading its models"),
    ):
        list(client.predict_stream([wine_rows(number) for number in range(100)], timeout=LONG))
    gc.collect()
    assert errors(caplog) == []


def test_a_fault_of_ours_ends_the_stream_with_its_number(serving_of, wine, monkeypatch, caplog):
    """An unforeseen exception is INTERNAL, and the log has it under the number that the caller is told."""

    def broken(*_):
        raise ZeroDivisionError("secret detail")

    with serving_of(wine.path) as server, Client(server.address) as client:
        monkeypatch.setattr("serving.service.rows_of", broken)
        with pytest.raises(OrdinalError, match="message 0 of the stream: internal error") as caught:
            list(client.predict_stream([wine_rows(0)], timeout=LONG))
    assert "secret" not in str(caught.value)
    number = re.search(r"internal error (\w+);", str(caught.value))[1]
    assert any(number in message for message in errors(caplog))


@pytest.mark.parametrize("replies_read", [0, 5])
def test_a_client_that_goes_away_is_not_mourned(serving_of, wine, held, accepted, caplog, replies_read):
    """Its requests are given up, those of the next one are answered, nothing is logged as an error."""
    with serving_of(wine.path, batch="on") as server:
        with grpc.insecure_channel(server.address) as channel:
            sender = Sender()
            replies = ordinal_pb2_grpc.OrdinalServiceStub(channel).PredictStream(sender, timeout=LONG)
            for number in range(replies_read):
                sender.send(rows_request(wine_rows(number)))
                assert next(replies).rows == 3
            held.shut()
            for number in range(30):
                sender.send(rows_request(wine_rows(number)))
            assert accepted.reaches(replies_read + 30, LONG)
            replies.cancel()
            sender.send(None)
        held.set()
        for _ in range(5):
            assert answered(server)
    gc.collect()
    assert errors(caplog) == []


def test_closing_the_iterator_ends_the_stream(serving_of, wine, caplog):
    """Who leaves a loop over the stream in the middle leaves the service well."""
    with serving_of(wine.path) as server, Client(server.address) as client:
        for _ in range(10):
            stream = client.predict_stream((wine_rows(n) for n in itertools.count()), "wine", timeout=LONG)
            assert len(next(stream)) == 3
            stream.close()
        assert answered(server)
    gc.collect()
    assert errors(caplog) == []


def test_an_error_of_the_callers_iterable_is_raised(client):
    """What the iterable raises comes out as it is, after the replies to what it had given."""
    replied = threading.Event()

    def batches():
        yield wine_rows(0)
        assert replied.wait(LONG)
        raise LookupError("the file ends in the middle of a row")

    stream = client.predict_stream(batches(), "wine", timeout=LONG)
    assert len(next(stream)) == 3
    replied.set()
    with pytest.raises(LookupError, match="in the middle of a row"):
        next(stream)
    assert len(client.predict(wine_rows(0), "wine")) == 3


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (np.zeros((2, 4), np.int64), TypeError, "rows must be float32 or uint8"),
        ({"sugar": [[1, 2]]}, ValueError, "'sugar' must have one dimension"),
    ],
)
def test_rows_that_cannot_be_sent_are_raised(client, batch, error, message):
    """Rows that are no message are told as `predict` tells them."""
    with pytest.raises(error, match=message):
        list(client.predict_stream([batch], "wine", timeout=LONG))


def test_errors_of_a_stream_are_those_of_predict(client):
    """No such model, no such profile, nobody there: the classes are the same."""
    with pytest.raises(ModelNotFound, match="message 0 of the stream: model 'beer' is not served"):
        list(client.predict_stream([wine_rows(0)], "beer", timeout=LONG))
    with pytest.raises(InvalidRequest, match=r"message 0 of the stream: .*did you mean 'triage'") as caught:
        list(client.predict_stream([wine_rows(0)], "wine", policies=["triag"], timeout=LONG))
    assert caught.value.field == "policies[0].profile"
    with Client("127.0.0.1:1") as nobody, pytest.raises(Unavailable, match=r"^127\.0\.0\.1:1: "):
        list(nobody.predict_stream([wine_rows(0)], timeout=LONG))


def test_a_timeout_ends_the_stream(serving_of, wine, held):
    """`timeout` is that of the stream as a whole."""
    with serving_of(wine.path, batch="on") as server, Client(server.address) as client:
        held.shut()
        with pytest.raises(OrdinalError, match="DEADLINE_EXCEEDED"):
            list(client.predict_stream([wine_rows(0)], timeout=0.2))


def test_a_drain_answers_what_is_accepted_and_refuses_what_comes_later(serving_of, wine, held, accepted):
    """An open stream gets the replies to all that was accepted, and UNAVAILABLE for the next message."""
    with (
        serving_of(wine.path, batch="on", grace=LONG) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=LONG)
        assert next(watch).status == Status.SERVING
        sender = Sender()
        replies = ordinal_pb2_grpc.OrdinalServiceStub(channel).PredictStream(sender, timeout=LONG)
        held.shut()
        for number in range(20):
            sender.send(rows_request(wine_rows(number), request_id=str(number)))
        assert accepted.reaches(20, LONG)
        draining = server.start(server.server.drain())
        assert [answer.status for answer in watch] == [Status.NOT_SERVING]  # ends when nothing is accepted
        sender.send(rows_request(wine_rows(20)))
        held.set()
        assert [next(replies).request_id for _ in range(20)] == [str(number) for number in range(20)]
        with pytest.raises(grpc.RpcError) as caught:
            next(replies)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the service is shutting down"
        draining.result(timeout=LONG)
        assert accepted.count == 20
        sender.send(None)


def test_a_stream_past_its_grace_is_cut_off(serving_of, wine, held, caplog):
    """A drain waits for `grace` and no longer, and nobody mourns what was cut off."""
    with (
        serving_of(wine.path, batch="on", grace=0.05) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        held.shut()
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        replies = stub.PredictStream((rows_request(wine_rows(n)) for n in range(100)), timeout=LONG)
        assert held.began.wait(LONG)
        server.do(server.server.drain())
        cut_off = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert replies.exception(timeout=LONG).code() in cut_off
        held.set()
    gc.collect()
    assert errors(caplog) == []


def test_a_message_above_the_limit_ends_its_stream(serving_of, wine, caplog):
    """What is larger than `max_message_bytes` is refused by gRPC, and the service goes on."""
    with (
        serving_of(wine.path, max_message_bytes=10_000) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        sent = [rows_request(wine_rows(0)), rows_request(wine_rows(1, 2000)), rows_request(wine_rows(2))]
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.PredictStream(iter(sent), timeout=LONG))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert answered(server)
    gc.collect()
    assert errors(caplog) == []


def test_an_idle_stream_does_not_hold_a_drain(serving_of, wine):
    """A stream on which nothing is left to answer ends with UNAVAILABLE, long before the grace is over."""
    with (
        serving_of(wine.path, grace=LONG) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        sender = Sender()
        replies = ordinal_pb2_grpc.OrdinalServiceStub(channel).PredictStream(sender, timeout=LONG)
        sender.send(rows_request(wine_rows(0)))
        assert next(replies).rows == 3
        try:
            server.start(server.server.drain()).result(timeout=10)
            assert replies.exception(timeout=10).code() == grpc.StatusCode.UNAVAILABLE
        finally:
            sender.send(None)


def test_a_stream_and_single_calls_go_side_by_side(channel):
    """Both are answered, each as it would be alone, on one connection."""
    stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
    streamed = [rows_request(wine_rows(n, 1 + n % 50), request_id=f"streamed {n}") for n in range(200)]
    single = [rows_request(wine_rows(n, 1 + n % 40), request_id=f"single {n}") for n in range(200)]
    replies = stub.PredictStream(iter(streamed), timeout=LONG)
    calls = [stub.Predict.future(message, timeout=LONG) for message in single]
    for sent, came in ((single, [call.result() for call in calls]), (streamed, list(replies))):
        assert [one.request_id for one in came] == [message.request_id for message in sent]
        for message, one in zip(sent[::20], came[::20], strict=True):
            alone = stub.Predict(message, timeout=LONG)
            np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-6)


def test_health_is_answered_while_a_stream_waits(serving_of, wine, held, accepted):
    """A stream that waits for its graph does not hold health, and goes on afterwards."""
    with (
        serving_of(wine.path, batch="on") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        held.shut()
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        replies = stub.PredictStream((rows_request(wine_rows(n)) for n in range(300)), timeout=LONG)
        assert accepted.reaches(1, LONG)
        assert held.began.wait(LONG)
        check = health_pb2.HealthCheckRequest()
        assert health_pb2_grpc.HealthStub(channel).Check(check, timeout=LONG).status == Status.SERVING
        held.set()
        assert sum(1 for _ in replies) == 300
