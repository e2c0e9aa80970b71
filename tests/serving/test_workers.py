"""Several processes answer on one port: a crash is survived and repaired, and all end together."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from servers import Load, children, wait_until

from serving.client import Client
from serving.fleet import _RESTS
from serving.ports import Reserved

from .conftest import NUMERIC

pytestmark = pytest.mark.slow  # real processes, and seconds of load

ROWS = np.zeros((1, 4), np.float32)
FAST_END = ("--pause", "0", "--grace", "1")

# Of a slow artifact: a run of what was seen in training takes a minute.
SLOW_TO_LOAD = NUMERIC.model_copy(update={"ranges": ((20_000_000, 20_000_000), *NUMERIC.ranges[1:])})


def connections(pid):
    """How many connections a process has accepted and not closed."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            own.add(str(entry.readlink()))
    lines = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    established = "01"
    return sum(f"socket:[{line[9]}]" in own for line in lines if line[3] == established)


def alive(pid):
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_connections_are_spread_over_the_workers(process, wine):
    """Every worker has some of many connections, and all of them are answered."""
    service = process(wine.path, "--workers", "2", *FAST_END)
    address = service.address()
    with contextlib.ExitStack() as stack:
        # A channel of its own each: those of a process to one address share their connection otherwise.
        for number in range(24):
            options = [("grpc.use_local_subchannel_pool", 1), ("number", number)]
            channel = stack.enter_context(grpc.insecure_channel(address, options=options))
            grpc.channel_ready_future(channel).result(timeout=10)
        held = [connections(pid) for pid in service.workers()]
    assert sum(held) == 24
    assert min(held) > 0


def test_a_crash_is_survived_and_repaired(process, wine):
    """The other worker answers meanwhile, and soon there are two again; the log says what has happened."""
    service = process(wine.path, "--workers", "2", *FAST_END)
    address = service.address()
    first, second = service.workers()
    with Load(address, ROWS) as load:
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(service.workers()) == 2 and service.workers() != [first, second])
        assert second in service.workers()
        service.wait_for(rf"ERROR +worker \d, process {first}, was ended by SIGKILL; another one takes its")
        service.wait_for("loading")
    assert load.failures == []


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_is_given_rests(process, wine):
    """The first time it is replaced at once, then after longer and longer; the others go on."""
    service = process(wine.path, "--workers", "2", *FAST_END)
    address = service.address()
    known = set(service.workers())
    victim = min(known)
    for rest in _RESTS[:4]:
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        (victim,) = wait_until(lambda: set(service.workers()) - known)
        assert rest <= time.monotonic() - began < rest + 2
        known.add(victim)
    service.popen.terminate()
    assert service.end() == 0
    assert "another one takes its place in 2 s" in "".join(service.log)
    assert address


def test_the_only_worker_comes_back(process, wine):
    """A client that tries again does not notice much."""
    service = process(wine.path, *FAST_END)
    with Client(service.address()) as client:
        os.kill(service.workers()[0], signal.SIGKILL)
        assert client.predict(ROWS).version == "0"


def test_a_signal_to_one_worker(process, wine):
    """SIGTERM makes it drain, and another takes its place; SIGINT is left to the supervisor."""
    service = process(wine.path, *FAST_END)
    service.address()
    (worker,) = service.workers()
    os.kill(worker, signal.SIGINT)
    time.sleep(0.2)
    assert service.workers() == [worker]
    os.kill(worker, signal.SIGTERM)
    service.wait_for("draining")
    service.wait_for(f"process {worker}, ended with status 0; another one takes its place$")
    service.wait_for("loading")


def test_workers_end_with_their_supervisor(process, wine, make, tmp_path):
    """Where it is killed they finish what is in flight, and the port is free again."""
    made = make(tmp_path / "slow.onnx", slow=True)
    service = process(made.path, "--workers", "2", "--pause", "0.1")
    address = service.address()
    workers = service.workers()
    answers = []
    with Client(address) as client:
        asking = threading.Thread(
            target=lambda: answers.append(client.predict(np.array([[100_000, 0, 0, 0]], np.float32)))
        )
        asking.start()
        time.sleep(0.2)
        service.popen.kill()
        asking.join()
    assert len(answers) == 1
    wait_until(lambda: not any(alive(pid) for pid in workers))
    port = address.rpartition(":")[2]
    again = process(wine.path, *FAST_END, "--port", port)
    assert again.address() == address


