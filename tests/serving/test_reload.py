"""A running service takes other versions, and keeps what it has where they cannot be served."""

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from onnx import helper, numpy_helper
from servers import Load, wait_until

from serving.client import Client
from serving.orders import Wanted
from serving.resolve import Resolved
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

from .conftest import NUMERIC
from .registries import sqlite_store

pytestmark = pytest.mark.slow  # real processes, and seconds of load

ROWS = np.zeros((1, 4), np.float32)
FAST_END = ("--pause", "0", "--grace", "1")

# Of a slow artifact: a run of what was seen in training takes a minute.
SLOW_TO_LOAD = NUMERIC.model_copy(update={"ranges": ((20_000_000, 20_000_000), *NUMERIC.ranges[1:])})


@pytest.fixture(scope="module")
def versions(make, tmp_path_factory):
    """Five artifacts of one model that answer differently."""
    folder = tmp_path_factory.mktemp("versions")
    return [make(folder / f"{seed}.onnx", seed=seed) for seed in range(5)]


def put(made, path):
    """Let a file be another one, at once, as whoever replaces a file should."""
    unfinished = path.with_suffix(".tmp")
    shutil.copy(made.path, unfinished)
    unfinished.replace(path)
    return path


def damage(path):
    """Let a file be one in which a bit has changed."""
    unfinished = path.with_suffix(".tmp")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    unfinished.write_bytes(content)
    unfinished.replace(path)


def answers_of(made):
    """Tell whether an answer is an artifact's."""
    expected = made.probabilities(ROWS)
    return lambda answer: np.allclose(answer.probabilities, expected, atol=1e-5)


def described(address, model=""):
    """The description of a model as it is on the wire."""
    with grpc.insecure_channel(address) as channel:
        stub = ordinal_pb2_grpc.OrdinalServiceStub(channel)
        return stub.GetModel(wire.GetModelRequest(model=model), timeout=10)


