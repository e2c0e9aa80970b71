"""Requests that wait together share a run, and none harms another."""

import functools
import gc
import pickle
import threading
import weakref
from concurrent.futures import CancelledError

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.artifact import Answer, Artifact
from serving.batching import Batching, Question, joined, parted
from serving.errors import InvalidRequest, OrdinalError
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

    def batching_of(most_rows=512):
        made.append(Busy(most_rows))
        return made[-1]

    yield batching_of
    for busy in made:
        busy.free.set()
        busy.batching.abandon()


class Busy:
    """A `Batching` whose only thread does something else meanwhile."""

    def __init__(self, most_rows):
        self.batching = Batching(1, most_rows)
        self.free = threading.Event()

    def __enter__(self):
        self.free.clear()
        self.batching.call(lambda: bytes(self.free.wait(LONG)))
        return self.batching.submit

    def __exit__(self, *_):
        self.free.set()


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
        return self._question

    def reply(self, answer):
        """Return what there is of the answer, or raise the error."""
        if self._reply is not None:
            raise self._reply
        return pickle.dumps(tuple(answer))

    def failure(self, error):
        """Tell that this request has failed, and of what."""
        return RuntimeError(f"told: {error}")


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


def test_questions_agree_in_shape_where_model_policies_and_actions_do(ask, digits):
    """Rows and costs by row or for all may differ; the model and the costs' other sizes may not."""
    shape = ask(3).shape
    assert shape == ask(5, costs(1)).shape == ask(5, costs(1, rows=5)).shape
    others = [
        ask(3, costs(1, policies=1)),
        ask(3, costs(1, actions=4)),
        question(Artifact(digits.path, "cpu"), 3),
    ]
    assert len({shape, *(other.shape for other in others)}) == 4


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
    batching = Batching(2, 512)
    for rows in (1, 2, 3):
        assert batching.submit(Work(ask(rows))).result(LONG)
    batching.abandon()
    assert runs == [1, 2, 3]


