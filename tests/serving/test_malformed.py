"""Every malformed request gets its status, names its field, and harms nobody."""

import collections
import itertools
import re
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.wire import ordinal_pb2 as wire

from . import malformed, malformed_categories
from .malformed import INVALID, OTHERS, PREDICT, STREAM, call, request, table, violation
from .malformed_categories import car

CASES = {**malformed.CASES, **malformed_categories.CASES}
EVERYTHING = [(PREDICT, status, message, sent) for status, _, message, sent in CASES.values()] + list(
    OTHERS.values()
)


@pytest.fixture(scope="module")
def channel(running):
    """A bare channel to the shared server."""
    with grpc.insecure_channel(running.address) as channel:
        yield channel


def rows_of_reply(channel):
    """How many rows the reply to a good request has."""
    return wire.PredictResponse.FromString(channel.unary_unary(PREDICT)(request(), timeout=20)).rows


@pytest.mark.parametrize("name", CASES)
def test_malformed_request_is_refused(channel, name):
    """Status, field and message tell what is wrong, and the next good request is answered."""
    status, field, message, sent = CASES[name]
    error = call(channel, sent)
    assert error.code() == status
    assert message in error.details()
    if field is not None:
        assert violation(error)[0] == field
        assert message in violation(error)[1]
    assert rows_of_reply(channel) == 2


@pytest.mark.parametrize("name", CASES)
def test_malformed_message_ends_its_stream(channel, name):
    """On a stream it is refused alike, and told which message it was, after the reply to the one before."""
    status, field, message, sent = CASES[name]
    replies = channel.stream_stream(STREAM)(iter([request(), sent, request()]), timeout=20)
    assert wire.PredictResponse.FromString(next(replies)).rows == 2
    with pytest.raises(grpc.RpcError) as caught:
        next(replies)
    error = caught.value
    assert error.code() == status
    assert error.details().startswith("message 1 of the stream: ")
    assert message in error.details()
    if field is not None:
        assert violation(error)[0] == field
        assert violation(error)[1].startswith("message 1 of the stream: ")
        assert message in violation(error)[1]
    assert rows_of_reply(channel) == 2


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_methods_refuse_alike(channel, name):
    """GetModel, ListModels and RecordOutcome answer what is wrong as Predict does."""
    method, status, message, sent = OTHERS[name]
    error = call(channel, sent, method)
    assert error.code() == status
    assert message in error.details()
    if status == INVALID:
        assert violation(error) == ("", error.details())
    assert rows_of_reply(channel) == 2


def test_of_a_tensor_and_a_table_the_last_one_counts(channel):
    """A message holds one of the two: what stands later in its bytes takes the other's place."""
    ones = np.ones((1, 4), "<f4")
    one_row = request(shape=[1, 4], data=ones.tobytes())
    for sent, rows in ((one_row + table(), 2), (table() + one_row, 1)):
        reply = wire.PredictResponse.FromString(channel.unary_unary(PREDICT)(sent, timeout=20))
        assert reply.rows == rows


def test_messages_of_random_bytes_are_never_a_fault_of_ours(channel):
    """Good requests with bytes changed, left out and put in are answered or refused, nothing else."""
    random = np.random.default_rng(7)
    good = [request(), table(), car(), CASES["costs of three rows for two"][-1]]
    allowed = {grpc.StatusCode.OK, INVALID, grpc.StatusCode.NOT_FOUND}
    calls = []
    for _ in range(500):
        sent = bytearray(good[random.integers(len(good))])
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(len(sent)))
            match random.integers(3):
                case 0:
                    sent[place] = int(random.integers(256))
                case 1:
                    del sent[place : place + int(random.integers(1, 5))]
                case 2:
                    sent[place:place] = random.bytes(int(random.integers(1, 5)))
        calls.append((bytes(sent), channel.unary_unary(PREDICT).future(bytes(sent), timeout=30)))
    for sent, one in calls:
        assert one.code() in allowed, (sent, one.details())
    assert rows_of_reply(channel) == 2


def test_a_thousand_at_once_harm_no_good_request(channel):
    """Wrong and good requests that wait together each get what they would get alone."""
    predict = channel.unary_unary(PREDICT)
    good = predict(request(), timeout=20)
    turns = itertools.islice(itertools.cycle(EVERYTHING), 1000)
    for turn in iter(lambda: list(itertools.islice(turns, 100)), []):
        calls = [
            (channel.unary_unary(method).future(sent, timeout=60), predict.future(request(), timeout=60))
            for method, _, _, sent in turn
        ]
        for (_, status, message, _), (wrong, right) in zip(turn, calls, strict=True):
            assert wrong.code() == status
            assert message in wrong.details()
            assert right.result() == good


