"""When calls are made again that the service has no room for, and which are not."""

import asyncio
import time

import numpy as np
import pytest

from serving.aio import AsyncClient
from serving.client import Client
from serving.errors import Exhausted, InvalidRequest, OrdinalError

from .bare import refuse, served_by

BUSY = np.full((1, 4), 0.0, np.float32)


def by_client(address, timeout=10.0, **more):
    """Ask for the models, and wait."""
    with Client(address, **more) as client:
        return client.models(timeout)


def by_async_client(address, timeout=10.0, **more):
    """The same on an event loop."""

    async def ask():
        async with AsyncClient(address, **more) as client:
            return await client.models(timeout)

    return asyncio.run(ask())


@pytest.fixture(params=[by_client, by_async_client])
def ask(request):
    """How a client of either kind asks for models."""
    return request.param


class Full:
    """Refuses the first calls, and notes when each came."""

    def __init__(self, refusals, milliseconds):
        self.moments = []
        self._refusals = refusals
        self._milliseconds = milliseconds

    def __call__(self, context):
        """Answer a call, or refuse it."""
        self.moments.append(time.monotonic())
        if len(self.moments) <= self._refusals:
            return refuse(context, self._milliseconds)
        return b""

    @property
    def waits(self):
        """Seconds between calls."""
        return np.diff(self.moments).tolist()


def test_a_refused_call_is_made_again_when_there_may_be_room(ask):
    """After the time that the service has told, and after another refusal twice and four times as long."""
    full = Full(3, 50)
    with served_by(full) as address:
        assert ask(address) == []
    for wait, told in zip(full.waits, (0.05, 0.1, 0.2), strict=True):
        assert told <= wait < 1.2 * told + 0.1


def test_it_is_made_eight_times(ask):
    """Then the last refusal is raised, with the time that it told."""
    full = Full(99, 1)
    with served_by(full) as address, pytest.raises(Exhausted, match=r"EXHAUSTED: full$") as caught:
        ask(address)
    assert caught.value.retry_after == 0.001
    assert len(full.moments) == 8


def test_nobody_waits_beyond_the_timeout(ask):
    """Where there may be room only after its end, the refusal is raised at once."""
    full = Full(99, 700)
    began = time.monotonic()
    with served_by(full) as address, pytest.raises(Exhausted):
        ask(address, timeout=0.6)
    assert time.monotonic() - began < 0.6
    assert len(full.moments) == 1


def test_the_timeout_is_for_all_attempts_together(ask):
    """Each next one has what is left of it."""
    full = Full(99, 100)
    began = time.monotonic()
    with served_by(full) as address, pytest.raises(Exhausted):
        ask(address, timeout=0.5)
    assert time.monotonic() - began < 0.6
    assert len(full.moments) == 3  # 0.1 and 0.2 s fit, 0.4 s more do not


def test_without_retries_it_is_raised_at_once(ask):
    """By `retry=False`."""
    full = Full(99, 1)
    with served_by(full) as address, pytest.raises(Exhausted):
        ask(address, retry=False)
    assert len(full.moments) == 1


def test_what_names_no_time_is_not_made_again(ask):
    """RESOURCE_EXHAUSTED is then no matter of time: nobody's queue was full."""
    full = Full(99, None)
    with served_by(full) as address, pytest.raises(OrdinalError, match=r"EXHAUSTED: full$") as caught:
        ask(address)
    assert type(caught.value) is OrdinalError
    assert len(full.moments) == 1


def too_large(address):
    """Send 4 MB to a service that takes 1 MB, and wait."""
    with Client(address) as client:
        client.predict(np.zeros((250_000, 4), np.float32), timeout=20)


def too_large_async(address):
    """The same on an event loop."""

    async def ask():
        async with AsyncClient(address) as client:
            await client.predict(np.zeros((250_000, 4), np.float32), timeout=20)

    asyncio.run(ask())


@pytest.mark.parametrize("send", [too_large, too_large_async])
def test_a_request_that_is_too_large_is_told_its_size_and_the_limit(serving_of, wine, send):
    """At once: it would be no smaller the second time."""
    began = time.monotonic()
    with (
        serving_of(wine.path, max_message_bytes=1_000_000) as server,
        pytest.raises(
            InvalidRequest, match=r"may have 1,000,000 bytes, this one has 4,000,0\d\d; send fewer"
        ),
    ):
        send(server.address)
    assert time.monotonic() - began < 2.5


@pytest.mark.slow
def test_a_service_that_is_full_answers_all_in_the_end(serving_of, make, tmp_path):
    """A queue of two and many callers: who is refused comes again, and each gets its answer."""
    made = make(tmp_path / "slow.onnx", slow=True)
    rows = np.array([[1500.0, 0, 0, 0]], np.float32)  # some milliseconds of work
    told = {"max_queue": 2, "batch": "off"}
    with serving_of(made.path, **told) as server, Client(server.address, retry=False) as impatient:

        async def callers():
            async with AsyncClient(server.address, connections=8) as client:
                return await asyncio.gather(*(client.predict(rows, timeout=30) for _ in range(24)))

        answers = asyncio.run(callers())
        assert impatient.model().name == "wine"
    assert [one.rows for one in answers] == [1] * 24
