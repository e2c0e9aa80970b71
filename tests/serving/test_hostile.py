"""Hostile callers are refused as documented, while a good one is served all the time."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from pathlib import Path
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
from certificates import Authority
from hostile import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    STREAM,
    Connection,
    closed,
    flood,
    frame,
    headers,
    message,
    silent,
    text,
)
from servers import Process, wait_until

from serving import server
from serving.security.tokens_file import add
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

Code = grpc.StatusCode
FAST_END = ("--pause", "0", "--grace", "1")
PATIENCE = 5.0  # seconds that a good caller waits for an answer; two cores are shared with the tests


def request(rows=1):
    """A good request."""
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[rows, 4], data=np.zeros((rows, 4), "<f4").tobytes())
    return wire.PredictRequest(tensor=tensor)


class Service:
    """A real service with a good token and one that allows little."""

    def __init__(self, process: Process, good: str, little: str) -> None:
        self.address = process.address()
        self.good, self.little = self.bearer(good), self.bearer(little)
        (self._worker,) = process.workers()

    @staticmethod
    def bearer(token):
        """The metadata of a caller who has a token."""
        return [("authorization", f"Bearer {token}")]

    def memory(self):
        """MB that the worker has in memory."""
        status = Path(f"/proc/{self._worker}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @contextlib.contextmanager
    def served(self, channel=None, *, growth=30.0):
        """A good caller calls all the time, is always answered, and the memory comes back in the end."""
        before = self.memory()
        stop, answered, failures = threading.Event(), [], []

        def call():
            with channel or grpc.insecure_channel(self.address) as connection:
                stub = ordinal_pb2_grpc.OrdinalServiceStub(connection)
                while not stop.is_set():
                    try:
                        answered.append(stub.Predict(request(), metadata=self.good, timeout=PATIENCE).rows)
                    except grpc.RpcError as error:
                        failures.append(error)
                    stop.wait(0.005)

        thread = threading.Thread(target=call)
        thread.start()
        try:
            wait_until(lambda: len(answered) > 5 or failures)
            yield
            last = len(answered)
            wait_until(lambda: len(answered) > last + 5 or failures)
        finally:
            stop.set()
            thread.join()
        assert failures == []
        wait_until(lambda: self.memory() < before + growth)


def unfold(address):
    """Twenty times 10 KB of references to one long header, until the first of them is refused."""
    with Connection(address) as connection:
        # Literal with indexing: entry 62 of the table from then on, and 0xbe refers to it.
        block = headers() + b"\x40" + text("x") + text("y" * 3900) + b"\xbe" * 10_000
        for number in range(1, 41, 2):
            connection.send(frame(HEADERS, END_HEADERS, number, block))
        wait_until(
            lambda: (
                connection.ended.is_set() or connection.received["reset"] + connection.received["headers"]
            )
        )


@pytest.fixture(scope="module")
def service(wine, tmp_path_factory):
    """One worker, with tokens, over plain text on loopback."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    good, little = add(file, "good"), add(file, "little", requests_per_second=1000, concurrent=4)
    process = Process(wine.path, "--tokens", file, *FAST_END)
    try:
        made = Service(process, good, little)
        # What gRPC and malloc keep for good is there before anything is measured.
        flood(made.address, 20_000)
        before = made.memory()
        for _ in range(20):
            unfold(made.address)
        assert made.memory() < before + 300  # holes of some 50 to 150 MB; unfolded they would be 16 GB
        yield made
        process.popen.terminate()
        assert process.end() == 0
        # A line now and then, and none of gRPC, which would have one for each of what is refused.
        assert len(process.log) < 100
        assert [line for line in process.log if ".cc:" in line] == []
    finally:
        process.popen.kill()
        process.popen.wait()
        process.popen.stderr.close()


@pytest.mark.parametrize("name", ["no token", "good token", "streams"])
def test_streams_that_are_opened_and_dropped(service, name):
    """20,000 of them: gRPC refuses what is more than 1,000 at a time on a connection."""
    metadata = [] if name == "no token" else service.good
    path = {"path": STREAM} if name == "streams" else {}
    with service.served():
        back = flood(service.address, 20_000, metadata=metadata, **path)
    assert back["reset"] > 5000


