"""Requests that wait together share a run, and none harms another."""

import contextlib
import functools
import gc
import pickle
import threading
import weakref
from concurrent.futures import CancelledError
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.artifact import Answer, Artifact
from serving.batching import Batching
from serving.errors import DeadlineExceeded, Exhausted, InvalidRequest, OrdinalError
from serving.question import Question, joined, parted
from serving.telemetry import Telemetry
from serving.timing import Timing
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

LONG = 60  # seconds that nothing here takes
COST = np.random.default_rng(0).uniform(0, 5, (1, 2, 5, 3)).astype(np.float32)
COVERAGE = np.array([0.8], np.float32)


@pytest.fixture(scope="module")
def artifact(wine):
    """A model of tables."""
    return Artifact(wine.path, "cpu")


@pytest.fixture
def ask(artifact):
    """Make a question about random rows: `ask(rows, cost, coverage)`."""
    return functools.partial(question, artifact)


@pytest.fixture
def runs(monkeypatch):
    """The sizes of all runs of graphs, as they happen."""
    sizes, run = [], Artifact.run

    def counted(self, rows, cost=None, coverage=None):
        sizes.append(len(next(iter(rows.values()))))
        return run(self, rows, cost, coverage)

    monkeypatch.setattr(Artifact, "run", counted)
    return sizes


@pytest.fixture
def batching_of():
    """Make a `Batching` with one thread, busy until the context is left: what is submitted in it waits."""
    made = []

    def batching_of(**settings):
        made.append(Busy(**settings))
        return made[-1]

    yield batching_of
    for busy in made:
        busy.free.set()
        busy.batching.abandon()


class Busy:
    """A `Batching` whose only thread does something else meanwhile."""

    def __init__(self, **settings):
        self.telemetry = Telemetry()
        self.batching = Batching(1, self.telemetry, **{"batch": "on", **settings})
        self.free = threading.Event()

    def __enter__(self):
        self.free.clear()
        self.submit(Work(Question(Held(self.free), {"numeric": np.zeros((1, 4))}, COST, COVERAGE)))
        return self.submit

    def __exit__(self, *_):
        self.free.set()

    def submit(self, work, caller=None):
        """Submit a request, by default of a caller of its own."""
        return self.batching.submit(work, caller or Caller())

    def refusals(self):
        """What was refused since this was called last."""
        return {
            labels: number for name, labels, number in self.telemetry.take().counters if name == "refused"
        }


class Caller:
    """Who waits, for ever or as long as is told."""

    def __init__(self, seconds=None):
        self._seconds = seconds

    def time_remaining(self):
        """Seconds until it is gone."""
        return self._seconds


class Work:
    """A request whose question is given, or an error in its place."""

    def __init__(self, asked, size=100, reply=None):
        self.size = size
        self.asked = 0
        self._question = asked
        self._reply = reply

    def question(self):
        """Return the question, or raise the error."""
        self.asked += 1
        if isinstance(self._question, Exception):
            raise self._question
        if callable(self._question):
            raise self._question()
        return self._question

    def reply(self, answer):
        """Return what there is of the answer, or raise the error."""
        if self._reply is not None:
            raise self._reply
        return pickle.dumps(tuple(answer))

    def failure(self, error):
        """Tell that this request has failed, and of what."""
        return RuntimeError(f"told: {error}")


class Held:
    """In place of a model: its run takes until it is told to go on, and fails then."""

    timing = None
    cost = COST
    manifest = SimpleNamespace(name="held")

    def __init__(self, free):
        self._free = free

    def run(self, *_):
        """Wait, and fail."""
        assert self._free.wait(LONG)
        raise ValueError("held")


def question(artifact, rows, cost=COST, coverage=COVERAGE):
    """A question about random rows, other ones for each number of rows."""
    random = np.random.default_rng(rows)
    return Question(artifact, {"numeric": random.normal(size=(rows, 4)).astype(np.float32)}, cost, coverage)


