"""The engine of load: when requests are sent, and what is counted, against real servers that misbehave."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving.bench import connections
from serving.bench.alarm import Alarm
from serving.bench.connections import Connections
from serving.bench.load import OK, Record, closed_loop, merged, open_loop, percentiles, schedule
from serving.errors import Unavailable

pytestmark = pytest.mark.slow  # real processes, and seconds of load

PATH = "/test.Service/Ask"
STALL = 0.2  # seconds


@contextlib.contextmanager
def answering(answer):
    """Run a server with one thread, which answers by a function of the request and its context."""
    server = grpc.server(ThreadPoolExecutor(1))
    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", {"Ask": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def asked(address, load, count=1, deadline=10.0):
    """What `load` returns of a function that sends the requests b"0" to b"9" in turn; replies; texts."""
    replies = []

    async def ask():
        async with Connections(address, count) as lines:
            await lines.ready()
            requests = [b"%d" % number for number in range(10)]
            send = lines.unary(PATH, requests, deadline, lambda *reply: replies.append(reply))
            return await load(send), lines.texts

    return *asyncio.run(ask()), replies


def stalling(at):
    """Return a server's answer that takes 200 ms at the request of a number, and no time at others."""
    left = [at]

    def answer(request, _):
        left[0] -= 1
        if not left[0]:
            time.sleep(STALL)
        return request

    return answer


def test_a_stall_shows_in_all_requests_that_were_due_meanwhile():
    """At 200 requests a second some 40 are due in 200 ms, and wait for the rest of it each."""
    with answering(stalling(at=100)) as address:
        load, _, replies = asked(address, lambda send: open_loop(send, 200, 1))
    assert len(replies) == len(load.done) == 200
    waited = load.latency > STALL / 10
    assert waited.sum() >= 0.9 * 200 * STALL * 0.9
    assert load.percentiles([90])[0] > STALL / 4
    assert load.percentiles([100])[0] >= STALL
    first = np.argmax(load.latency > STALL * 0.95)
    later = first + 20  # due 100 ms after
    assert load.latency[later] == pytest.approx(load.latency[first] - 0.1, abs=0.05)


def test_a_closed_loop_sees_the_same_stall_once():
    """Latencies come from an open loop, since whoever waits for the reply sends nothing meanwhile."""
    with answering(stalling(at=100)) as address:
        load, _, _ = asked(address, lambda send: closed_loop(send, 1, 0.8))
    assert (load.latency > STALL * 0.95).sum() == 1


def test_statuses_are_counted_and_the_first_text_is_kept():
    """Each status by itself, replies only of those that are OK, and good answers alone in the rate."""

    def answer(request, context):
        if request in (b"3", b"6"):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"request {request.decode()}")
        if request == b"9":
            time.sleep(0.3)
        return request * 2

    with answering(answer) as address:
        load, texts, replies = asked(address, lambda send: open_loop(send, 20, 0.5), deadline=0.25)
    assert load.counts() == {OK: 7, "RESOURCE_EXHAUSTED": 2, "DEADLINE_EXCEEDED": 1}
    assert list(load.status[[3, 6, 9]]) == ["RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]
    assert texts["RESOURCE_EXHAUSTED"] == "request 3"
    assert sorted(replies) == [(number, b"%d" % number * 2) for number in (0, 1, 2, 4, 5, 7, 8)]
    assert load.rate == pytest.approx(7 / 0.5)
    (late,) = load.percentiles([100], "DEADLINE_EXCEEDED")
    assert 0.24 < late < 0.5
    assert np.isnan(load.percentiles([50], "NOT_FOUND")).all()


def test_requests_take_connections_in_turn():
    """Each connection is one of its own: the server sees as many ports."""
    peers = []

    def answer(request, context):
        peers.append(context.peer())
        return request

    with answering(answer) as address:
        asked(address, lambda send: open_loop(send, 100, 0.09), count=3)
    assert sorted(peers.count(peer) for peer in set(peers)) == [3, 3, 3]


def test_nobody_there(monkeypatch):
    """A port where nobody listens is told, with the address."""
    monkeypatch.setattr(connections, "_PATIENCE", 0.2)

    async def connect():
        async with Connections("127.0.0.1:1", 1) as lines:
            await lines.ready()

    with pytest.raises(Unavailable, match=r"^127\.0\.0\.1:1: no connection within 0\.2 s"):
        asyncio.run(connect())


def test_an_early_end_keeps_what_there_was():
    """What was not answered a second later has no status; the rate counts the time until the end."""
    record = Record()

    async def send(number):
        if number == 20:
            record.stop()
        await asyncio.sleep(0 if number < 19 else 60)
        return OK

    load = asyncio.run(open_loop(send, 100, 30, record=record))
    assert len(load.sent) == 21
    assert load.counts() == {OK: 19, "": 2}
    assert np.isnan(load.done[19:]).all()
    assert 0.2 <= load.seconds < 1
    assert load.rate == pytest.approx(19 / load.seconds)


def test_an_early_end_of_a_closed_loop():
    """Callers send no more."""
    record = Record()

    async def send(number):
        await asyncio.sleep(0.01)
        if number == 10:
            record.stop()
        return OK

    load = asyncio.run(closed_loop(send, 2, 30, record=record))
    assert load.counts() in ({OK: 11}, {OK: 12})


@pytest.mark.parametrize(
    "loop", [lambda send: open_loop(send, 50, 30), lambda send: closed_loop(send, 3, 30)]
)
def test_a_fault_of_the_sender_ends_the_load(loop):
    """It is raised at once, and not counted as a failure of the service."""

    async def send(number):
        await asyncio.sleep(0)
        if number == 5:
            raise ZeroDivisionError("ours")
        return OK

    begin = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="ours"):
        asyncio.run(loop(send))
    assert time.monotonic() - begin < 5


