"""Whether replies of a real service are told right or wrong, in each protocol and for each kind of rows."""

import asyncio

import numpy as np
import pytest
from onnx import numpy_helper

from serving.artifact import Artifact
from serving.bench import answers
from serving.bench.answers import Expected, Seen, judge
from serving.bench.drive import Job, drive
from serving.bench.load import OK, Record
from serving.bench.speech import speech_of
from serving.manifest import Input, Profile
from serving.random_rows import random_rows
from serving.wire import ordinal_pb2 as wire

POOL = 8


def drawn(made, rows=3, seed=5):
    """Rows of some requests."""
    random = np.random.default_rng(seed)
    return [random_rows(made.manifest, rows, random) for _ in range(POOL)]


def replies(address, made, protocol="ordinal", stream=False, pool=None):
    """What a service answers to requests about an artifact: a short load."""
    speech = speech_of(protocol)
    job = Job(
        address=address,
        path=speech.stream if stream else speech.method,
        stream=stream,
        requests=tuple(
            speech.request(made.manifest, rows, made.manifest.name, "") for rows in pool or drawn(made)
        ),
        connections=2,
        deadline=10,
        seconds=0.2,
        intended=np.arange(2 * POOL) / 100,
    )
    done = asyncio.run(drive(job, Record()))
    assert done.load.counts() == {OK: 2 * POOL}, done.failures()
    return done.seen


@pytest.fixture(scope="module")
def other(make, tmp_path_factory):
    """An artifact like `wine` with other weights."""
    return make(tmp_path_factory.mktemp("other") / "wine.onnx", seed=9)


@pytest.mark.parametrize("protocol", ["ordinal", "inference"])
@pytest.mark.parametrize("name", ["wine", "digits", "cars"])
def test_right_answers(request, running, name, protocol):
    """Numbers, images and categories: what the service says is what a local run says."""
    made = request.getfixturevalue(name)
    expected = Expected(Artifact(made.path), drawn(made), speech_of(protocol))
    verdict = judge(replies(running.address, made, protocol), expected)
    assert (verdict.right, verdict.wrong, verdict.examples) == (2 * POOL, 0, ())


def test_right_answers_on_streams(running, wine):
    """Replies on a stream belong to the requests in their order."""
    expected = Expected(Artifact(wine.path), drawn(wine), speech_of("ordinal"))
    assert judge(replies(running.address, wine, stream=True), expected).right == 2 * POOL


def test_a_stream_that_is_refused_is_followed_by_another(running, wine):
    """A request that the service refuses ends its stream: it is counted, and the next ones are answered."""
    speech = speech_of("ordinal")
    good = speech.request(wine.manifest, drawn(wine)[0], "wine", "")
    job = Job(
        address=running.address,
        path=speech.stream,
        stream=True,
        requests=(good, good, b"\xff", good),
        connections=1,
        deadline=10,
        seconds=0.4,
        intended=np.arange(8) / 20,
    )
    done = asyncio.run(drive(job, Record()))
    assert list(done.load.status == OK) == [True, True, False, True] * 2
    assert done.load.counts() == {OK: 6, "INVALID_ARGUMENT": 2}
    assert "these 1 bytes are no ordinal.v1.PredictRequest" in done.failures()[0].text


@pytest.mark.parametrize("protocol", ["ordinal", "inference"])
def test_answers_of_another_artifact_are_wrong(running, wine, other, protocol):
    """Each one, and what is wrong is told of some."""
    expected = Expected(Artifact(other.path), drawn(wine), speech_of(protocol))
    verdict = judge(replies(running.address, wine, protocol), expected)
    assert (verdict.right, verdict.wrong, verdict.left_out) == (0, 2 * POOL, 0)
    assert len(verdict.examples) == 3
    assert verdict.examples[0].startswith("request 0, 2 times: probabilities of row 0 must be [0.")


def test_answers_to_another_request_are_wrong(running, wine):
    """A service that mixes up the replies of two requests is found out."""
    expected = Expected(Artifact(wine.path), drawn(wine), speech_of("ordinal"))
    seen = replies(running.address, wine)
    seen.replies[2], seen.replies[3] = seen.replies[3], seen.replies[2]
    verdict = judge(seen, expected)
    assert (verdict.right, verdict.wrong) == (2 * POOL - 4, 4)