def costs(seed, rows=1, policies=2, actions=3):
    """Random costs."""
    return np.random.default_rng(seed).uniform(0, 5, (rows, policies, 5, actions)).astype(np.float32)


def alone(asked):
    """The answer to a question by a run of its own."""
    return asked.artifact.run(asked.rows, asked.cost, asked.coverage)


def check_answer(answer, other):
    """Two answers are equal, but for the last bits of floats."""
    for name in ("probabilities", "expected_value", "expected_cost", "margin", "uncertainty"):
        np.testing.assert_allclose(getattr(answer, name), getattr(other, name), atol=1e-5)
    np.testing.assert_array_equal(answer.decision, other.decision)
    np.testing.assert_array_equal(answer.interval, other.interval)
    assert answer.resultant is other.resultant is None


def check_reply(future, asked):
    """A reply has the answer to its question."""
    check_answer(Answer(*pickle.loads(future.result(LONG))), alone(asked))


def test_one_question_is_left_as_it_is(ask):
    """Nothing is copied where nothing is joined."""
    (only,) = questions = [ask(3)]
    assert joined(questions) is only


def test_the_same_object_is_not_repeated(ask):
    """Costs and coverages that all leave to the model go into the run as they are."""
    questions = [ask(3), ask(1), ask(7)]
    one = joined(questions)
    assert one.cost is COST
    assert one.coverage is COVERAGE
    assert len(one) == 11
    np.testing.assert_array_equal(
        one.rows["numeric"], np.concatenate([each.rows["numeric"] for each in questions])
    )


@pytest.mark.parametrize(
    ("make_costs", "make_coverages"),
    [
        (lambda sizes: [COST for _ in sizes], lambda sizes: [COVERAGE for _ in sizes]),
        (lambda sizes: [costs(n) for n, _ in enumerate(sizes)], lambda sizes: [COVERAGE for _ in sizes]),
        (
            lambda sizes: [COST for _ in sizes],
            lambda sizes: [np.array([0.1 + 0.2 * n], np.float32) for n, _ in enumerate(sizes)],
        ),
        (
            lambda sizes: [costs(n, rows) for n, rows in enumerate(sizes)],
            lambda sizes: [np.array([0.9 - 0.2 * n], np.float32) for n, _ in enumerate(sizes)],
        ),
        (
            lambda sizes: [costs(n, rows if n % 2 else 1) for n, rows in enumerate(sizes)],
            lambda sizes: [COVERAGE if n % 2 else np.array([0.5], np.float32) for n, _ in enumerate(sizes)],
        ),
        (
            lambda sizes: [COST.copy() if n else COST for n, _ in enumerate(sizes)],
            lambda sizes: [COVERAGE.copy() for _ in sizes],
        ),
    ],
    ids=["all the same", "costs", "coverages", "costs by row", "mixed", "equal, but not the same object"],
)
@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 7, 2), (1, 64)])
def test_the_parts_of_a_shared_run_are_the_answers_alone(artifact, make_costs, make_coverages, sizes):
    """Whatever costs and coverages the questions have, each gets what a run of its own says."""
    questions = [
        question(artifact, rows, cost, coverage)
        for rows, cost, coverage in zip(sizes, make_costs(sizes), make_coverages(sizes), strict=True)
    ]
    assert len({each.shape for each in questions}) == 1
    parts = list(parted(alone(joined(questions)), sizes))
    assert [len(part.probabilities) for part in parts] == list(sizes)
    for part, each in zip(parts, questions, strict=True):
        check_answer(part, alone(each))


def test_parts_of_cyclic_labels_have_their_resultant(ask):
    """The resultant is parted with the rest."""
    answer = alone(ask(5))._replace(resultant=np.arange(5, dtype=np.float32))
    assert [part.resultant.tolist() for part in parted(answer, [2, 3])] == [[0, 1], [2, 3, 4]]


