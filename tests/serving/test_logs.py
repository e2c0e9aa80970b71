"""The log as JSON: every line an object, whoever has written it."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from servers import wait_until

from serving import logs
from serving.client import Client
from serving.errors import InvalidRequest, OrdinalError
from serving.wire import ordinal_pb2 as wire

ROWS = np.zeros((3, 4), np.float32)
FAST_END = ("--pause", "0", "--grace", "1")
TRACE = "0af7651916cd43dd8448eb211c80319c"


def lines_of(service):
    """What a service has said, once it has ended, each line an object with what all have."""
    said = [json.loads(line) for line in service.log]
    for one in said:
        moment = datetime.strptime(one["time"], "%Y-%m-%dT%H:%M:%S.%f%z")
        assert moment.tzinfo == UTC
        assert timedelta(0) <= datetime.now(UTC) - moment < timedelta(minutes=2)
        assert one["level"] in ("INFO", "WARNING", "ERROR")
        assert one["logger"]
        assert isinstance(one["message"], str)
    return said


def one_of(said, pattern):
    """The only line whose message begins so."""
    (found,) = [one for one in said if re.match(pattern, one["message"])]
    return found


def test_every_line_is_an_object(process, wine, make, tmp_path):
    """Of supervisor and workers: start, requests that are refused, reloads, a crash, the end."""
    path = tmp_path / "wine.onnx"
    path.write_bytes(wine.path.read_bytes())
    service = process(
        *(
            path,
            "--log-format",
            "json",
            "--workers",
            "2",
            "--poll",
            "0.1",
            "--traces",
            "http://127.0.0.1:9",
        ),
        *FAST_END,
    )
    address = service.address()
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/ordinal.v1.OrdinalService/Predict")
        tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[1, 3], data=bytes(12))
        wrong = wire.PredictRequest(tensor=tensor, request_id='"one"\n' + "x" * 5000)
        with pytest.raises(grpc.RpcError):
            call(wrong.SerializeToString(), metadata=[("traceparent", f"00-{TRACE}-{TRACE[:16]}-01")])
    path.write_bytes(b"nothing")
    service.wait_for("what is served stays")
    make(path, seed=5)
    service.wait_for(r"loading")
    service.wait_for(r"wine version 0 on")
    os.kill(service.workers()[0], signal.SIGKILL)
    service.wait_for("takes its place")
    wait_until(lambda: len(service.workers()) == 2)
    service.popen.terminate()
    assert service.end() == 0
    said = lines_of(service)
    assert one_of(said, "SERVING on ")["logger"] == "serving.supervisor"
    refused = one_of(said, "Predict refused")
    assert refused["worker"] in (1, 2)
    assert (refused["method"], refused["model"], refused["version"]) == ("Predict", "wine", "0")
    assert refused["code"] == "INVALID_ARGUMENT"
    assert refused["trace_id"] == TRACE
    assert refused["request_id"].startswith('\'"one"\\nxxx')
    assert len(refused["request_id"]) < 80
    assert "worker" not in one_of(said, r".*worker 1, process \d+, was ended by SIGKILL")
    assert one_of(said, ".*what is served stays")["level"] in ("ERROR", "WARNING")
    assert {one.get("worker") for one in said if one["message"].startswith("draining")} <= {1, 2}
    assert one_of(said, "stopped")


def test_the_text_of_a_refused_request_is_as_before(process, wine):
    """Without the option lines are those that people read."""
    service = process(wine.path, *FAST_END)
    with Client(service.address()) as client, pytest.raises(InvalidRequest):
        client.predict(np.zeros((1, 3), np.float32))
    service.wait_for(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    Predict refused, request id ''")


def test_a_start_that_fails_is_told_as_an_object(command, tmp_path):
    """The sentence of the command as well."""
    nothing = tmp_path / "nothing.onnx"
    nothing.write_bytes(b"nothing")
    ended = command("serve", nothing, "--port", "0", "--log-format", "json")
    assert ended.returncode == 2
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    assert re.match("ordinal-serving: .*nothing.onnx", said[-1]["message"])


PROGRAM = """
import logging, os, subprocess, sys, threading, warnings
from serving import logs
logs.begin("json")
logging.info("one")
os.write(2, b"")
os.write(2, b"torn ")
os.write(2, b"line\\n\\n")
print("printed", file=sys.stderr)
subprocess.run([sys.executable, "-c", "import os; os.write(2, b'of a child\\\\n')"])
warnings.warn("take care")
try:
    1 / 0
except ZeroDivisionError:
    more = {"method": "M", "code": "", "error": "1"}
    logging.exception("divided %s", "\\u2028" + "x" * 100000, extra=more)
threads = [threading.Thread(target=lambda: [logging.info("y" * 9000) for _ in range(50)]) for _ in range(4)]
for one in threads: one.start()
for _ in range(50): os.write(2, b"raw\\n")
for one in threads: one.join()
os.write(2, b"without an end")
raise RuntimeError("the last")
"""


def test_what_others_write_becomes_objects_too(root):
    """Libraries, warnings, children, tracebacks; nothing is torn, and nothing of the end is lost."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=root, timeout=60
    )
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    messages = [one["message"] for one in said]
    assert messages[:4] == ["one", "torn line", "printed", "of a child"]
    assert [one["logger"] for one in said[:5]] == ["root", "stderr", "stderr", "stderr", "py.warnings"]
    divided = said[5]
    assert (divided["method"], divided["error"], "code" in divided) == ("M", "1", False)
    assert divided["exception"].endswith("ZeroDivisionError: division by zero")
    assert len(divided["message"]) < 20000
    assert messages.count("y" * 9000) == 200
    assert messages.count("raw") == 50
    last = one_of(said, "ended by an error")
    assert last["level"] == "CRITICAL"
    assert last["exception"].endswith("RuntimeError: the last")
    assert "without an end" in messages
    assert ended.returncode == 1


def test_a_log_that_nobody_reads_holds_nobody_up(root):
    """What is told is lost, as text would be."""
    program = (
        "import logging; from serving import logs; logs.begin('json'); input()\n"
        "for _ in range(300): logging.info('x' * 9000)\nprint('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=root,
        text=True,
    ) as process:
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stdout.read() == "done\n"
        assert process.wait(timeout=30) == 0


def test_fields_that_a_record_has_are_told():
    """Those that are empty are left out."""
    record = logging.LogRecord("a", logging.INFO, __file__, 1, "%s is", ("it",), None)
    record.model, record.version = "wine", ""
    told = json.loads(logs._Json(3).format(record))
    assert told.pop("time").endswith("Z")
    assert told == {"level": "INFO", "logger": "a", "message": "it is", "worker": 3, "model": "wine"}


def test_a_fault_of_ours_has_its_number(caplog):
    """The one that the caller is told."""
    from serving import calls

    with caplog.at_level(logging.INFO):
        told = calls.failure("Predict", "id", RuntimeError("x"))
    assert isinstance(told, OrdinalError)
    (record,) = caplog.records
    assert record.error in str(told)
    assert (record.code, record.request_id) == ("INTERNAL", "'id'")
