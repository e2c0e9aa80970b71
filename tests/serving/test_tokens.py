"""Who may call a service with tokens, what, and how often."""

import logging
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from servers import wait_until

from serving.errors import SettingError
from serving.metrics import Metrics
from serving.security import Security
from serving.security.tokens_file import add
from serving.settings import Settings
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

Code = grpc.StatusCode
SEND = "this service needs a token: send it once, as metadata `authorization: Bearer TOKEN`"
INFERENCE = "/inference.GRPCInferenceService"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of tokens, which is looked at ten times a second."""
    monkeypatch.setattr("serving.security._LOOK", 0.1)
    return tmp_path / "tokens.toml"


def bearer(token):
    """The metadata of a caller who has a token."""
    return [("authorization", f"Bearer {token}")]


def request(rows=1):
    """A good request."""
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[rows, 4], data=np.zeros((rows, 4), "<f4").tobytes())
    return wire.PredictRequest(tensor=tensor)


def asked(channel, metadata=None, method="Predict", message=None):
    """The error of a call, None where it is answered."""
    call = getattr(ordinal_pb2_grpc.OrdinalServiceStub(channel), method)
    try:
        call(message or request(), metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return error
    return None


def raw(channel, method, metadata=None, message=b""):
    """The status of a call of any method, None where it is answered."""
    try:
        channel.unary_unary(method)(message, metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return error.code()
    return None


def delay(error):
    """The seconds after which a call may be made again, as both places say."""
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    detail = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(detail)
    milliseconds = detail.retry_delay.ToMilliseconds()
    assert trailing["grpc-retry-pushback-ms"] == str(milliseconds)
    return milliseconds / 1000


REFUSED = {
    "none": [],
    "another": bearer("ordinal_another"),
    "empty": bearer(""),
    "another scheme": [("authorization", "Basic GOOD")],
    "no scheme": [("authorization", "GOOD")],
    "two blanks": [("authorization", "Bearer  GOOD")],
    "a comma": [("authorization", "Bearer GOOD,x")],
    "more": bearer("GOODx"),
    "less": bearer("GOO"),
    "long": bearer("GOOD" * 80),
    "twice": bearer("GOOD") * 2,
    "good and another": bearer("GOOD") + bearer("another"),
    "another and good": bearer("another") + bearer("GOOD"),
    "another key": [("token", "GOOD")],
    "binary": [("authorization-bin", b"Bearer GOOD")],
}


@pytest.mark.parametrize("name", REFUSED)
def test_without_a_valid_token_calls_are_refused(serving_of, wine, file, name):
    """The message says what must be sent, and nothing of what was; with the token they are answered."""
    good = add(file, "mobile")
    metadata = [
        (
            key,
            value.replace(b"GOOD", good.encode())
            if isinstance(value, bytes)
            else value.replace("GOOD", good),
        )
        for key, value in REFUSED[name]
    ]
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        error = asked(channel, metadata)
        assert (error.code(), error.details()) == (Code.UNAUTHENTICATED, SEND)
        assert asked(channel, bearer(good)) is None
        assert asked(channel, [("authorization", f"bearer {good}")]) is None


def test_what_needs_which_token(serving_of, wine, file):
    """Probes need none, reflection one that administers, all else any, also methods that are not there."""
    good, admin = bearer(add(file, "mobile")), bearer(add(file, "operator", admin=True))
    health = health_pb2.HealthCheckRequest()
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health, timeout=10).status == health_pb2.HealthCheckResponse.SERVING
        assert next(stub.Watch(health, timeout=10)).status == health_pb2.HealthCheckResponse.SERVING
        for method in ("ServerLive", "ServerReady"):
            assert raw(channel, f"{INFERENCE}/{method}") is None
        for method in (
            *(f"{INFERENCE}/{name}" for name in ("ModelReady", "ServerMetadata", "ModelInfer", "None")),
            *(f"/ordinal.v1.OrdinalService/{name}" for name in ("GetModel", "ListModels", "RecordOutcome")),
            "/ordinal.v1.OrdinalService/PredictStream",
            "/no.such.Service/Method",
            "/grpc.health.v2.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            assert raw(channel, method) == Code.UNAUTHENTICATED, method
        for token in (good, admin):
            assert raw(channel, "/no.such.Service/Method", token) == Code.UNIMPLEMENTED
            assert raw(channel, f"{INFERENCE}/ServerMetadata", token) is None
            assert raw(channel, "/ordinal.v1.OrdinalService/RecordOutcome", token) == Code.UNIMPLEMENTED
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(grpc.RpcError) as caught:
            next(reflect(iter([listing]), metadata=good, timeout=10))
        assert caught.value.code() == Code.PERMISSION_DENIED
        assert caught.value.details() == "this method administers: it needs a token with `admin = true`"
        answer = next(reflect(iter([listing]), metadata=admin, timeout=10))
        assert len(answer.list_services_response.service) == 4


def test_reflection_can_be_turned_off(serving_of, wine, file):
    """Nobody gets it then, with or without tokens."""
    admin = bearer(add(file, "operator", admin=True))
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    for settings, metadata in (({}, None), ({"tokens": str(file)}, admin)):
        with (
            serving_of(wine.path, reflection=False, **settings) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                next(stub.ServerReflectionInfo(iter([listing]), metadata=metadata, timeout=10))
            assert caught.value.code() == Code.UNIMPLEMENTED


def test_refusals_are_counted_and_told_now_and_then(serving_of, wine, file, caplog):
    """By method and status, for methods that there are; the log has a line, and not one for each."""
    caplog.set_level(logging.INFO)
    add(file, "mobile")
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        for _ in range(5):
            assert asked(channel).code() == Code.UNAUTHENTICATED
            assert raw(channel, "/no.such.Service/Method") == Code.UNAUTHENTICATED
        counted = {tuple(labels): n for name, labels, n in server.server.telemetry.take().counters}
    assert counted == {("Predict", "UNAUTHENTICATED"): 5}
    assert caplog.text.count("refused, since they had no valid token") == 1


def test_requests_beyond_their_number_are_told_when_to_come_again(serving_of, wine, file):
    """RESOURCE_EXHAUSTED, with RetryInfo; after that time there is room, and others were never held up."""
    few, many = bearer(add(file, "few", requests_per_second=4)), bearer(add(file, "many"))
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        answers = [asked(channel, few) for _ in range(6)]
        assert answers[:4] == [None] * 4
        refused = next(answer for answer in answers if answer is not None)
        assert refused.code() == Code.RESOURCE_EXHAUSTED
        assert refused.details() == "this token allows 4 requests a second to each worker"
        assert asked(channel, many) is None
        seconds = delay(refused)
        assert 0 < seconds <= 0.25
        time.sleep(seconds + 0.01)
        assert asked(channel, few) is None


def test_calls_at_a_time_are_limited(serving_of, make, file, tmp_path):
    """Beyond them RESOURCE_EXHAUSTED; one that ends, also by its caller's leaving, makes room."""
    made = make(tmp_path / "slow.onnx", slow=True)
    token = bearer(add(file, "few", concurrent=2))
    rows = np.array([[60_000, 0, 0, 0]], "<f4")
    slow = wire.PredictRequest(tensor=wire.Tensor(dtype=wire.FLOAT32, shape=[1, 4], data=rows.tobytes()))
    with (
        serving_of(made.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        first, second = (stub.Predict.future(slow, metadata=token, timeout=30) for _ in range(2))
        wait_until(lambda: server.server.telemetry.under_way == 2)
        refused = asked(channel, token)
        assert refused.code() == Code.RESOURCE_EXHAUSTED
        assert refused.details().startswith("this token allows 2 calls at a time to each worker")
        assert delay(refused) == 0.1
        first.cancel()
        wait_until(lambda: asked(channel, token, "GetModel", wire.GetModelRequest()) is None)
        assert second.result().rows == 1
        assert all(asked(channel, token) is None for _ in range(20))


def test_a_stream_is_read_as_fast_as_its_token_allows(serving_of, wine, file):
    """What it sends too fast is answered later, none of it refused, and other streams are not held up."""
    slow, fast = bearer(add(file, "slow", requests_per_second=10)), bearer(add(file, "fast", concurrent=1))
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stream = ordinal_pb2_grpc.OrdinalServiceStub(channel).PredictStream
        began = time.monotonic()
        assert len(list(stream(iter([request()] * 16), metadata=slow, timeout=30))) == 16
        assert 0.5 < time.monotonic() - began < 5
        began = time.monotonic()
        assert len(list(stream(iter([request()] * 500), metadata=fast, timeout=30))) == 500
        assert time.monotonic() - began < 5


def test_a_token_that_is_gone_ends_its_streams(serving_of, wine, file):
    """At their next message; calls are refused, and the token in its place is good."""
    old = add(file, "mobile")
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):

        def messages():
            yield request()
            new.append(add(file, "mobile", replace=True))
            wait_until(lambda: asked(channel, bearer(old)) is not None)
            yield request()
            yield request()

        new = []
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        answers = stub.PredictStream(messages(), metadata=bearer(old), timeout=30)
        assert next(answers).rows == 1
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() == Code.UNAUTHENTICATED
        assert caught.value.details().startswith("the token of this stream is valid no longer")
        assert asked(channel, bearer(new[0])) is None


def test_reflection_ends_with_its_token(serving_of, wine, file):
    """As other streams do."""
    old = add(file, "operator", admin=True)
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):

        def messages():
            yield listing
            add(file, "operator", replace=True)
            wait_until(lambda: asked(channel, bearer(old)) is not None)
            yield listing

        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(messages(), metadata=bearer(old), timeout=30)
        assert next(answers).HasField("list_services_response")
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() == Code.UNAUTHENTICATED