def test_questions_agree_in_shape_where_policies_and_actions_do(ask):
    """Rows and costs by row or for all may differ; the costs' other sizes may not."""
    shape = ask(3).shape
    assert shape == ask(5, costs(1)).shape == ask(5, costs(1, rows=5)).shape
    others = [ask(3, costs(1, policies=1)), ask(3, costs(1, actions=4))]
    assert len({shape, *(other.shape for other in others)}) == 3


def test_what_waits_together_shares_a_run(ask, batching_of, runs):
    """Requests with costs and coverages of their own are answered by one run, each with its own part."""
    questions = [ask(2 + n, costs(n), np.array([0.3 + n / 20], np.float32)) for n in range(10)]
    with batching_of() as submit:
        futures = [submit(Work(each)) for each in questions]
        assert not any(future.done() for future in futures)
    assert all(future.result(LONG) for future in futures)
    assert runs == [sum(range(2, 12))]
    for future, each in zip(futures, questions, strict=True):
        check_reply(future, each)


def test_nothing_waits_for_company(ask, runs):
    """A request that comes alone is answered alone, at once."""
    batching = Batching(2, Telemetry(), batch="on")
    for rows in (1, 2, 3):
        assert batching.submit(Work(ask(rows)), Caller()).result(LONG)
    batching.abandon()
    assert runs == [1, 2, 3]