def test_a_message_of_100_mb(service):
    """It is refused by its size; without a token it is not even read."""
    huge = bytes(100 * 2**20)
    with service.served(), grpc.insecure_channel(service.address) as channel:
        for method in (channel.unary_unary("/ordinal.v1.OrdinalService/Predict"),):
            for metadata, code in ((service.good, Code.RESOURCE_EXHAUSTED), ([], Code.UNAUTHENTICATED)):
                with pytest.raises(grpc.RpcError) as caught:
                    method(huge, metadata=metadata, timeout=30)
                assert caught.value.code() == code
        stream = channel.stream_stream("/ordinal.v1.OrdinalService/PredictStream")
        for metadata, code in ((service.good, Code.RESOURCE_EXHAUSTED), ([], Code.UNAUTHENTICATED)):
            with pytest.raises(grpc.RpcError) as caught:
                list(stream(iter([huge]), metadata=metadata, timeout=30))
            assert caught.value.code() == code


def bomb(kind):
    """Metadata that is larger than may be."""
    match kind:
        case "one large":
            return [("x", "y" * 17_000)]
        case "many small":
            return [(f"x{number}", "y") for number in range(2000)]
        case _:
            return [("authorization", f"Bearer {'y' * 17_000}")]


@pytest.mark.parametrize("kind", ["one large", "many small", "authorization"])
@pytest.mark.slow
def test_metadata_that_is_too_large(service, kind):
    """More than 16 KiB is refused by gRPC, a little less is answered, always."""
    with service.served(), grpc.insecure_channel(service.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        for _ in range(8):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request(), metadata=[*service.good, *bomb(kind)], timeout=10)
            assert caught.value.code() in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE)
            fits = [*service.good, ("x", "y" * 15_000)]
            assert stub.Predict(request(), metadata=fits, timeout=10).rows == 1


@pytest.mark.slow
def test_headers_that_never_end(service):
    """Frames that go on with headers of more than 16 KiB end the connection, at 64 MiB at the latest."""
    with service.served(), Connection(service.address) as connection:
        connection.send(frame(HEADERS, 0, 1, headers()))
        more = b"".join(b"\0" + text(f"x{number}") + text("y" * 1000) for number in range(15))
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 2**26 and not connection.ended.is_set():
                connection.send(frame(CONTINUATION, 0, 1, more))
                sent += len(more)
        assert connection.ended.wait(30) or connection.received["reset"] or connection.received["headers"]


def test_headers_that_unfold(service):
    """10 KB of references to one long header, which would be 40 MB, are refused."""
    with service.served():
        unfold(service.address)


def test_a_caller_that_does_not_read(service):
    """Its answers wait, and nothing else does; they go with its connection."""
    content = request(512).SerializeToString()
    before = service.memory()
    with service.served(), Connection(service.address, window=0) as connection:
        block = headers(metadata=service.good)
        for number in range(1, 400, 2):
            connection.ask(number, block, content)
        wait_until(lambda: connection.received["headers"] == 200)
        assert service.memory() < before + 100


def large():
    """A request of some 30 KB whose reply has 1.2 MB."""
    asked = request(1000)
    for number in range(100):
        cost = wire.CostMatrix(actions=["a", "b"], cost=[number, 1] * 5)
        asked.policies.add(name=str(number), cost=cost)
    return asked.SerializeToString()


def test_large_replies_that_nobody_takes(serving_of, wine):
    """Of one connection eight times the largest request may wait; more is refused, and others go on."""
    with (
        serving_of(wine.path, max_message_bytes=2**20) as running,
        grpc.insecure_channel(running.address) as channel,
        Connection(running.address, window=0) as connection,
    ):
        for number in range(1, 41, 2):
            connection.ask(number, headers(), large())
        wait_until(lambda: connection.received["headers"] == 20)
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        for _ in range(10):
            reply = stub.Predict(wire.PredictRequest.FromString(large()), timeout=10)
        assert connection.received["ended"] == 20 - 2**23 // reply.ByteSize()