def test_a_drain_ends_streams_with_tokens_in_peace(serving_of, wine, file):
    """Also one that waits for its turn."""
    token = bearer(add(file, "slow", requests_per_second=1))
    with (
        serving_of(wine.path, tokens=str(file)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        answers = stub.PredictStream(iter([request()] * 9), metadata=token, timeout=30)
        assert next(answers).rows == 1
        server.do(server.server.drain())
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
        assert caught.value.code() == Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"host": "0.0.0.0"}, "--host is 0.0.0.0"),
        ({"host": "::"}, "--host is ::"),
        ({"host": "203.0.113.7"}, "--host is 203.0.113.7"),
        ({"metrics": "0.0.0.0:9464"}, "--metrics is 0.0.0.0"),
    ],
)
def test_tokens_over_plain_text_are_refused_off_loopback(file, settings, option):
    """The sentence says what to do; on loopback they are good."""
    add(file, "mobile")
    with pytest.raises(SettingError, match=option) as caught:
        Security(Settings(tokens=str(file), **settings))
    assert "encrypt with --tls-certificate and --tls-key, or listen on 127.0.0.1" in str(caught.value)
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        Security(Settings(tokens=str(file), host=host, metrics=":9464"))


def test_the_command_refuses_them_too(command, wine, file):
    """With exit status 2 and one sentence, before anything is loaded."""
    add(file, "mobile")
    ended = command("serve", wine.path, "--port", "0", "--host", "0.0.0.0", "--tokens", file)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "tokens must not go over a network as plain text" in ended.stderr


def scraped(url, token=None, scheme="Bearer"):
    """The HTTP status and the text of the metrics' endpoint."""
    headers = {"Authorization": f"{scheme} {token}"} if token else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_metrics_need_a_token_that_administers(file):
    """401 without a valid one, 403 with another; none of them tells what came."""
    from serving.endpoint import Endpoint

    good, admin = add(file, "mobile"), add(file, "operator", admin=True)
    endpoint = Endpoint("127.0.0.1", 0, Metrics(), Security(Settings(tokens=str(file))))
    try:
        for token, scheme in ((None, ""), ("another", "Bearer"), (admin, "Basic"), (admin + "x", "Bearer")):
            status, said = scraped(endpoint.url, token, scheme)
            assert status == 401
            assert (
                said == "the metrics need a token with `admin = true`: send Authorization: Bearer TOKEN\n"
            )
        assert scraped(endpoint.url, good)[0] == 403
        status, said = scraped(endpoint.url, admin)
        assert status == 200
        assert "ordinal_workers" in said
    finally:
        endpoint.close()