def test_ctrl_c_ends_all_in_good_order(wine):
    """In a terminal it reaches every process: the status is 0, and no process has a traceback to tell."""
    command = [
        sys.executable,
        "-m",
        "serving",
        "serve",
        wine.path,
        "--port",
        "0",
        "--workers",
        "2",
        *FAST_END,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as service:
        assert any("SERVING" in line for line in service.stderr)
        workers = children(service.pid, "serving.worker")
        os.killpg(service.pid, signal.SIGINT)
        said = service.stderr.read()
        assert service.wait(30) == 0
    assert "Traceback" not in said
    assert said.endswith("stopped\n")
    assert not any(alive(pid) for pid in workers)


def test_a_signal_during_the_start_ends_all(process, make, tmp_path):
    """A service that is not SERVING yet has nothing to drain."""
    made = make(tmp_path / "m.onnx", slow=True, inputs=(SLOW_TO_LOAD,))
    service = process(made.path, "--workers", "2", "--grace", "60")
    service.wait_for("worker 1: loading")
    workers = service.workers()
    service.popen.terminate()
    assert service.end() == 0
    assert not any(alive(pid) for pid in workers)


def test_a_model_that_is_refused_ends_the_start(command, wine, tmp_path):
    """With all workers, in one sentence, with status 2."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(wine.path.read_bytes()[:-1])
    ended = command("serve", wine.path, broken, "--port", "0", "--workers", "2")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"ordinal-serving: {broken}: ")
    assert "Traceback" not in ended.stderr


def test_a_model_that_only_a_worker_can_refuse(command, make, tmp_path):
    """What onnxruntime says of it comes through from the worker."""

    def unfit(graph):
        graph.node[0].op_type = "NoSuchOperator"

    made = make(tmp_path / "m.onnx", edit=unfit)
    ended = command("serve", made.path, "--port", "0")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(
        f"ordinal-serving: {made.path}: onnxruntime cannot load"
    )
    assert "Traceback" not in ended.stderr


def test_a_device_that_is_not_there_ends_the_start(command, wine):
    """Who asks for a GPU does not silently get a processor."""
    ended = command("serve", wine.path, "--port", "0", "--device", "cuda")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("ordinal-serving: device 'cuda' was asked for, but")


def test_workers_that_cannot_start_end_the_start(command, wine, tmp_path):
    """An installation that is broken is told, and nothing is tried for ever."""
    (tmp_path / "uvloop.py").write_text("raise ImportError('no such thing here')\n")
    ended = command("serve", wine.path, "--port", "0", env={"PYTHONPATH": str(tmp_path)})
    assert ended.returncode == 1
    assert "ImportError: no such thing here" in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ordinal-serving: a worker ended with status 1 before it was ready")


def test_two_services_on_one_port_are_refused(command, process, wine):
    """Workers share the port with those of their own service only."""
    address = process(wine.path, "--workers", "2", *FAST_END).address()
    ended = command("serve", wine.path, "--port", address.rpartition(":")[2], "--workers", "2")
    assert ended.returncode == 1
    said = ended.stderr.splitlines()
    assert said == [
        f"ordinal-serving: cannot listen on {address}: Address already in use; "
        "another service may be running there, or use --port 0"
    ]


def test_a_port_that_is_reserved_is_refused(command, wine):
    """Also while the other service still loads its models."""
    with Reserved("127.0.0.1", 0) as other:
        ended = command("serve", wine.path, "--port", str(other.port))
    assert ended.returncode == 1
    assert "Address already in use; another service" in ended.stderr


@pytest.mark.slow
def test_old_connections_are_asked_to_come_anew(process, wine):
    """Which spreads them over workers; what is under way is answered, what comes too late made again."""
    service = process(wine.path, "--max-connection-age", "0.2", *FAST_END)
    with Client(service.address(), connections=1) as client:
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            assert client.predict(ROWS).version == "0"
    (worker,) = service.workers()
    wait_until(lambda: connections(worker) == 0)


@pytest.mark.slow
def test_workers_that_end_under_load_lose_no_request(process, wine):
    """A worker that drains costs a client, which tries again, no request."""
    service = process(wine.path, "--workers", "2")
    with Load(service.address(), ROWS) as load:
        for _ in range(6):
            worker, other = service.workers()
            os.kill(worker, signal.SIGTERM)
            service.wait_for(f"process {worker}, ended with status 0; another one")
            service.wait_for("loading")
            assert other in service.workers()
            time.sleep(1)
    assert load.failures == []


@pytest.mark.slow
def test_services_that_end_under_load_lose_no_request(process, wine):
    """Of two services, each may be started anew in turn."""
    services = [process(wine.path), process(wine.path)]
    addresses = [service.address() for service in services]
    with Load(f"ipv4:{','.join(addresses)}", ROWS) as load:
        for turn in (0, 1) * 5:
            services[turn].popen.terminate()
            assert services[turn].end() == 0
            services[turn] = process(wine.path, "--port", addresses[turn].rpartition(":")[2])
            assert services[turn].address() == addresses[turn]
            time.sleep(1.5)  # by then both are connected
    assert load.failures == []
