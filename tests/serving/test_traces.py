"""Calls whose callers trace them are told to a collector."""

import itertools
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from servers import run_server, wait_until

from serving.telemetry import Telemetry
from serving.traces import Tracer
from serving.wire import ordinal_pb2 as wire

from .collector import collecting

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
SERVER, ERROR = 2, 2  # of a span's kind and status
FAST_END = ("--pause", "0", "--grace", "1")
PREDICT = "/ordinal.v1.OrdinalService/Predict"


def request(rows=2, **more):
    """The bytes of a request of rows of zeros."""
    tensor = wire.Tensor(dtype=wire.FLOAT32, shape=[rows, 4], data=bytes(16 * rows))
    return wire.PredictRequest(tensor=tensor, **more).SerializeToString()


@pytest.fixture
def collector():
    """One that takes what it gets."""
    with collecting() as one:
        yield one


@pytest.fixture
def traced(wine, collector, request):
    """A server that traces, in this process; call `.flush()` to have its spans sent."""
    with run_server(wine.path, **getattr(request, "param", {})) as running:
        tracer = Tracer(collector.address, "here", running.server.telemetry)
        running.server.telemetry.set_up(counting=False, tracer=tracer)
        yield running
        running.do(tracer.close())


def call(address, message, *metadata, method=PREDICT):
    """Make a call with metadata."""
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(method)(message, timeout=10, metadata=metadata)


async def under_way(telemetry):
    """How many calls have not ended, as their own loop sees it."""
    return telemetry.under_way


def sent(traced, collector):
    """The spans of a server, once it has sent all: the call's, and by their names its children."""
    # The reply of a call comes before the call has ended.
    wait_until(lambda: not traced.do(under_way(traced.server.telemetry)))
    traced.do(traced.server.telemetry.call("Predict").tracer.close())
    (whole,) = [span for span in collector.spans if span["kind"] == SERVER]
    children = [span for span in collector.spans if span is not whole]
    assert {span["parent"] for span in children} <= {whole["id"]}
    return whole, children


def test_a_call_is_one_span_with_its_stages(traced, collector):
    """Under the caller's span, with what OpenTelemetry's conventions want, and the model."""
    before = time.time_ns()
    call(traced.address, request(2), ("traceparent", SAMPLED), ("tracestate", "a=b"))
    whole, children = sent(traced, collector)
    assert collector.paths == {"/v1/traces"}
    assert (whole["trace"], whole["parent"], whole["state"]) == (TRACE, SPAN, "a=b")
    assert whole["name"] == "ordinal.v1.OrdinalService/Predict"
    assert whole["status"] == 0
    assert whole["attributes"] == {
        "rpc.system.name": "grpc",
        "rpc.method": "ordinal.v1.OrdinalService/Predict",
        "rpc.response.status_code": "OK",
        "ordinal.model": "wine",
        "ordinal.version": "0",
        "ordinal.provider": "CPUExecutionProvider",
        "ordinal.rows": 2,
        "ordinal.together": 1,
    }
    assert whole["resource"]["service.name"] == "ordinal"
    assert whole["resource"]["service.instance.id"] == "here"
    assert [span["name"] for span in children] == ["read", "run", "reply"]
    moments = [before, whole["began"]]
    for span in children:
        assert span["trace"] == TRACE
        moments += [span["began"], span["ended"]]
    moments += [whole["ended"], time.time_ns()]
    slack = 50_000  # ns, between the two clocks that are compared
    assert all(early <= late + slack for early, late in itertools.pairwise(moments))


@pytest.mark.parametrize("traced", [{"batch": "on"}], indirect=True)
def test_a_call_that_waits_has_a_span_for_that(traced, collector):
    """Which ends when its run begins."""
    call(traced.address, request(2), ("traceparent", SAMPLED))
    _, children = sent(traced, collector)
    assert [span["name"] for span in children] == ["read", "queue", "run", "reply"]
    for one, following in itertools.pairwise(children):
        assert one["ended"] == following["began"]


def test_a_refused_call_is_traced_with_its_status(traced, collector):
    """A fault of the caller's is none of the service's."""
    with pytest.raises(grpc.RpcError):
        call(traced.address, request(2, model="none"), ("traceparent", SAMPLED))
    whole, children = sent(traced, collector)
    assert whole["attributes"]["rpc.response.status_code"] == "NOT_FOUND"
    assert whole["attributes"]["error.type"] == "NOT_FOUND"
    assert whole["status"] == 0
    assert children == []