@pytest.mark.slow
def test_a_caller_that_never_takes_large_replies(service):
    """What a worker holds for one connection has a bound, and it is the same each time."""
    peaks = []
    before = service.memory()
    with service.served(growth=400):
        for _ in range(3):
            with Connection(service.address, window=0) as connection:
                for number in range(1, 1001, 2):
                    connection.ask(number, headers(metadata=service.good), large())
                    # Not faster than they are answered, else the queue is what this is about.
                    wait_until(lambda seen=connection.received, n=number: seen["headers"] > n // 2 - 8)
                wait_until(lambda seen=connection.received: seen["headers"] == 500)
                peaks.append(service.memory() - before)
    assert max(peaks) < 500
    assert peaks[2] < 1.3 * peaks[0]


def test_a_stream_that_does_not_read(service):
    """It is read no further than 64 messages ahead, and its connection's window holds back the rest."""
    content = message(request(512).SerializeToString())
    content = frame(DATA, 0, 1, content)
    before = service.memory()
    with service.served(), Connection(service.address, window=0) as connection:
        connection.send(frame(HEADERS, END_HEADERS, 1, headers(STREAM, service.good)))
        with contextlib.suppress(OSError):
            for _ in range(7):  # 64 KiB are all that the service takes before it has read some
                connection.send(content)
        time.sleep(0.5)
        assert service.memory() < before + 100


def test_callers_that_send_slowly(service):
    """Messages that never end take the memory that was sent, and not what was announced."""
    before = service.memory()
    with service.served(), contextlib.ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(Connection(service.address))
            for number in range(1, 200, 2):
                connection.send(frame(HEADERS, END_HEADERS, number, headers(metadata=service.good)))
                connection.send(frame(DATA, 0, number, b"\0" + struct.pack(">I", 2**24 - 1) + b"x"))
            connection.settle()
        time.sleep(0.5)
        assert service.memory() < before + 200


def test_a_token_that_allows_little_holds_little(service):
    """Calls beyond its number are refused before their message is read."""
    with service.served(), Connection(service.address) as connection:
        for number in range(1, 41, 2):
            connection.send(frame(HEADERS, END_HEADERS, number, headers(metadata=service.little)))
        wait_until(lambda: connection.received["headers"] == 16)
        assert connection.received["reset"] == 16 or connection.settle()
        with grpc.insecure_channel(service.address) as channel:
            stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request(), metadata=service.little, timeout=10)
            assert caught.value.code() == Code.RESOURCE_EXHAUSTED