def test_a_worker_that_is_started_anew_has_what_was_accepted(process, versions, tmp_path):
    """Also where its file has been replaced by one that cannot be served."""
    path = put(versions[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0.1", *FAST_END)
    with Client(service.address()) as client:
        damage(path)
        service.wait_for("does not agree with its seal")
        os.kill(service.workers()[0], signal.SIGKILL)
        service.wait_for(
            "WARNING +.*wine.onnx is another file by now; the one that was there is loaded again"
        )
        assert answers_of(versions[0])(client.predict(ROWS))


def test_a_file_that_is_replaced_is_served(process, versions, tmp_path):
    """Soon every worker answers with the new one; every request is answered, by the old or the new."""
    path = put(versions[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0.1", "--workers", "2", *FAST_END)
    address = service.address()
    old, new = map(answers_of, versions[:2])
    with Client(address, retry=False) as client:
        assert old(client.predict(ROWS))
        put(versions[1], path)
        service.wait_for("is another file now")
        answers = []
        while not answers or not all(map(new, answers[-40:])) or len(answers) < 40:
            answers.append(client.predict(ROWS))
            assert old(answers[-1]) or new(answers[-1])


def test_a_signal_makes_it_look_at_once(process, versions, tmp_path):
    """SIGHUP is for services that do not look by themselves."""
    path = put(versions[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0", *FAST_END)
    with Client(service.address()) as client:
        put(versions[1], path)
        time.sleep(0.3)
        assert answers_of(versions[0])(client.predict(ROWS))
        service.popen.send_signal(signal.SIGHUP)
        wait_until(lambda: answers_of(versions[1])(client.predict(ROWS)))


def test_a_file_that_is_damaged_is_refused(process, versions, tmp_path):
    """What was served stays, `GetModel` and log say why, until a good one comes."""
    path = put(versions[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0.1", *FAST_END)
    address = service.address()
    damage(path)
    (refusal,) = wait_until(lambda: described(address).refused)
    assert "does not agree with its seal" in refusal.reason
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", refusal.since)
    service.wait_for(r"WARNING +.*wine.onnx: what is served stays: .* does not agree with its seal")
    with Client(address) as client:
        assert answers_of(versions[0])(client.predict(ROWS))
        put(versions[1], path)
        wait_until(lambda: answers_of(versions[1])(client.predict(ROWS)))
    assert not described(address).refused


def test_a_model_that_cannot_be_loaded_is_refused(process, versions, make, tmp_path):
    """A whole file that onnxruntime does not understand is told as `refused`, and not tried again."""

    def unfit(graph):
        graph.node[0].op_type = "NoSuchOperator"

    bad = make(tmp_path / "bad.onnx", edit=unfit)
    path = put(versions[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0.1", "--workers", "2", *FAST_END)
    address = service.address()
    put(bad, path)
    (refusal,) = wait_until(lambda: described(address).refused)
    assert refusal.version == "0"
    assert f"{path}: onnxruntime cannot load it" in refusal.reason
    service.wait_for(r"ERROR +.*wine.onnx: what is served stays: .*onnxruntime cannot load it")
    with Client(address) as client:
        assert all(answers_of(versions[0])(client.predict(ROWS)) for _ in range(20))
        put(versions[1], path)
        wait_until(lambda: all(answers_of(versions[1])(client.predict(ROWS)) for _ in range(20)))
    assert not described(address).refused
    service.popen.terminate()
    assert service.end() == 0
    log = "".join(service.log)
    assert log.count("cannot load it") == 1
    assert len(re.findall(r"worker \d: loading", log)) == 2 + 1 + 2  # both, the one that tried, both


def test_a_model_that_ends_its_worker_is_refused(process, versions, make, tmp_path):
    """Where two workers have ended while they loaded it; what was served stays."""
    deadly = make(tmp_path / "deadly.onnx", slow=True, inputs=(SLOW_TO_LOAD,))
    path = put(versions[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0.1", "--workers", "2", *FAST_END)
    address = service.address()
    put(deadly, path)
    for _ in range(2):
        number = int(service.wait_for(r"worker (\d): loading .*wine\.onnx")[1])
        with Client(address) as client:
            assert answers_of(versions[0])(client.predict(ROWS))
        os.kill(wait_until(lambda: computing(service)), signal.SIGKILL)
        service.wait_for(f"worker {number} was ended by SIGKILL while it loaded")
    service.wait_for("what is served stays: a worker that was to load it was ended by SIGKILL")
    put(versions[1], path)
    with Client(address) as client:
        wait_until(lambda: all(answers_of(versions[1])(client.predict(ROWS)) for _ in range(20)))


def computing(service):
    """The worker that loads: the only one that computes, now and half a second later, or None."""

    def ticks(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        return 0

    looks = []
    for _ in range(2):
        before = {pid: ticks(pid) for pid in service.workers()}
        time.sleep(0.5)
        looks.append([pid for pid, then in before.items() if ticks(pid) - then >= 5])  # of 50
    return looks[0][0] if looks[0] == looks[1] and len(looks[0]) == 1 else None


@pytest.mark.slow
def test_an_alias_that_moves_is_followed(process, versions, tmp_path):
    """The version that the alias points to is served, and one that cannot be served is not."""
    store = sqlite_store(tmp_path)
    first, second = (store.add(made.path) for made in versions[:2])
    store.point("champion", first)
    service = process(
        *("models:/wine@champion", "--poll", "0.2", *FAST_END),
        *("--tracking-uri", store.uri, "--cache", str(tmp_path / "cache")),
    )
    with Client(service.address()) as client:
        assert client.predict(ROWS, "wine", "champion").version == first
        store.point("champion", second)
        wait_until(lambda: client.predict(ROWS).version == second)
        assert answers_of(versions[1])(client.predict(ROWS))


def entries(made, *aliases, model="m", version="1"):
    """A state with one MODEL."""
    return {model: Resolved(made.path, "wine", version, aliases)}


def test_other_names_of_the_same_file(serving_of, versions):
    """An alias that is added or taken away does not load the file again."""
    with serving_of() as server:
        for aliases in (("champion",), ("champion", "new"), ()):
            state = entries(versions[0], *aliases)
            digest = server.do(server.server.apply(Wanted(state))).served["m"].digest
            with_digest = {"m": replace(state["m"], digest=digest)}
            applied = server.do(server.server.apply(Wanted(with_digest)))
            assert applied.served["m"].aliases == aliases
        artifacts = {one.artifact for one in server.server._live.repository({})}
        assert len(artifacts) == 1


def test_a_file_that_has_changed_since_it_was_found(serving_of, versions):
    """Is refused: its digest was looked at, and it was found to be another one."""
    with serving_of() as server:
        server.do(server.server.apply(Wanted(entries(versions[0]))))
        other = {"m": Resolved(versions[1].path, "wine", "2", digest="0" * 64)}
        applied = server.do(server.server.apply(Wanted(other)))
        assert applied.served["m"].version == "1"
        assert applied.refused["m"].version == "2"
        assert "has changed since it was found" in applied.refused["m"].reason


def test_two_files_of_one_name_and_version(serving_of, versions):
    """The second one is refused, whether at the start or later, and the first one stays."""
    with serving_of() as server:
        state = entries(versions[0]) | entries(versions[1], model="other")
        applied = server.do(server.server.apply(Wanted(state)))
        assert list(applied.served) == ["m"]
        assert "is already served from" in applied.refused["other"].reason


def test_what_is_in_flight_is_answered_by_the_old_one(serving_of, make, tmp_path):
    """A version that is replaced ends its work, and is then forgotten."""
    import gc
    import weakref

    old, new = (make(tmp_path / f"{seed}.onnx", seed=seed, slow=True) for seed in (1, 2))
    with serving_of() as server, Client(server.address) as client:
        server.do(server.server.apply(Wanted(entries(old))))
        session = weakref.ref(next(iter(server.server._live.repository({}))).artifact)
        answers = []
        rows = np.array([[200_000, 0, 0, 0]], np.float32)
        asking = threading.Thread(target=lambda: answers.append(client.predict(rows)))
        asking.start()
        time.sleep(0.1)
        server.do(server.server.apply(Wanted(entries(new, version="2"))))
        assert client.predict(ROWS).version == "2"
        assert not answers
        asking.join()
        assert answers[0].version == "1"
        np.testing.assert_allclose(answers[0].probabilities, old.probabilities(rows), atol=1e-5)
        gc.collect()
        wait_until(lambda: session() is None)


def with_weights(seed):
    """An edit that gives a graph 50 MB of weights, which add nothing to its scores."""

    def edit(graph):
        table = np.random.default_rng(seed).normal(size=(200_000, 64)).astype(np.float32)
        constants = {"table": table, "third": np.array([3])}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        nodes = list(graph.node)
        place = next(index for index, node in enumerate(nodes) if node.output[0] == "score") + 1
        nodes[place - 1].output[0] = "bare_score"
        more = [
            # The rows decide where it looks, so that nothing of it is computed when it is loaded.
            helper.make_node("ReduceMin", ["flat"], ["smallest"], keepdims=0),
            helper.make_node("Sub", ["smallest", "smallest"], ["naught"]),
            helper.make_node("Cast", ["naught"], ["offset"], to=7),
            helper.make_node("Add", ["third", "offset"], ["where"]),
            helper.make_node("Gather", ["table", "where"], ["looked_up"]),
            helper.make_node("ReduceSum", ["looked_up"], ["sum"], keepdims=0),
            helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
            helper.make_node("Add", ["bare_score", "nothing"], ["score"]),
        ]
        del graph.node[:]
        graph.node.extend([*nodes[:place], *more, *nodes[place:]])

    return edit


def resident(pid):
    """MiB of memory that a process has when nothing is being loaded."""

    def now():
        time.sleep(0.05)
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    return min(now() for _ in range(30))


@pytest.mark.slow
def test_large_models_are_replaced_again_and_again(process, make, tmp_path):
    """No request fails, and the memory of those that were replaced is given back."""
    large = [make(tmp_path / f"{seed}.onnx", seed=seed, edit=with_weights(seed)) for seed in range(2)]
    assert large[0].path.stat().st_size > 50e6
    path = put(large[0], tmp_path / "wine.onnx")
    service = process(path, "--poll", "0.1", *FAST_END)
    with Load(service.address(), ROWS) as load:
        (worker,) = service.workers()
        sizes = []
        for turn in range(20):
            put(large[(turn + 1) % 2], path)
            service.wait_for("INFO +wine version 0 on")  # another one is served
            if turn in (1, 19):
                sizes.append(resident(worker))
    assert load.failures == []
    assert service.workers() == [worker]
    assert sizes[1] < sizes[0] + 25
    assert sizes[1] < 250  # the model itself has 49