def test_more_rows_than_an_answer_may_hold_are_refused(channel):
    """Rows × labels have a limit too, whatever is asked about them."""
    rows = np.zeros((2**22 // 5 + 1, 4), "<f4")
    error = call(channel, request(shape=rows.shape, data=rows.tobytes(), outputs=[3]))
    assert error.code() == INVALID
    assert violation(error)[0] == "tensor"
    assert "rows × labels must be at most 4194304, got 838861 × 5; send fewer" in error.details()
    assert rows_of_reply(channel) == 2


@pytest.fixture
def quiet(process, wine, digits, cars):
    """A service process whose log somebody reads: it tells each refusal, and a full pipe would hold it."""
    service = process(wine.path, digits.path, cars.path, env={"MALLOC_ARENA_MAX": "1"})
    service.at = service.address()
    log = threading.Thread(target=collections.deque, args=(service.popen.stderr, 1))
    log.start()
    yield service
    service.popen.terminate()
    log.join()
    assert service.popen.wait(timeout=30) == 0


def memory(service, which="VmRSS"):
    """MiB that a process holds, or with VmHWM has held at most."""
    status = Path(f"/proc/{service.popen.pid}/status").read_text()
    return int(re.search(rf"^{which}:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024


@pytest.mark.slow
def test_ten_thousand_leave_the_memory_as_it_was(quiet):
    """All of them round and round take no memory that is not given back, and the service stays well."""
    early, late = [], []  # the least of many: what waits for the collector comes and goes
    with grpc.insecure_channel(quiet.at) as channel:
        for number, (method, status, message, sent) in enumerate(
            itertools.islice(itertools.cycle(EVERYTHING), 10_000), start=1
        ):
            error = call(channel, sent, method)
            assert error.code() == status
            assert message in error.details()
            if 1_500 < number <= 2_000:
                early.append(memory(quiet))
            elif number > 9_500:
                late.append(memory(quiet))
        assert rows_of_reply(channel) == 2
    assert min(late) - min(early) < 6


@pytest.mark.slow
def test_large_refusals_do_not_pile_up(quiet):
    """A refused request is forgotten at once, and not when the garbage collector comes by."""
    rows = np.zeros((1_000_000, 4), "<f4")
    rows[-1, -1] = np.nan
    sent = request(shape=rows.shape, data=rows.tobytes())
    with grpc.insecure_channel(quiet.at, options=[("grpc.max_send_message_length", -1)]) as channel:
        assert rows_of_reply(channel) == 2
        before = memory(quiet)
        for _ in range(60):
            assert "got nan at row 999999, feature 'pH'" in call(channel, sent).details()
        assert rows_of_reply(channel) == 2
    assert memory(quiet, "VmHWM") - before < 30 * len(sent) / 2**20


def test_unknown_method_is_unimplemented(channel):
    """A method that does not exist is gRPC's own UNIMPLEMENTED."""
    assert call(channel, b"", "/ordinal.v1.OrdinalService/Guess").code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_above_the_limit_is_refused(serving_of, wine):
    """What is larger than `max_message_bytes` is refused by gRPC, and the service goes on."""
    with (
        serving_of(wine.path, max_message_bytes=10_000) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        error = call(channel, request(data=bytes(20_000)))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert channel.unary_unary(PREDICT)(request(), timeout=20)


def test_a_fault_of_ours_is_internal_and_only_its_number_is_told(serving_of, wine, monkeypatch, caplog):
    """An unforeseen exception is in the log under a number; the caller gets that number and no more."""

    def broken(*_):
        raise ZeroDivisionError("secret detail")

    with serving_of(wine.path) as server, grpc.insecure_channel(server.address) as channel:
        monkeypatch.setattr("serving.service.rows_of", broken)
        sent = wire.PredictRequest(request_id="order-7").SerializeToString()
        error = call(channel, sent)
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    number = error.details().split()[2].rstrip(";")
    (record,) = [entry for entry in caplog.records if number in entry.getMessage()]
    assert "order-7" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_model_of_two_inputs_refuses_a_tensor(wine, digits):
    """One tensor cannot feed several inputs."""
    from serving.entries import Inputs
    from serving.errors import InvalidRequest
    from serving.rows import rows_of

    parsed = wire.PredictRequest.FromString(request())
    with pytest.raises(InvalidRequest, match=r"several inputs, \['numeric', 'image'\], cannot be fed"):
        rows_of(parsed, Inputs([*wine.manifest.inputs, *digits.manifest.inputs]))


def test_infinity_in_a_float_image_names_its_place(digits):
    """In an image of floats a wrong number is found by row and position."""
    from serving.entries import Inputs
    from serving.errors import InvalidRequest
    from serving.rows import rows_of

    spec = digits.manifest.inputs[0].model_copy(update={"dtype": "float32"})
    rows = np.zeros((2, 8, 8, 1), np.float32)
    rows[1, 2, 3, 0] = np.inf
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=rows.shape, data=rows.tobytes())
    with pytest.raises(InvalidRequest, match=r"got inf at row 1, position \[2, 3, 0\]"):
        rows_of(wire.PredictRequest(tensor=tensor), Inputs([spec]))