def test_a_run_has_no_more_rows_than_the_limit(ask, batching_of, runs):
    """What would be more is left to the next run, in its turn; a larger request has one of its own."""
    with batching_of(most_rows=10) as submit:
        futures = [submit(Work(ask(rows))) for rows in (4, 4, 4, 25, 1, 9, 1, 10)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [10, 4, 25, 9, 10]


def test_a_limit_of_one_row_answers_each_alone(ask, batching_of, runs):
    """`max_batch_rows` = 1 is a run for each request, whatever its size."""
    with batching_of(most_rows=1) as submit:
        futures = [submit(Work(ask(rows))) for rows in (1, 1, 3, 1, 2)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [1, 1, 3, 1, 2]


def test_requests_that_ask_for_much_do_not_wait_for_others(ask, batching_of, runs):
    """Costs, repeated for each row, and expected costs have a limit: beyond it is another run."""
    wide = [costs(n, policies=1, actions=2000) for n in range(7)]  # with 12,000 numbers for a row, of 2^21
    with batching_of() as submit:
        futures = [submit(Work(ask(40, each))) for each in wide]
    assert all(future.result(LONG) for future in futures)
    assert runs == [160, 120]


def test_a_thread_takes_some_and_leaves_some(ask, batching_of, runs):
    """At most 64 requests are taken at once, so that another thread has something to do."""
    with batching_of() as submit:
        futures = [submit(Work(ask(1))) for _ in range(150)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [64, 64, 22]


def test_large_requests_do_not_share_a_run(ask, batching_of, runs):
    """Rows are copied to share a run, which of large ones is no gain: 8 MiB of requests, or one."""
    with batching_of() as submit:
        works = [Work(ask(rows), size=2**22) for rows in (1, 1, 1)]
        works += [Work(ask(3), size=2**23 + 1) for _ in range(2)]
        futures = [submit(work) for work in works]
        last = submit(Work(ValueError("read after them"), size=2**20))
        assert last.exception(LONG)
    assert all(future.result(LONG) for future in futures)
    assert runs == [2, 1, 3, 3]


def test_other_shapes_have_other_runs(ask, digits, batching_of, runs):
    """Models, policies and actions that differ are answered apart, whatever order they came in."""
    image = Question(
        Artifact(digits.path, "cpu"), {"image": np.ones((2, 8, 8, 1), np.uint8)}, COST, COVERAGE
    )
    runs.clear()
    questions = [
        ask(3),
        ask(4, costs(1, actions=4)),
        image,
        ask(5),
        ask(6, costs(2, actions=4)),
        ask(7, costs(3, policies=1)),
        image,
    ]
    with batching_of() as submit:
        futures = [submit(Work(each)) for each in questions]
    assert all(future.result(LONG) for future in futures)
    assert runs == [8, 4, 10, 7]  # models take turns
    for future, each in zip(futures, questions, strict=True):
        check_reply(future, each)


def test_a_request_without_a_question_harms_no_other(ask, batching_of, runs):
    """What is wrong with one request is told to it, and the others share their run."""
    wrong = ValueError("no such column")
    with batching_of() as submit:
        first = submit(Work(ask(2)))
        with pytest.raises(RuntimeError, match=r"^told: no such column$"):
            submit(Work(wrong))  # small: at once
        large = submit(Work(wrong, size=2**20))  # large: by its future
        second = submit(Work(ask(3)))
    with pytest.raises(RuntimeError, match=r"^told: no such column$"):
        large.result(LONG)
    check_reply(first, ask(2))
    check_reply(second, ask(3))
    assert runs[0] == 5


def test_rows_that_cannot_be_joined_harm_no_other(ask, artifact, batching_of):
    """Where joining itself fails, each is answered alone, and only the wrong one is told so."""
    narrow = Question(artifact, {"numeric": np.zeros((2, 3), np.float32)}, COST, COVERAGE)
    with batching_of() as submit:
        futures = [submit(Work(each)) for each in (ask(2), narrow, ask(3))]
    check_reply(futures[0], ask(2))
    check_reply(futures[2], ask(3))
    with pytest.raises(RuntimeError, match=r"told: .*[Gg]ot invalid dimensions"):
        futures[1].result(LONG)


def failing_above_nine(graph):
    """Let the graph fail where a number is 10 or more: it is looked up in a list of ten."""
    (score,) = (node for node in graph.node if "score" in node.output)
    score.output[0] = "raw"
    place = list(graph.node).index(score) + 1
    for node in reversed(
        [
            helper.make_node("ReduceMax", ["flat"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["number"], to=TensorProto.INT64),
            helper.make_node("Gather", ["ten"], ["zero"]),
            helper.make_node("Add", ["raw", "zero"], ["score"]),
        ]
    ):
        if node.op_type == "Gather":
            node.input.append("number")
        graph.node.insert(place, node)
    graph.initializer.append(numpy_helper.from_array(np.zeros(10, np.float32), "ten"))


def test_rows_that_the_graph_fails_on_harm_no_other(make, tmp_path, batching_of, runs):
    """A shared run that fails is made anew for each request, and only the wrong one is told of it."""
    artifact = Artifact(make(tmp_path / "fails.onnx", edit=failing_above_nine).path, "cpu")
    runs.clear()
    good, wrong = question(artifact, 2), question(artifact, 3)
    wrong.rows["numeric"][1, 2] = 10
    with batching_of() as submit:
        futures = [submit(Work(each)) for each in (good, wrong, good)]
    with pytest.raises(RuntimeError, match=r"told: .*Gather"):
        futures[1].result(LONG)
    assert futures[2].result(LONG)
    assert runs == [7, 2, 3, 2]
    with batching_of() as submit:
        again = submit(Work(good))
    for future in (futures[0], futures[2], again):
        check_reply(future, good)


def test_an_error_in_one_reply_harms_no_other(ask, batching_of, runs):
    """Each reply of a shared run is made on its own."""
    with batching_of() as submit:
        futures = [
            submit(Work(ask(2))),
            submit(Work(ask(3), reply=KeyError("labels"))),
            submit(Work(ask(4))),
        ]
    check_reply(futures[0], ask(2))
    check_reply(futures[2], ask(4))
    with pytest.raises(RuntimeError, match="told: 'labels'"):
        futures[1].result(LONG)
    assert runs[0] == 9


@pytest.mark.parametrize("size", [100, 2**20])
def test_work_of_who_has_gone_is_not_done(ask, batching_of, runs, size):
    """A request that is cancelled while it waits costs no run, a large one neither."""
    works = [Work(ask(2)), Work(ask(3), size), Work(ask(4))]
    busy = batching_of()
    with busy as submit:
        futures = [submit(work) for work in works]
        assert futures[1].cancel()
    assert futures[0].result(LONG)
    assert futures[2].result(LONG)
    assert sum(runs) == 6
    if size == 100:  # a large one may not have been read yet
        assert busy.refusals() == {("wine", "cancelled"): 1}


def test_work_whose_deadline_has_passed_is_not_done(ask, batching_of, runs):
    """Whoever waits no longer is told, and the others are answered."""
    busy = batching_of()
    with busy as submit:
        late = submit(Refused(ask(2)), Caller(0.0))
        good = submit(Work(ask(3)), Caller(LONG))
    assert isinstance(late.exception(LONG), DeadlineExceeded)
    check_reply(good, ask(3))
    assert runs[0] == 3
    assert busy.refusals() == {("wine", "expired"): 1}


def test_a_full_queue_refuses_and_says_when_to_come_again(ask, batching_of, digits):
    """Each model has its own limit; what is there is answered."""
    other = Question(
        Artifact(digits.path, "cpu"), {"image": np.ones((1, 8, 8, 1), np.uint8)}, COST, COVERAGE
    )
    busy = batching_of(most_waiting=3)
    with busy as submit:
        futures = [submit(Work(ask(1))) for _ in range(3)]
        with pytest.raises(Exhausted, match="3 requests wait for model 'wine' already") as caught:
            submit(Refused(ask(1)))
        assert 0 < caught.value.retry_after <= 5
        futures.append(submit(Work(other)))
    assert all(future.result(LONG) for future in futures)
    assert busy.submit(Work(ask(1))).result(LONG)  # there is room again
    assert busy.refusals() == {("wine", "queue_full"): 1}


def test_waiting_requests_have_a_limit_in_bytes(ask, batching_of):
    """What a request will take is known from its size, before it is read; one alone always has room."""
    busy = batching_of(most_bytes=1000)
    assert busy.submit(Work(ask(1), size=2000)).result(LONG)
    with busy.batching._changed:
        assert busy.batching._bytes == 0
    busy = batching_of(most_bytes=1100)
    with busy as submit:  # the one that runs has 100
        future = submit(Work(ask(1), size=900))
        refused = Refused(ask(1), size=200)
        with pytest.raises(Exhausted, match="this one has 200; there is room for"):
            submit(refused)
    assert future.result(LONG)


def test_what_streams_send_ahead_leaves_room_for_others(ask, batching_of):
    """A caller of whom something waits already has half of the room at most."""
    busy, stream = batching_of(most_waiting=8), Caller()
    with busy as submit:
        futures = [submit(Work(ask(1)), stream) for _ in range(4)]
        with pytest.raises(Exhausted):
            submit(Refused(ask(1)), stream)
        futures += [submit(Work(ask(1))) for _ in range(4)]
        with pytest.raises(Exhausted):
            submit(Refused(ask(1)))
    assert all(future.result(LONG) for future in futures)


def test_large_requests_are_read_while_all_threads_are_busy(ask, batching_of):
    """Reading has a thread of its own: under a load that never ends a large request has its turn too."""
    read = threading.Event()

    class Noted(Work):
        def question(self):
            read.set()
            return super().question()

    with batching_of() as submit:
        small = submit(Work(ask(1)))
        large = submit(Noted(ask(2), 2**20))
        assert read.wait(LONG)
    check_reply(small, ask(1))
    check_reply(large, ask(2))


def test_a_call_waits_for_one_message_of_each_stream(ask, batching_of, runs):
    """Fair: a caller's requests come in turn with those of the others, each caller's in their order."""
    streams = [Caller(), Caller()]
    with batching_of(batch="off") as submit:
        futures = [
            submit(Work(ask(10 * (1 + which) + n)), streams[which]) for n in range(3) for which in (0, 1)
        ]
        futures.append(submit(Work(ask(1))))
    assert all(future.result(LONG) for future in futures)
    assert runs == [10, 20, 1, 11, 21, 12, 22]


def test_a_run_waits_for_more_as_long_as_it_may(ask, runs):
    """With a delay a run that is not full waits for company, and not when it is full."""
    batching = Batching(2, Telemetry(), batch="on", most_rows=4, delay=LONG)
    futures = [batching.submit(Work(ask(rows)), Caller()) for rows in (1, 1, 2)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [4]
    batching.abandon()
    batching = Batching(2, Telemetry(), batch="on", delay=0.05)
    assert batching.submit(Work(ask(3)), Caller()).result(LONG)
    assert runs == [4, 3]
    batching.abandon()


def test_a_request_of_another_shape_does_not_wait_for_company(ask, runs):
    """A run that waits goes when something comes that cannot join it, which is answered next."""
    batching = Batching(2, Telemetry(), batch="on", delay=LONG)
    first = batching.submit(Work(ask(1)), Caller())
    second = batching.submit(Work(ask(2, costs(1, actions=4))), Caller())
    assert first.result(LONG)
    batching.abandon()
    second.cancel()
    assert runs[0] == 1


@pytest.fixture
def timed(wine):
    """Make a model whose runs are said to take so long: `timed(first, further)`."""

    def timed(first, further):
        artifact = Artifact(wine.path, "cpu")
        artifact.timing = Timing(first, further)
        return artifact

    return timed


def test_a_short_run_is_done_at_once_on_the_callers_thread(timed, runs):
    """No thread, no queue; what takes longer, by its rows or by its costs, has a thread."""
    artifact = timed(50e-6, 1e-6)
    batching = Batching(1, Telemetry())
    runs.clear()
    reply = batching.submit(Work(question(artifact, 3)), Caller())
    check_answer(Answer(*pickle.loads(reply)), alone(question(artifact, 3)))
    for longer in (question(artifact, 600), question(artifact, 9, costs(1, policies=200, actions=10))):
        check_reply(batching.submit(Work(longer), Caller()), longer)
    with pytest.raises(RuntimeError, match="told: wrong"):
        batching.submit(Work(ValueError("wrong")), Caller())
    with pytest.raises(DeadlineExceeded):
        batching.submit(Refused(question(artifact, 3)), Caller(0.0))
    batching.abandon()


def test_a_run_at_once_that_takes_long_is_the_last_one(make, tmp_path):
    """Where the time depends on more than the rows, the measurement is no guide."""
    artifact = Artifact(make(tmp_path / "slow.onnx", slow=True).path, "cpu")
    artifact.timing = Timing(10e-6, 0)
    batching = Batching(1, Telemetry())
    asked = Question(artifact, {"numeric": np.array([[5_000, 0, 0, 0]], np.float32)}, COST, COVERAGE)
    for _ in range(3):  # once may be chance
        assert isinstance(batching.submit(Work(asked), Caller()), bytes)
    assert batching.submit(Work(asked), Caller()).result(LONG)
    batching.abandon()


@pytest.mark.parametrize(
    ("batch", "further", "together"), [("auto", 1e-5, True), ("auto", 1e-3, False), ("off", 1e-5, False)]
)
def test_requests_share_a_run_where_that_was_measured_to_pay(
    timed, batching_of, runs, batch, further, together
):
    """Thirty-two rows in one run must take less than 0.8 of thirty-two runs."""
    artifact = timed(1e-3, further)
    runs.clear()
    with batching_of(batch=batch) as submit:
        futures = [submit(Work(question(artifact, 2))) for _ in range(4)]
    assert all(future.result(LONG) for future in futures)
    assert runs == ([8] if together else [2, 2, 2, 2])


def test_abandon_forgets_what_waits_and_counts_what_runs(ask, monkeypatch):
    """Waiting requests are cancelled; those of a run go on to their end, and are told as a number."""
    began, free, run = threading.Event(), threading.Event(), Artifact.run

    def held(self, *arguments):
        began.set()
        assert free.wait(LONG)
        return run(self, *arguments)

    batching = Batching(1, Telemetry(), batch="on")
    with monkeypatch.context() as patched:
        patched.setattr(Artifact, "run", held)
        try:
            running = batching.submit(Work(ask(2)), Caller())
            assert began.wait(LONG)
            waiting = [batching.submit(Work(ask(3), size), Caller()) for size in (1, 1, 2**20)]
            assert batching.abandon() == 1
            for future in waiting:
                with pytest.raises(CancelledError):
                    future.result(LONG)
        finally:
            free.set()
        assert running.result(LONG)
    check_reply(running, ask(2))
    assert batching.abandon() == 0


def test_nothing_is_left_to_abandon_where_nothing_was_asked():
    """No request, nothing that goes on."""
    assert Batching(2, Telemetry()).abandon() == 0


class Refused(Work):
    """A request whose error is told as it is."""

    def failure(self, error):
        """Tell the error itself, as the service does of those of its tree."""
        return error


class Broken(Work):
    """A request whose refusal fails too."""

    def failure(self, error):
        """Fail."""
        raise ZeroDivisionError("a secret") from error


def test_nobody_waits_for_ever_where_the_code_itself_is_wrong(ask, batching_of, caplog):
    """Whoever was taken along is told, no more than that there is something in the log."""
    with batching_of() as submit:
        futures = [submit(Broken(ask(2), reply=KeyError("labels"))), submit(Work(ask(2)))]
    error = futures[0].exception(LONG)
    assert type(error) is OrdinalError
    assert "secret" not in str(error)
    assert "a secret" in caplog.text
    assert futures[1].done()


@pytest.mark.parametrize("size", [100, 2**20])
@pytest.mark.parametrize("kind", [Work, Refused])
def test_what_is_done_is_not_held(ask, batching_of, kind, size):
    """A request goes with its future: its bytes, maybe many, do not wait for the garbage collector."""
    busy = batching_of()
    work = kind(ask(2), size) if kind is Work else kind(lambda: InvalidRequest("rows", "wrong"), size)
    seen = weakref.ref(work)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(InvalidRequest):
            future = busy.submit(work)
            assert isinstance(future.exception(LONG), InvalidRequest if kind is Refused else type(None))
            del future
        assert busy.submit(Work(ask(1), 2**20)).result(LONG)  # the only thread is done with the one before
        del work
        assert seen() is None
    finally:
        gc.enable()


def predictions(channel, rows, count):
    """Start as many calls about the same rows."""
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=rows.shape, data=rows.tobytes())
    stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
    return [
        stub.Predict.future(wire.PredictRequest(tensor=tensor, request_id=str(n)), timeout=LONG)
        for n in range(count)
    ]


@pytest.mark.parametrize("most_rows", [512, 1])
def test_a_busy_server_answers_many_by_few_runs(make, serving_of, tmp_path, runs, most_rows):
    """While long runs occupy the threads, the others queue up and share runs, unless told otherwise."""
    made = make(tmp_path / "slow.onnx", slow=True)
    with (
        serving_of(made.path, batch="on", max_batch_rows=most_rows) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        runs.clear()
        loops = 50_000 if most_rows > 1 else 1_000  # of some 7 µs
        slow = predictions(channel, np.array([[loops, 0, 0, 0]], np.float32), 8)
        quick = predictions(channel, np.array([[1, 0, 0, 0]], np.float32), 200)
        assert [call.result().request_id for call in quick] == [str(n) for n in range(200)]
        assert all(call.result().rows == 1 for call in slow)
    assert sum(runs) == 208
    assert len(runs) == 208 if most_rows == 1 else len(runs) < 150