def test_constant_arrivals():
    """Equal distances from 0 on, and at least one request."""
    np.testing.assert_allclose(schedule(4, 1, "constant"), [0, 0.25, 0.5, 0.75])
    assert schedule(0.1, 1, "constant").tolist() == [0]


def test_poisson_arrivals():
    """As many as expected but for chance, spread exponentially, and the same of the same seed."""
    due = schedule(1000, 100, "poisson", seed=1)
    gaps = np.diff(due)
    assert abs(len(due) - 100_000) < 5 * np.sqrt(100_000)
    assert (gaps >= 0).all()
    assert due[-1] < 100
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert (gaps > 0.001).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert np.array_equal(due, schedule(1000, 100, "poisson", seed=1))
    assert not np.array_equal(due[:50], schedule(1000, 100, "poisson", seed=2)[:50])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0, 1, "constant"), "must be positive, got 0 a second for 1 s"),
        ((1, -1, "constant"), "must be positive, got 1 a second for -1 s"),
        ((1, 1, "uniform"), "must be one of constant, poisson, got 'uniform'"),
    ],
)
def test_a_schedule_that_cannot_be(arguments, told):
    """It is refused, with what was asked."""
    with pytest.raises(ValueError, match=told):
        schedule(*arguments)


def test_percentiles_are_latencies_that_were_measured():
    """None is interpolated, so that a tail is never better than it was."""
    samples = np.array([4.0, 1.0, 3.0, 2.0])
    assert percentiles(samples, [0, 50, 75, 99, 100]) == [1, 3, 4, 4, 4]
    assert np.isnan(percentiles(samples[:0], [50, 99])).all()


def test_lateness_is_told_apart_from_latency():
    """A generator that is kept from sending says so: both count from the time a request was due."""

    async def load():
        async def send(number):
            if number == 10:
                time.sleep(0.1)  # what another load on the generator's core does
            return OK

        return await open_loop(send, 200, 0.2)

    done = asyncio.run(load())
    assert done.lateness.max() > 0.08
    assert (done.latency >= done.lateness).all()
    assert done.lateness[5] < 0.08


def test_loads_of_several_generators_are_one():
    """Requests stand in the order in which they were due."""

    async def send(number):
        return OK if number else "ABORTED"

    async def both():
        return [await open_loop(send, rate, 0.1) for rate in (20, 30)]

    one = merged(asyncio.run(both()))
    np.testing.assert_allclose(one.intended, [0, 0, 1 / 30, 0.05, 2 / 30])
    assert one.counts() == {OK: 3, "ABORTED": 2}
    assert one.seconds == 0.1


def test_an_alarm_never_rings_too_early():
    """A moment that is past does not wait; others are met closely."""

    async def rings():
        late = []
        with Alarm() as alarm:
            await alarm.until(time.monotonic() - 1)
            for wait in (0.0003, 0.001, 0.0104):
                moment = time.monotonic() + wait
                await alarm.until(moment)
                late.append(time.monotonic() - moment)
        return late

    late = asyncio.run(rings())
    assert min(late) >= 0
    assert min(late) < 0.05