def test_what_else_is_wrong(running, wine):
    """Each output counts, and bytes that are no reply do too."""
    expected = Expected(Artifact(wine.path), drawn(wine), speech_of("ordinal"))
    (reply,) = replies(running.address, wine).replies[0]
    assert expected.wrong(0, reply) == ""
    changes = {
        "expected_value of row 1": lambda it: it.expected_value.__setitem__(1, it.expected_value[1] + 1e-3),
        "expected_cost of row 2": lambda it: it.decisions[0].expected_cost.__setitem__(2, 0.0),
        "decision of row 0": lambda it: it.decisions[0].action.__setitem__(0, 4),
        "interval of row 1": lambda it: it.interval.upper.__setitem__(1, it.interval.upper[1] - 1),
        "margin of row 0": lambda it: it.decisions[0].margin.__setitem__(0, 9.0),
        "uncertainty of row 0": lambda it: it.uncertainty.epistemic.__setitem__(0, 0.5),
        "the reply cannot be read: one policy was asked for": lambda it: it.decisions.add(),
        "expected_value must have shape (3,), got (4,)": lambda it: it.expected_value.append(1),
        "outputs must be [": lambda it: it.resultant.extend([0, 0, 0]),
        "the reply cannot be read: cannot reshape": lambda it: it.probabilities.append(1),
    }
    for told, change in changes.items():
        changed = wire.PredictResponse.FromString(reply)
        change(changed)
        assert expected.wrong(0, changed.SerializeToString()).startswith(told), told
    assert expected.wrong(0, b"\xff").startswith("the reply cannot be read: ")


def test_ties_may_fall_either_way(make, serving_of, wine, tmp_path):
    """Where two actions cost the same, either is right, and a third is not."""
    cost = np.array(wine.manifest.profiles["absolute"].cost, np.float32)
    cost[:, 1] = cost[:, 0]
    cost[:, 2:] += 9

    def edit(graph):
        (default,) = (initializer for initializer in graph.initializer if initializer.name == "cost")
        default.CopyFrom(numpy_helper.from_array(cost[np.newaxis, np.newaxis], "cost"))

    profile = Profile(actions=wine.manifest.labels, cost=cost.tolist())
    tied = make(tmp_path / "tied.onnx", profiles={"absolute": profile}, edit=edit)
    expected = Expected(Artifact(tied.path), drawn(tied), speech_of("ordinal"))
    with serving_of(tied.path) as server:
        (reply,) = replies(server.address, tied).replies[0]
    changed = wire.PredictResponse.FromString(reply)
    assert list(changed.decisions[0].action) == [0, 0, 0]
    changed.decisions[0].action[1] = 1
    assert expected.wrong(0, changed.SerializeToString()) == ""
    changed.decisions[0].action[1] = 2
    assert expected.wrong(0, changed.SerializeToString()) == "decision of row 1 must be [0], got [2]"


def test_equal_replies_are_kept_once(monkeypatch):
    """What there is no room for is counted, and counts as neither right nor wrong."""
    monkeypatch.setattr(answers, "_ROOM", 5)
    seen = Seen(2)
    for reply in (b"one", b"one", b"two", b"2"):
        seen.note(0, reply)
    seen.note(1, b"3")
    assert seen.replies == [{b"one": 2, b"2": 1}, {b"3": 1}]
    assert seen.left_out == 1
    both = Seen(2)
    both.add(seen)
    both.add(seen)
    assert both.replies == [{b"one": 4, b"2": 2}, {b"3": 2}]
    assert both.left_out == 2


def test_rows_lie_within_what_training_has_seen(wine, digits, cars):
    """Numbers within their ranges, gaps and unknown categories where they are allowed; all of them come."""
    random = np.random.default_rng(0)
    low, high = np.array(wine.manifest.inputs[0].ranges).T
    numbers = random_rows(wine.manifest, 500, random)["numeric"]
    assert (numbers.shape, numbers.dtype) == ((500, 4), np.float32)
    assert ((low <= numbers) & (numbers <= high)).all()
    assert (np.ptp(numbers, axis=0) >= 0.95 * (high - low)).all()
    pixels = random_rows(digits.manifest, 50, random)["image"]
    assert (pixels.shape, pixels.dtype, pixels.min(), pixels.max()) == ((50, 8, 8, 1), np.uint8, 0, 16)
    rows = random_rows(cars.manifest, 500, random)
    for spec in cars.manifest.inputs:
        for feature, name in enumerate(spec.features):
            check_gaps(spec, name, rows[spec.name][:, feature], feature)


def check_gaps(spec: Input, name, column, feature):
    """A column has gaps where they are allowed, and every category, and maybe unknown ones."""
    if spec.dtype == "string":
        absent, known = {"", *spec.missing_texts}, set(spec.categories[feature])
        assert known <= set(column)
        assert bool(set(column) & absent) == (name in spec.missing)
        assert bool(set(column) - absent - known) == spec.unknown_allowed
    else:
        assert np.isnan(column).any() == (name in spec.missing)