def test_a_run_has_no_more_rows_than_the_limit(ask, batching_of, runs):
    """What would be more is left to the next run; a request that is larger has one of its own."""
    with batching_of(most_rows=10) as submit:
        futures = [submit(Work(ask(rows))) for rows in (4, 4, 4, 25, 1, 9, 1, 10)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [8, 4, 25, 10, 1, 10]


def test_a_limit_of_one_row_answers_each_alone(ask, batching_of, runs):
    """`max_batch_rows` = 1 is a run for each request, whatever its size."""
    with batching_of(most_rows=1) as submit:
        futures = [submit(Work(ask(rows))) for rows in (1, 1, 3, 1, 2)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [1, 1, 3, 1, 2]


def test_requests_that_ask_for_much_do_not_wait_for_others(ask, batching_of, runs):
    """Costs, repeated for each row, and expected costs have a limit: beyond it all so far are answered."""
    wide = [costs(n, policies=1, actions=2000) for n in range(7)]  # with 12,000 numbers for a row, of 2^21
    with batching_of() as submit:
        futures = [submit(Work(ask(40, each))) for each in wide]
    assert all(future.result(LONG) for future in futures)
    assert runs == [200, 80]


def test_a_thread_takes_some_and_leaves_some(ask, batching_of, runs):
    """At most 64 requests are taken at once, so that another thread has something to do."""
    with batching_of() as submit:
        futures = [submit(Work(ask(1))) for _ in range(150)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [64, 64, 22]


def test_large_requests_are_left_to_the_other_threads(ask, batching_of, runs):
    """No more is taken than 256 KiB of requests, but one at least."""
    with batching_of() as submit:
        futures = [submit(Work(ask(1), size=2**17)) for _ in range(5)]
        futures += [submit(Work(ask(3), size=2**18 + 1)) for _ in range(2)]
    assert all(future.result(LONG) for future in futures)
    assert runs == [2, 2, 1, 3, 3]


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
    assert runs == [8, 10, 4, 7]
    for future, each in zip(futures, questions, strict=True):
        check_reply(future, each)


def test_a_request_without_a_question_harms_no_other(ask, batching_of, runs):
    """What is wrong with one request is told to it, and the others share their run."""
    wrong = ValueError("no such column")
    with batching_of() as submit:
        futures = [submit(Work(each)) for each in (ask(2), wrong, ask(3), wrong)]
    with pytest.raises(RuntimeError, match=r"^told: no such column$"):
        futures[1].result(LONG)
    assert isinstance(futures[3].exception(LONG), RuntimeError)
    check_reply(futures[0], ask(2))
    check_reply(futures[2], ask(3))
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


def test_who_has_gone_is_not_asked(ask, batching_of, runs):
    """A request that is cancelled while it waits costs nothing."""
    works = [Work(ask(2)), Work(ask(3)), Work(ask(4))]
    with batching_of() as submit:
        futures = [submit(work) for work in works]
        assert futures[1].cancel()
    assert futures[0].result(LONG)
    assert futures[2].result(LONG)
    assert [work.asked for work in works] == [1, 0, 1]
    assert runs == [6]


def test_a_function_is_called_on_a_thread(batching_of):
    """What runs no graph has a thread too, and its error is its future's."""
    busy = batching_of()
    assert (
        busy.batching.call(lambda: threading.current_thread().name.encode())
        .result(LONG)
        .startswith(b"pred")
    )
    with pytest.raises(ZeroDivisionError):
        busy.batching.call(lambda: bytes(1 // 0)).result(LONG)


def test_abandon_forgets_what_waits_and_counts_what_runs(ask, monkeypatch):
    """Waiting requests are cancelled; those of a run go on to their end, and are told as a number."""
    began, free, run = threading.Event(), threading.Event(), Artifact.run

    def held(self, *arguments):
        began.set()
        assert free.wait(LONG)
        return run(self, *arguments)

    batching = Batching(1, 512)
    with monkeypatch.context() as patched:
        patched.setattr(Artifact, "run", held)
        try:
            running = batching.submit(Work(ask(2)))
            assert began.wait(LONG)
            waiting = [batching.submit(Work(ask(3))) for _ in range(5)]
            called = batching.call(bytes)
            assert batching.abandon() == 1
            for future in (*waiting, called):
                with pytest.raises(CancelledError):
                    future.result(LONG)
        finally:
            free.set()
        assert running.result(LONG)
    check_reply(running, ask(2))
    assert batching.abandon() == 0


def test_nothing_is_left_to_abandon_where_nothing_was_asked():
    """No request, nothing that goes on."""
    assert Batching(2, 512).abandon() == 0


class Refused(Work):
    """A request that is refused, its error told as it is; `asked` is what the error says."""

    def question(self):
        """Refuse it."""
        raise InvalidRequest("rows", self._question)

    def failure(self, error):
        """Tell the error itself, as the service does of those of its tree."""
        return error


class Broken(Refused):
    """A request whose refusal fails too."""

    def failure(self, error):
        """Fail."""
        raise ZeroDivisionError("a secret") from error


def test_nobody_waits_for_ever_where_the_code_itself_is_wrong(ask, batching_of, caplog):
    """Whoever was taken along is told, no more than that there is something in the log."""
    with batching_of() as submit:
        futures = [submit(Broken("wrong")), submit(Work(ask(2)))]
    for future in futures:
        error = future.exception(LONG)
        assert type(error) is OrdinalError
        assert "secret" not in str(error)
    assert "a secret" in caplog.text


@pytest.mark.parametrize("kind", [Work, Refused])
def test_what_is_done_is_not_held(ask, batching_of, kind):
    """A request goes with its future: its bytes, maybe many, do not wait for the garbage collector."""
    busy = batching_of()
    work = kind(ask(2) if kind is Work else "wrong")
    seen = weakref.ref(work)
    gc.collect()
    gc.disable()
    try:
        future = busy.batching.submit(work)
        assert isinstance(future.exception(LONG), InvalidRequest if kind is Refused else type(None))
        busy.batching.call(bytes).result(LONG)  # so that the only thread is done with the one before
        del work, future
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
        serving_of(made.path, max_batch_rows=most_rows) as server,
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