def test_a_fault_of_the_service_is_an_error(traced, collector):
    """As the conventions have it."""
    with pytest.raises(grpc.RpcError):
        call(
            traced.address,
            b"",
            ("traceparent", SAMPLED),
            method="/ordinal.v1.OrdinalService/RecordOutcome",
        )
    whole, _ = sent(traced, collector)
    assert whole["attributes"]["rpc.response.status_code"] == "UNIMPLEMENTED"
    assert whole["status"] == ERROR


def test_a_stream_is_one_span(traced, collector):
    """With the stages of its messages, up to some limit, and all their rows."""
    with grpc.insecure_channel(traced.address) as channel:
        stream = channel.stream_stream("/ordinal.v1.OrdinalService/PredictStream")
        replies = stream(iter([request(3)] * 100), timeout=30, metadata=[("traceparent", SAMPLED)])
        assert len(list(replies)) == 100
    whole, children = sent(traced, collector)
    assert whole["attributes"]["ordinal.rows"] == 300
    assert whole["attributes"]["rpc.response.status_code"] == "OK"
    assert [span["name"] for span in children[:6]] == ["read", "run", "reply"] * 2
    assert 256 <= len(children) < 260


def test_the_other_protocol_is_traced_as_well(traced, collector):
    """Under its own name."""
    rows = np.zeros((3, 4), np.float32)
    numeric = triton.InferInput("numeric", rows.shape, "FP32")
    numeric.set_data_from_numpy(rows)
    with triton.InferenceServerClient(traced.address) as client:
        client.infer("wine", [numeric], headers={"traceparent": SAMPLED})
    whole, children = sent(traced, collector)
    assert whole["name"] == "inference.GRPCInferenceService/ModelInfer"
    assert whole["attributes"]["ordinal.rows"] == 3
    assert [span["name"] for span in children] == ["read", "run", "reply"]


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE[:-2]}zz-{SPAN}-01",
        "x" * 4000 + "-01",
        f"ff-{TRACE}-{SPAN}-01",
    ],
)
def test_other_calls_are_not_traced(traced, collector, parent):
    """Those whose callers trace nothing, or not this call, or say so in no way that is one."""
    call(traced.address, request(), *([] if parent is None else [("traceparent", parent)]))
    traced.do(traced.server.telemetry.call("Predict").tracer.close())
    assert collector.spans == []


def test_a_call_does_not_get_the_trace_of_another(traced, collector):
    """One that is not traced comes right after one that is."""
    for parent in (SAMPLED, SAMPLED.replace("-01", "-00")):
        call(traced.address, request(2), ("traceparent", parent))
    whole, children = sent(traced, collector)
    assert whole["attributes"]["ordinal.rows"] == 2
    assert len(children) == 3


def test_nothing_is_looked_at_where_nothing_is_traced():
    """Without the setting a call has no tracer."""
    telemetry = Telemetry()
    call = telemetry.call("Predict")
    telemetry.set_up(counting=True, tracer=None)
    assert call.tracer is None


def test_a_collector_that_fails_is_told_once(process, wine):
    """And requests are answered all the same; once it takes spans, that is told too."""
    with collecting(status=400) as collector:
        service = process(
            wine.path,
            "--traces",
            collector.address,
            *FAST_END,
            env={"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_SERVICE_NAME": "wines"},
        )
        address = service.address()
        for number in range(1, 4):
            call(address, request(), ("traceparent", SAMPLED))
            wait_until(lambda number=number: collector.asked >= number)
        collector.status = 200
        call(address, request(), ("traceparent", SAMPLED))
        wait_until(lambda: collector.spans)
        assert collector.spans[0]["resource"]["service.name"] == "wines"
        call(address, request(), ("traceparent", SAMPLED))
        service.popen.terminate()
        assert service.end() == 0
        assert len({span["began"] for span in collector.spans if span["kind"] == SERVER}) == 2
    log = "".join(service.log)
    assert log.count("traces cannot be sent") == 1
    assert log.count("again") == 1
    assert "opentelemetry" not in log


def test_an_address_that_is_none_ends_the_start(command, wine):
    """With exit status 2 and one sentence."""
    ended = command("serve", wine.path, "--port", "0", "--traces", "localhost:4318")
    assert ended.returncode == 2
    assert ended.stderr == (
        "ordinal-serving: --traces must be an address such as http://localhost:4318, got 'localhost:4318'\n"
    )
