"""What callers without a token can do to a service with tokens: little, whatever they send."""

import logging
import struct
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hostile import DATA, END_HEADERS, END_STREAM, HEADERS, Connection, frame, headers, message
from servers import wait_until

from serving.security import open_methods
from serving.security.tokens_file import add

Code = grpc.StatusCode
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
LIVE, READY = (f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady"))
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVING = health_pb2.HealthCheckResponse.SERVING
BAD = b"\xff\xff\xff"


@pytest.fixture
def closed(serving_of, wine, tmp_path):
    """A server with tokens, in this process; `admin` is the metadata of one that administers."""
    token = add(tmp_path / "tokens.toml", "operator", admin=True)
    with serving_of(wine.path, tokens=str(tmp_path / "tokens.toml")) as server:
        server.admin = [("authorization", f"Bearer {token}")]
        yield server


def counters(server):
    """What a server has counted of calls and refusals."""
    return {tuple(labels): number for _, labels, number in server.server.telemetry.take().counters}


def check(channel, timeout=10.0):
    """The status that a probe gets."""
    return (
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout).status
    )


@pytest.mark.parametrize("path", [CHECK, LIVE, WATCH])
def test_messages_that_never_come_are_not_waited_for(closed, path):
    """Of more than may take long the ones that take longest are cut off before, and all are in the end."""
    head = b"\0" + struct.pack(">I", 2**24 - 1) + b"x"
    most = open_methods._READING
    with grpc.insecure_channel(closed.address) as channel, Connection(closed.address) as connection:
        assert check(channel) == SERVING
        began = time.monotonic()
        for number in range(1, 6 * most, 2):
            block = headers(path)
            connection.send(frame(HEADERS, END_HEADERS, number, block) + frame(DATA, 0, number, head))
        for _ in range(20):
            assert check(channel, timeout=1) == SERVING
        wait_until(lambda: connection.received["ended"] >= 2 * most)
        assert open_methods._MANY <= time.monotonic() - began < open_methods._SECONDS
        for _ in range(20):
            assert check(channel, timeout=1) == SERVING
        wait_until(lambda: connection.received["ended"] == 3 * most)
        assert time.monotonic() - began < 3 * open_methods._SECONDS
    if path == LIVE:
        assert counters(closed) == {
            ("ServerLive", "RESOURCE_EXHAUSTED"): 3 * most,
            ("", "token_limit"): 3 * most,
        }


def test_probes_at_once_are_all_answered(closed):
    """Their messages come with them, so that many more than are read at a time can call."""
    with grpc.insecure_channel(closed.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            calls = [stub.Check.future(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(500)]
            assert {call.result().status for call in calls} == {SERVING}


def test_messages_that_come_a_little_later_are_read(closed):
    """More than may take long, all of them under way before the first of their messages has come."""
    many = range(1, 6 * open_methods._READING, 2)
    with Connection(closed.address) as connection:
        connection.send(b"".join(frame(HEADERS, END_HEADERS, number, headers(CHECK)) for number in many))
        connection.settle()
        time.sleep(0.02)
        connection.send(b"".join(frame(DATA, END_STREAM, number, message(b"")) for number in many))
        wait_until(lambda: connection.received["ended"] == len(many))
        assert connection.received["data"] == len(many)


def test_watches_at_a_time_are_limited(closed, monkeypatch):
    """One more is refused, and has room when another has left."""
    monkeypatch.setattr("serving.security.open_methods._WATCHING", 3)
    with grpc.insecure_channel(closed.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        request = health_pb2.HealthCheckRequest()
        watches = [watch(request, timeout=30) for _ in range(3)]
        assert [next(one).status for one in watches] == [SERVING] * 3
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(request, timeout=10))
        assert caught.value.code() == Code.RESOURCE_EXHAUSTED
        assert caught.value.details().startswith("each worker has 3 watches of health at a time")
        assert check(channel) == SERVING
        watches[0].cancel()

        def again():
            try:
                return next(watch(request, timeout=10)).status
            except grpc.RpcError:
                return None

        assert wait_until(again) == SERVING


def statuses(server, metadata):
    """How calls end that send what is no message, by their methods."""
    with grpc.insecure_channel(server.address) as channel:
        for path in (CHECK, LIVE, READY):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path)(BAD, timeout=10)
            yield path, caught.value.code()
        with pytest.raises(grpc.RpcError) as caught:
            next(channel.unary_stream(WATCH)(BAD, timeout=10))
        yield WATCH, caught.value.code()
        listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        answers = channel.stream_stream(REFLECTION)(iter([listing, BAD]), metadata=metadata, timeout=10)
        assert next(answers)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        yield REFLECTION, caught.value.code()


def test_what_is_no_message_is_refused_without_a_line_in_the_log(closed, serving_of, wine, caplog):
    """By health, reflection and the inference protocol's probes, with tokens and without."""
    caplog.set_level(logging.INFO)
    with serving_of(wine.path) as open_:
        caplog.clear()
        for server, metadata in ((closed, closed.admin), (open_, None)):
            found = dict(statuses(server, metadata))
            assert found == dict.fromkeys((CHECK, LIVE, READY, WATCH, REFLECTION), Code.INVALID_ARGUMENT)
    assert caplog.text == ""


@pytest.mark.parametrize("path", [CHECK, LIVE, WATCH])
def test_a_call_without_any_message_is_refused(closed, path):
    """At once, as one that is wrong."""
    with Connection(closed.address) as connection:
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, headers(path)))
        wait_until(lambda: connection.received["ended"] == 1)
    if path == LIVE:
        assert counters(closed) == {("ServerLive", "INVALID_ARGUMENT"): 1}


def test_names_of_health_are_short(closed):
    """A watch keeps its name for as long as it lasts."""
    request = health_pb2.HealthCheckRequest(service="x" * 5000)
    with grpc.insecure_channel(closed.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for call in (
            lambda: stub.Check(request, timeout=10),
            lambda: next(stub.Watch(request, timeout=10)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() == Code.INVALID_ARGUMENT
            assert "must have at most 4096 bytes, got 5003" in caught.value.details()


def test_reflection_answers_what_it_does_not_know(closed):
    """With its own error, on a stream that goes on."""
    requests = [
        reflection_pb2.ServerReflectionRequest(file_by_filename="no.proto"),
        reflection_pb2.ServerReflectionRequest(),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    with grpc.insecure_channel(closed.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        replies = list(stub.ServerReflectionInfo(iter(requests), metadata=closed.admin, timeout=10))
    kinds = [reply.WhichOneof("message_response") for reply in replies]
    assert kinds == ["error_response", "error_response", "file_descriptor_response"]