def test_calls_without_a_message(service):
    """They end with their connection at the latest, and hold nothing but their place in it."""
    with service.served(), Connection(service.address) as connection:
        for metadata in (service.good, service.little):
            for number in range(1, 41, 2):
                first = 0 if metadata is service.good else 40
                block = headers(metadata=metadata)
                connection.send(frame(HEADERS, END_HEADERS | END_STREAM, number + first, block))
        connection.settle()
    with grpc.insecure_channel(service.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        assert wait_until(lambda: stub.Predict(request(), metadata=service.little, timeout=10)).rows == 1


def test_pings_all_the_time(service):
    """More often than every 10 seconds, three of them between calls end the connection."""
    with service.served(), Connection(service.address) as connection:
        connection.send(frame(PING, 0, 0, bytes(8)) * 10)
        assert connection.ended.wait(10)
        assert connection.received["goaway"] == 1
    with service.served(), Connection(service.address) as connection, contextlib.suppress(OSError):
        for _ in range(20_000):
            connection.send(frame(PING, 0, 0, bytes(8)))


GARBAGE = {
    "noise": np.random.default_rng(0).bytes(10_000),
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a frame that is too large": PREFACE + frame(SETTINGS, 0, 0) + b"\xff\xff\xff" + bytes(6),
    "headers that are none": PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 4, 1, b"\xff" * 1000),
    "settings that are none": PREFACE + frame(SETTINGS, 0, 0, b"x" * 7),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_http2_ends_its_connection(service, name):
    """Its own, and no other."""
    with service.served(), silent(service.address, 20, GARBAGE[name]) as connections:
        assert all(closed(connection, 15) for connection in connections)


def test_connections_beyond_their_number(serving_of, wine, monkeypatch):
    """They are closed at once; those that are there stay, and one that ends makes room."""
    monkeypatch.setattr("serving.server._CONNECTIONS", 20)
    with serving_of(wine.path) as running, grpc.insecure_channel(running.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        assert stub.Predict(request(), timeout=10).rows == 1
        with silent(running.address, 40) as connections:
            time.sleep(0.2)
            assert sum(closed(connection, 0.01) for connection in connections) == 21
            assert stub.Predict(request(), timeout=10).rows == 1
        with grpc.insecure_channel(running.address, [("number", 1)]) as another:
            stub = ordinal_pb2_grpc.OrdinalServiceStub(another)
            assert stub.Predict(request(), timeout=10, wait_for_ready=True).rows == 1


def test_connections_whose_caller_is_gone(serving_of, wine, monkeypatch):
    """They are closed once a ping is not answered; those that answer stay."""
    quick = ("keepalive_time_ms", "keepalive_timeout_ms", "http2.ping_timeout_ms")
    bounds = dict(server._BOUNDS) | {f"grpc.{name}": 500 for name in quick}
    monkeypatch.setattr("serving.server._BOUNDS", tuple(bounds.items()))
    with serving_of(wine.path) as running, grpc.insecure_channel(running.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        assert stub.Predict(request(), timeout=10).rows == 1
        hello = PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)
        with Connection(running.address) as well, silent(running.address, 5, hello) as gone:
            assert all(closed(connection, 10) for connection in gone)
            assert not well.ended.is_set()
            assert well.settle()
        assert stub.Predict(request(), timeout=10).rows == 1


@pytest.mark.slow
def test_connections_that_say_nothing(service):
    """They are closed after 10 seconds, those that have only begun to speak as well."""
    with (
        service.served(),
        silent(service.address, 200) as mute,
        silent(service.address, 200, PREFACE[:10]) as begun,
    ):
        began = time.monotonic()
        assert all(closed(connection, 20) for connection in (*mute, *begun))
        assert 5 < time.monotonic() - began < 20


def test_callers_without_a_valid_token(service):
    """Thousands of calls are refused unread, whatever is sent."""
    with service.served(), grpc.insecure_channel(service.address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        for _ in range(5):
            calls = [
                stub.Predict.future(request(), metadata=Service.bearer(f"ordinal_{number}"), timeout=60)
                for number in range(400)
            ]
            assert {call.exception() and call.code() for call in calls} == {Code.UNAUTHENTICATED}


@pytest.fixture(scope="module")
def encrypted(wine, tmp_path_factory):
    """A service with mTLS, tokens and metrics; its CA and its URL."""
    folder = tmp_path_factory.mktemp("encrypted")
    authority = Authority()
    certificate, key = authority.issue().write(folder, "server")
    (folder / "ca.pem").write_bytes(authority.certificate)
    good, little = add(folder / "t.toml", "good", admin=True), add(folder / "t.toml", "little")
    options = ["--tls-certificate", certificate, "--tls-key", key, "--tokens", folder / "t.toml"]
    process = Process(
        wine.path, *options, "--tls-client-ca", folder / "ca.pem", "--metrics", ":0", *FAST_END
    )
    try:
        url = process.wait_for(r"metrics on (https://127\.0\.0\.1:\d+/metrics)$")[1]
        yield Service(process, good, little), authority, url, folder
        process.popen.terminate()
        assert process.end() == 0
    finally:
        process.popen.kill()
        process.popen.wait()
        process.popen.stderr.close()


def credentials(authority, client):
    """Of a caller with a certificate, or without."""
    key, chain = (client.key, client.certificate) if client else (None, None)
    return grpc.ssl_channel_credentials(authority.certificate, key, chain)


def test_callers_without_a_good_certificate(encrypted):
    """No certificate, one of another CA, one that has expired, plain text, noise: none is let in."""
    service, authority, _, _ = encrypted
    good = grpc.secure_channel(service.address, credentials(authority, authority.issue("client")))
    bad = {
        "none": None,
        "another CA": Authority("another").issue("client"),
        "expired": authority.issue("client", expired=True),
    }
    with service.served(good):
        for client in bad.values():
            for _ in range(5):
                with grpc.secure_channel(service.address, credentials(authority, client)) as channel:
                    stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
                    with pytest.raises(grpc.RpcError) as caught:
                        stub.Predict(request(), metadata=service.good, timeout=10)
                    assert caught.value.code() == Code.UNAVAILABLE
        with silent(service.address, 20, GARBAGE["noise"]) as connections:
            assert all(closed(connection, 15) for connection in connections)
        with silent(service.address, 20, PREFACE) as connections:
            assert all(closed(connection, 15) for connection in connections)


def test_the_metrics_are_told_while_others_say_nothing(encrypted, tmp_path):
    """More connections than there may be do not hold up the service; those that are cut off make room."""
    import ssl

    service, authority, url, _ = encrypted
    certificate, key = authority.issue("prometheus").write(tmp_path, "client")
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(certificate, key)
    address = url.removeprefix("https://").removesuffix("/metrics")
    asked = Request(url, headers={"Authorization": service.good[0][1]})

    def scraped():
        with contextlib.suppress(OSError), urlopen(asked, timeout=10, context=context) as answer:
            return answer.read().decode()
        return ""

    with silent(address, 20):
        assert "ordinal_workers" in scraped()
    with silent(address, 100) as connections:
        assert sum(closed(connection, 0.2) for connection in connections[40:50]) == 10
    wait_until(lambda: "ordinal_workers" in scraped())


@pytest.mark.slow
def test_nothing_secret_is_in_the_log(encrypted, wine, process, tmp_path):
    """Neither tokens nor their hashes nor keys, whatever callers send, in text and as JSON."""
    authority = encrypted[1]
    certificate, key = authority.issue().write(tmp_path, "server")
    file = tmp_path / "tokens.toml"
    good, admin = add(file, "good"), add(file, "operator", admin=True)
    secrets = [good, admin, "ordinal_wrong"]
    secrets += key.read_text().splitlines()[1:-1]
    secrets += [line.split('"')[1] for line in file.read_text().splitlines() if line.startswith("sha256")]
    for form in ("text", "json"):
        options = ["--tls-certificate", certificate, "--tls-key", key, "--tokens", file, "--metrics", ":0"]
        service = process(wine.path, *options, "--log-format", form, *FAST_END)
        url = service.wait_for(r"metrics on (https://127\.0\.0\.1:\d+/metrics)")[1]
        channel = grpc.secure_channel(
            service.address(), grpc.ssl_channel_credentials(authority.certificate)
        )
        with channel:
            stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
            for token in (good, "ordinal_wrong", admin):
                for message_ in (request(), wire.PredictRequest(request_id=f"Bearer {good[:5]}")):
                    with contextlib.suppress(grpc.RpcError):
                        stub.Predict(message_, metadata=Service.bearer(token), timeout=10)
                    with contextlib.suppress(grpc.RpcError):
                        list(
                            stub.PredictStream(iter([message_]), metadata=Service.bearer(token), timeout=10)
                        )
            with contextlib.suppress(OSError):
                urlopen(Request(url, headers={"Authorization": f"Bearer {good}"}), timeout=10)
            file.write_text(f"{file.read_text()}\nbroken {good}\n")
            service.wait_for("must be TOML, and is not")
            add_again = file.read_text().partition("\nbroken")[0]
            file.write_text(add_again)
        service.popen.terminate()
        assert service.end() == 0
        log = "".join(service.log)
        assert "refused" in log
        assert not [secret for secret in secrets if secret in log]
