"""The client's connections: several, spread, and calls that survive what happens to servers."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.aio import AsyncClient
from serving.client import Client
from serving.errors import Exhausted, OrdinalError, Unavailable

from .bare import refuse, served_by

pytestmark = pytest.mark.slow  # real processes, and seconds of load

ROWS = np.random.default_rng(12).uniform(-1, 1, (2, 4)).astype(np.float32)


def connected(address):
    """How many connections there are to an address of this machine, as the kernel has it."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    lines = "".join(Path("/proc/net", name).read_text() for name in ("tcp", "tcp6")).splitlines()
    sockets = [line.split() for line in lines]
    return sum(remote.endswith(port) and state == "01" for _, _, remote, state, *_ in sockets)


@pytest.fixture
def alone(serving_of, wine):
    """The address of a server that nobody else asks."""
    with serving_of(wine.path) as server:
        yield server.address


def test_connections_are_opened_as_needed(alone):
    """The first calls open one each, up to as many as were asked for, and closing ends all."""
    with Client(alone, connections=3) as client:
        assert connected(alone) == 0
        for calls in (1, 2, 3, 3, 3):
            client.model()
            assert connected(alone) == calls
    until = time.monotonic() + 5
    while connected(alone):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("count", "given"), [(4, {}), (1, {"connections": 1}), (6, {"connections": 6})])
def test_connections_are_used_in_turn(count, given):
    """A server sees as many peers, one after the other and then again; four unless told otherwise."""
    peers = []

    def answer(context):
        peers.append(context.peer())
        return b""

    with served_by(answer) as address, Client(address, **given) as client:
        for _ in range(3 * count):
            client.models()
    assert len(set(peers)) == count
    assert peers == peers[:count] * 3


def test_clients_share_no_connection():
    """Two clients in one process are two callers."""
    peers = set()

    def answer(context):
        peers.add(context.peer())
        return b""

    with served_by(answer) as address, Client(address) as one, Client(address) as other:
        for client in (one, other) * 8:
            client.models()
    assert len(peers) == 8


def test_threads_share_a_client(alone, wine):
    """Many calls at once are each answered, over no more connections than asked for."""
    expected = wine.probabilities(ROWS)
    with Client(alone, connections=2) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.predict(ROWS), range(200)))
        assert connected(alone) == 2
    for answer in answers:
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("count", [0, -1])
def test_there_is_at_least_one(count):
    """None at all is refused."""
    with pytest.raises(ValueError, match=f"^connections must be at least 1, got {count}$"):
        Client("127.0.0.1:1", connections=count)


def test_a_closed_client_opens_none(running):
    """Calls after closing say so; closing twice does no harm."""
    client = Client(running.address)
    client.model("wine")
    client.close()
    client.close()
    for _ in range(4):
        with pytest.raises(ValueError, match=f"the client of {running.address} is closed"):
            client.model("wine")


