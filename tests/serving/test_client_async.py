"""The client for asyncio against a real server: the same answers and the same errors."""

import asyncio
import contextlib
import inspect

import numpy as np
import pytest

from serving.aio import AsyncClient
from serving.client import Client, Policy
from serving.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, OrdinalError, Unavailable

ROWS = np.random.default_rng(4).uniform(-1, 1, (5, 4)).astype(np.float32)


def run(address, use, **more):
    """Return what a coroutine function returns that is given a client."""

    async def whole():
        async with AsyncClient(address, **more) as client:
            return await use(client)

    return asyncio.run(whole())


def test_it_has_what_the_client_has():
    """The same methods, with the same parameters and defaults."""
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            twin = inspect.signature(getattr(AsyncClient, name))
            assert list(twin.parameters) == list(inspect.signature(method).parameters), name
            assert [one.default for one in twin.parameters.values()] == [
                one.default for one in inspect.signature(method).parameters.values()
            ], name
    assert inspect.signature(AsyncClient) == inspect.signature(Client)


def test_answers_are_those_of_the_client(running):
    """Predictions and descriptions, whatever is asked."""
    own = Policy("own", np.eye(5), abstain_cost=0.3)
    asked = {"model": "wine", "policies": ["triage", own], "coverage": 0.9, "request_id": "7"}

    async def use(client):
        return await client.predict(ROWS, **asked), await client.model("wine"), await client.models()

    answer, model, models = run(running.address, use)
    with Client(running.address) as client:
        expected = client.predict(ROWS, **asked)
        assert repr(model) == repr(client.model("wine"))
        assert [repr(one) for one in models] == [repr(one) for one in client.models()]
    assert repr(answer) == repr(expected)
    np.testing.assert_array_equal(answer.probabilities, expected.probabilities)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_answers_each_batch(running, asynchronous, wine):
    """In order; batches may come as asynchronously as the answers."""
    batches = [np.full((2, 4), number / 10, np.float32) for number in range(50)]

    async def produced():
        for batch in batches:
            await asyncio.sleep(0)
            yield batch

    async def use(client):
        given = produced() if asynchronous else batches
        return [one.probabilities async for one in client.predict_stream(given, "wine")]

    for batch, answer in zip(batches, run(running.address, use), strict=True):
        np.testing.assert_allclose(answer, wine.probabilities(batch), atol=1e-5)


def test_many_calls_are_under_way_at_once(running, wine):
    """Over as many connections as were asked for."""

    async def use(client):
        return await asyncio.gather(*(client.predict(ROWS, "wine") for _ in range(200)))

    for answer in run(running.address, use, connections=2):
        np.testing.assert_allclose(answer.probabilities, wine.probabilities(ROWS), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "more", "kind", "message"),
    [
        (np.zeros((1, 5)), {"model": "wine"}, InvalidRequest, r"^tensor\.shape: .*must be \[rows, 4\]"),
        (np.zeros((1, 4)), {"model": "beer"}, ModelNotFound, "'beer' is not served"),
        (["a"], {"model": "wine"}, TypeError, "rows must be float32 or uint8"),
    ],
)
def test_errors_are_those_of_the_client(running, rows, more, kind, message):
    """Of calls, and of streams."""

    async def call(client):
        await client.predict(rows, **more)

    async def stream(client):
        return [one async for one in client.predict_stream([rows], **more)]

    for use in (call, stream):
        with pytest.raises(kind, match=message):
            run(running.address, use)


def test_a_timeout_is_deadline_exceeded(serving_of, make, tmp_path):
    """Of a call, and of a whole stream."""
    made = make(tmp_path / "slow.onnx", slow=True)
    busy = np.array([[200_000.0, 0, 0, 0]], np.float32)

    async def stream(client):
        return [one async for one in client.predict_stream([busy], timeout=0.1)]

    with serving_of(made.path) as server:
        for use in (lambda client: client.predict(busy, timeout=0.1), stream):
            with pytest.raises(DeadlineExceeded, match="DEADLINE_EXCEEDED"):
                run(server.address, use)


def test_nobody_there_is_unavailable():
    """At once without retries."""
    with pytest.raises(Unavailable, match=r"^127\.0\.0\.1:1: .*refused"):
        run("127.0.0.1:1", lambda client: client.model(), retry=False)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_error_of_the_batches_is_raised(running, asynchronous):
    """As it is, after the answers to those before it."""

    def broken():
        yield ROWS
        raise ZeroDivisionError("no more")

    async def broken_too():
        yield ROWS
        await asyncio.sleep(0.05)
        raise ZeroDivisionError("no more")

    async def use(client):
        async for _ in client.predict_stream(broken_too() if asynchronous else broken(), "wine"):
            pass

    with pytest.raises(ZeroDivisionError, match=r"^no more$"):
        run(running.address, use)


def test_a_cancelled_task_is_cancelled(serving_of, make, tmp_path):
    """In a call, in a stream, and while it waits to call again; the client can still be used."""
    made = make(tmp_path / "slow.onnx", slow=True)
    busy = np.array([[200_000.0, 0, 0, 0]], np.float32)

    async def stream(client):
        async for _ in client.predict_stream([busy]):
            pass

    async def use(client):
        for coroutine in (client.predict(busy), stream(client)):
            task = asyncio.create_task(coroutine)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return await client.model()

    with serving_of(made.path) as server:
        assert run(server.address, use).name == "wine"


def test_calls_of_a_client_that_is_closed_fail(serving_of, make, tmp_path):
    """They are told so: nobody has cancelled the tasks that wait for them."""
    made = make(tmp_path / "slow.onnx", slow=True)
    busy = np.array([[200_000.0, 0, 0, 0]], np.float32)

    async def stream(client):
        async for _ in client.predict_stream([busy]):
            pass

    async def use(address):
        client = AsyncClient(address)
        waiting = [asyncio.create_task(one) for one in (client.predict(busy), stream(client))]
        await asyncio.sleep(0.1)
        await client.close()
        for one in waiting:
            with pytest.raises(OrdinalError, match=r"CANCELLED: .*: the client was closed"):
                await one

    with serving_of(made.path) as server:
        asyncio.run(use(server.address))


def test_a_stream_may_be_left_early(running):
    """An endless one is read no further than the service and the network hold, and ends with the loop."""
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros((1000, 4), np.float32)

    async def use(client):
        async with contextlib.aclosing(client.predict_stream(endless(), "wine")) as answers:
            async for _ in answers:
                break
        await asyncio.sleep(0.1)
        left = len(taken)
        await asyncio.sleep(0.1)
        assert len(taken) == left < 5000
        return await client.model("wine")

    assert run(running.address, use).name == "wine"


def test_a_closed_client_asks_no_more(running):
    """Closing twice does no harm."""

    async def use():
        client = AsyncClient(running.address)
        await client.model("wine")
        await client.close()
        await client.close()
        with pytest.raises(ValueError, match=f"the client of {running.address} is closed"):
            await client.model("wine")

    asyncio.run(use())
