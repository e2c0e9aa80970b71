"""The command `ordinal-serving bench`, against real services, and one that lies."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from serving.wire import ordinal_pb2 as wire

pytestmark = pytest.mark.slow  # real processes, and seconds of load

SERVICE = wire.DESCRIPTOR.services_by_name["OrdinalService"].full_name


def measured(command, *arguments, status=0):
    """What a short load says as JSON."""
    done = command("bench", *arguments, "--seconds", "0.5", "--warmup", "0.1", "--json")
    assert (done.returncode, done.stderr) == (status, "")
    return json.loads(done.stdout)


def test_the_report(command, running, wine):
    """Rates, percentiles, pictures, what the generator took, and a sentence about the answers."""
    done = command(
        *("bench", running.address, "--model", "wine", "--artifact", wine.path, "--rate", "100"),
        *("--seconds", "0.5", "--warmup", "0.1"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout
    assert told.startswith(f"wine version 0 at {running.address}, CPUExecutionProvider: ordinal, 1 row a")
    assert re.search(
        r"^load +100 requests/s for 0\.5 s, constant arrivals; \d+ good answers/s$", told, re.M
    )
    assert re.search(r"^answered +50 OK$", told, re.M)
    assert re.search(
        r"^latency +p50 [\d.]+ (µs|ms|s)  p90 .*  p95 .*  p99 .*  p99\.9 .*  max \d.*$", told, re.M
    )
    assert re.search(r"^ +[\d.]+ (µs|ms|s) … +[\d.]+ (µs|ms|s) +\d+  █", told, re.M)
    assert re.search(r"^generator +\d+ µs of CPU a request, \d+% of a core", told, re.M)
    assert f"\nanswers     all 50 are what a local run of {wine.path} says\n" in told
    assert "saturation" not in told


def test_the_rate_is_half_of_saturation_by_default(command, running):
    """Which is looked for, and told; without an artifact nothing is said of the answers."""
    content = measured(command, running.address, "--model", "digits", "--seed", "3")
    saturation, load = content["saturation"], content["load"]
    assert saturation["seconds"] == 0.5  # as long as the load, which is short here
    assert saturation["rate"] > 0
    assert load["intended_rate"] == saturation["rate"] / 2
    assert load["requests"] == pytest.approx(load["intended_rate"] * 0.5, abs=1)
    assert content["answers"] is None


def test_the_shape_of_json(command, running, cars):
    """All that the report has, as numbers in seconds."""
    content = measured(
        *(command, running.address, "--model", "cars", "--artifact", cars.path, "--rate", "60"),
        *("--arrivals", "poisson", "--rows", "3", "--connections", "2"),
    )
    load = content.pop("load")
    assert content == {
        "address": running.address,
        "model": "cars",
        "version": "0",
        "sha256": content["sha256"],
        "provider": "CPUExecutionProvider",
        "protocol": "ordinal",
        "stream": False,
        "rows": 3,
        "connections": 2,
        "processes": 1,
        "arrivals": "poisson",
        "saturation": None,
        "answers": {
            "right": load["requests"],
            "wrong": 0,
            "left_out": 0,
            "examples": [],
            "model_changed": False,
        },
    }
    points = ["p50", "p90", "p95", "p99", "p99.9", "max"]
    latency, generator = load.pop("latency"), load.pop("generator")
    assert list(latency) == ["OK"]
    assert list(latency["OK"]) == list(generator["lateness"]) == points
    assert 0 < latency["OK"]["p50"] <= latency["OK"]["p99"] <= latency["OK"]["max"]
    assert generator["cpu_seconds"] / load["requests"] == generator["cpu_seconds_per_request"] > 0
    assert isinstance(load.pop("fell_behind"), str)
    assert load.pop("rate") > 0
    assert load == {
        "intended_rate": 60,
        "seconds": 0.5,
        "requests": load["requests"],
        "statuses": {"OK": load["requests"]},
        "errors": {},
    }


@pytest.mark.parametrize(
    "how", [["--stream"], ["--protocol", "inference"], ["--processes", "2"]], ids=lambda how: how[0][2:]
)
def test_other_ways(command, running, wine, how):
    """On streams, in the other protocol, and by two processes: each request is sent once, and answered."""
    content = measured(
        *(command, running.address, "--model", "wine", "--artifact", wine.path, "--rate", "80", *how)
    )
    assert content["load"]["statuses"] == {"OK": 40}
    assert content["answers"]["right"] == 40


@contextlib.contextmanager
def describing(honest, predict):
    """Run a service that describes itself as another one does, and answers `Predict` by a function."""
    with grpc.insecure_channel(honest) as channel, ThreadPoolExecutor(2) as threads:
        get_model = channel.unary_unary(f"/{SERVICE}/GetModel")
        handlers = {
            "GetModel": grpc.unary_unary_rpc_method_handler(lambda request, _: get_model(request)),
            "Predict": grpc.unary_unary_rpc_method_handler(predict),
        }
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def test_wrong_answers_are_counted_and_shown(command, running, serving_of, wine, make, tmp_path):
    """Exit status 1, how many, and of some what is wrong."""
    other = make(tmp_path / "wine.onnx", seed=9)
    with (
        serving_of(other.path) as server,
        grpc.insecure_channel(server.address) as channel,
        describing(running.address, lambda request, _: predict(request)) as address,
    ):
        predict = channel.unary_unary(f"/{SERVICE}/Predict")
        arguments = (address, "--model", "wine", "--artifact", wine.path, "--rate", "40")
        content = measured(command, *arguments, status=1)
        assert content["answers"]["wrong"] == 20
        assert content["answers"]["right"] == 0
        assert len(content["answers"]["examples"]) == 3
        done = command("bench", *arguments, "--seconds", "0.25")
    assert done.returncode == 1
    assert re.search(
        r"^answers +10 of 10 ARE WRONG\n +request \d+, 1 times: probabilities of row 0 must be \[",
        *(done.stdout, re.M),
    )


def test_failures_are_counted_by_status(command, running):
    """With what the first said, and latencies of their own; exit status 1 where none was answered."""

    def refuse(_, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "256 requests wait")

    with describing(running.address, refuse) as address:
        content = measured(command, address, "--model", "wine", "--rate", "40", status=1)
        done = command("bench", address, "--model", "wine", "--warmup", "0", "--seconds", "0.2")
    load = content["load"]
    assert load["statuses"] == {"RESOURCE_EXHAUSTED": 20}
    assert load["errors"] == {"RESOURCE_EXHAUSTED": "256 requests wait"}
    assert load["rate"] == 0
    assert list(load["latency"]) == ["RESOURCE_EXHAUSTED"]
    assert done.returncode == 1
    assert re.fullmatch(
        rf"ordinal-serving: {address}: no request was answered: "
        r"[\d,]+ RESOURCE_EXHAUSTED \(256 requests wait\)\n",
        done.stderr,
    )


def test_another_file_than_the_served_one_is_refused(command, running, make, tmp_path):
    """Its answers would be others: both digests are told."""
    other = make(tmp_path / "other.onnx", seed=9)
    done = command("bench", running.address, "--model", "wine", "--artifact", other.path)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"ordinal-serving: {other.path}: must be the file that is served, or answers cannot be compared; "
        r"its digest is [0-9a-f]{64}, that of wine version 0 is [0-9a-f]{64}\n",
        done.stderr,
    )


BAD = {
    "nobody there": (["127.0.0.1:1"], 1, "127.0.0.1:1: "),
    "no such model": (["ADDRESS", "--model", "beer"], 2, "beer"),
    "no such file": (["ADDRESS", "--model", "wine", "--artifact", "none.onnx"], 2, "none.onnx: "),
    "no rate": (["ADDRESS", "--rate", "0"], 2, "must be positive, got 0"),
    "no time": (["ADDRESS", "--seconds", "-1"], 2, "must be positive, got -1"),
    "endless": (["ADDRESS", "--seconds", "inf"], 2, "must be positive"),
    "no stream": (["ADDRESS", "--stream", "--protocol", "inference"], 2, "Protocol has no streams"),
    "few connections": (["ADDRESS", "--processes", "5"], 2, "one for each of 5 processes, got 4"),
    "unknown arrivals": (["ADDRESS", "--arrivals", "uniform"], 2, "uniform"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(running, capsys, case):
    """One clear sentence, and never a trace."""
    from serving.__main__ import main

    arguments, status, told = BAD[case]
    with pytest.raises(SystemExit) as ended:
        main(["bench", *(running.address if one == "ADDRESS" else one for one in arguments)])
    said = capsys.readouterr().err
    assert ended.value.code == status
    assert told in re.sub(r"\s*│\n│\s*|\s+", " ", said)
    assert "Traceback" not in said


def test_ctrl_c_prints_what_was_measured(running, wine):
    """An interrupted load is shorter, and as good: the report is there, and the exit status is 0."""
    begun = threading.Event()

    def predict(request, _):
        begun.set()
        return answered(request)

    with (
        grpc.insecure_channel(running.address) as channel,
        describing(running.address, predict) as address,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "serving", "bench", address, "--model", "wine", "--rate", "100"),
                *("--seconds", "60", "--warmup", "0", "--artifact", wine.path, "--json"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        answered = channel.unary_unary(f"/{SERVICE}/Predict")
        assert begun.wait(20)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    content = json.loads(said)
    assert process.returncode == 0
    assert 0.2 < content["load"]["seconds"] < 5
    assert content["load"]["requests"] == pytest.approx(100 * content["load"]["seconds"], abs=30)
    assert content["answers"]["wrong"] == 0


def test_importing_the_command_is_cheap():
    """The help of all commands is shown without NumPy, gRPC or onnxruntime."""
    code = "import sys, serving.bench.command; print({'numpy', 'grpc', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