@pytest.mark.parametrize("address", ["{}", "localhost:{port}", "dns:///127.0.0.1:{port}", "ipv4:{}"])
def test_any_target_of_grpc_is_an_address(running, monkeypatch, address):
    """Also by name; whatever proxy the environment names, this machine is called directly."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    target = address.format(running.address, port=running.server.port)
    with Client(target, retry=False) as client:
        np.testing.assert_array_equal(client.predict(ROWS, "wine").rows, 2)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("ipv6:[::1]:1", True),
        ("dns:///localhost:1", True),
        ("unix:/run/service", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("10.0.0.1:1", False),
        ("dns://127.0.0.1/replicas:1", False),
    ],
)
def test_which_targets_are_this_machine(address, here):
    """Of several addresses all must be."""
    from serving.access import on_this_machine

    assert on_this_machine(address) == here


def test_nobody_is_asked_for_some_seconds():
    """Five attempts take 3 to 5 s, and a shorter timeout ends them."""
    began = time.monotonic()
    with Client("127.0.0.1:1") as client:
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1:1: .*refused"):
            client.model(timeout=20)
        assert 3 < time.monotonic() - began < 6
        with pytest.raises(OrdinalError, match="DEADLINE_EXCEEDED"):
            client.model(timeout=0.3)


@contextlib.contextmanager
def loaded_soon(serving_of, *models):
    """A server that loads its models only when others have been waiting for a while."""
    with serving_of() as server:
        loading = threading.Timer(0.5, lambda: server.do(server.server.load([str(one) for one in models])))
        loading.start()
        try:
            yield server
        finally:
            loading.join()


@pytest.mark.parametrize("rows", [1, 100_000])
def test_a_call_waits_for_a_service_that_loads(serving_of, wine, rows):
    """UNAVAILABLE is no answer, however large the request is: it is made again."""
    with loaded_soon(serving_of, wine.path) as server, Client(server.address) as client:
        asked = np.ones((rows, 4), np.float32)
        assert client.predict(asked, outputs=["expected_value"]).rows == rows


def test_a_call_of_the_asynchronous_client_waits_too(serving_of, wine):
    """It has the same retries; without them it ends at once."""

    async def ask(address, **more):
        async with AsyncClient(address, **more) as client:
            return await client.predict(ROWS)

    with loaded_soon(serving_of, wine.path) as server:
        with pytest.raises(Unavailable, match="the service is loading its models"):
            asyncio.run(ask(server.address, retry=False))
        assert asyncio.run(ask(server.address)).rows == 2


def test_a_stream_is_not_made_again(serving_of, wine):
    """GRPC would lose messages of it: it ends at once, and the next one gets an answer to every batch."""
    batches = [np.full((1, 4), number, np.float32) for number in range(20)]
    with loaded_soon(serving_of, wine.path) as server, Client(server.address) as client:
        with pytest.raises(Unavailable, match="the service is loading its models"):
            next(client.predict_stream(batches))
        client.model()  # which waits
        answers = list(client.predict_stream(batches))
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer.probabilities, wine.probabilities(batch), atol=1e-5)


def test_streams_are_spread_too(alone):
    """Each takes its turn among as many connections."""
    with Client(alone, connections=2) as client:
        for streams in (1, 2, 2):
            list(client.predict_stream([ROWS]))
            assert connected(alone) == streams


def test_without_retries_a_call_ends_at_once(serving_of, wine):
    """Whoever wants to know the state of a service is told it."""
    with (
        loaded_soon(serving_of, wine.path) as server,
        Client(server.address, retry=False) as client,
        pytest.raises(Unavailable, match="the service is loading its models"),
    ):
        client.model()


def test_exhausted_says_when_there_may_be_room():
    """RESOURCE_EXHAUSTED with RetryInfo is Exhausted; without it, it is nobody's queue that was full."""

    def answer(context):
        return refuse(context, *told)

    told = [250]
    with served_by(answer) as address, Client(address, retry=False) as client:
        with pytest.raises(Exhausted, match=r"^RESOURCE_EXHAUSTED: full$") as caught:
            client.models()
        assert caught.value.retry_after == 0.25
        told[0] = None
        with pytest.raises(OrdinalError, match=r"^RESOURCE_EXHAUSTED: full$") as caught:
            client.models()
        assert type(caught.value) is OrdinalError


class Load:
    """Threads that call without a pause, and count which of two models has answered."""

    def __init__(self, client, *made):
        self.counts = [0] * len(made)
        self.failures = []
        self._expected = [one.probabilities(ROWS) for one in made]
        self._client = client
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, which, calls=20):
        """Wait until a model has answered some more calls."""
        wanted = self.counts[which] + calls
        until = time.monotonic() + 15
        while self.counts[which] < wanted:
            assert time.monotonic() < until, (self.counts, self.failures[:3])
            time.sleep(0.01)

    def _run(self):
        while not self._ended.is_set():
            try:
                got = self._client.predict(ROWS).probabilities
            except Exception as error:  # noqa: BLE001 - told by the test's own thread
                self.failures.append(error)
                continue
            near = [np.allclose(got, expected, atol=1e-4) for expected in self._expected]
            self.counts[near.index(True)] += 1


@pytest.mark.parametrize("end", ["kill", pytest.param("terminate", marks=pytest.mark.slow)])
def test_a_replica_may_go_and_come_back(process, make, tmp_path, end):
    """Of two addresses both answer; when one server dies, no call is lost, and it is used again later."""
    made = [make(tmp_path / f"{seed}.onnx", seed=seed) for seed in (1, 2)]
    first, second = (process(one.path, "--pause", "0.1") for one in made)
    addresses = [first.address(), second.address()]
    with Client(f"ipv4:{','.join(addresses)}") as client, Load(client, *made) as load:
        load.wait_for(0)
        load.wait_for(1)
        getattr(first.popen, end)()
        first.end()
        load.wait_for(1, 200)
        again = process(made[0].path, "--port", addresses[0].rpartition(":")[2])
        assert again.address() == addresses[0]
        load.wait_for(0)
    assert load.failures == []


@pytest.mark.slow
def test_a_restart_is_survived(process, wine):
    """A call to the only server, made while it is gone, is answered by its successor."""
    service = process(wine.path)
    address = service.address()
    with Client(address) as client, Load(client, wine) as load:
        load.wait_for(0)
        service.popen.kill()
        service.end()
        again = process(wine.path, "--port", address.rpartition(":")[2])
        assert again.address() == address
        load.wait_for(0)
    assert load.failures == []
