"""What is counted, and how Prometheus reads it."""

import gc
import os
import re
import signal
import socket
import timeit
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import tritonclient.grpc as triton
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from servers import wait_until

from serving import orders
from serving.artifact import Artifact
from serving.client import Client
from serving.counts import SECONDS, Counts
from serving.errors import OrdinalError
from serving.metrics import Metrics
from serving.orders import Description, Refusal
from serving.policies import rules_of, stacked_cost
from serving.repository import as_served
from serving.resolve import Resolved
from serving.settings import Settings
from serving.tallies import STAGES
from serving.telemetry import Telemetry
from serving.wire import ordinal_pb2 as wire

ROWS = np.zeros((3, 4), np.float32)
FAST_END = ("--pause", "0", "--grace", "1")


def samples(text):
    """The values by name and labels: `ordinal_requests_total{code="OK",method="Predict"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def exposed(metrics):
    """What Prometheus would read."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return samples(generate_latest(registry).decode())


def scrape(url):
    """What the endpoint of a service says."""
    with urlopen(url, timeout=10) as answer:
        return samples(answer.read().decode())


def test_calls_are_counted_by_method_and_status():
    """Their number, and in which bucket their seconds lie; a bound belongs to its bucket."""
    telemetry, metrics = Telemetry(), Metrics()
    call = telemetry.call("Predict")
    for code, seconds in (("OK", 0.0001), ("OK", 0.0003), ("NOT_FOUND", 0.0001), ("OK", 99.0)):
        call.done(code, seconds)
    assert telemetry.call("Predict") is call
    metrics.count(1, telemetry.take())
    found = exposed(metrics)
    assert found['ordinal_requests_total{code="OK",method="Predict"}'] == 3
    assert found['ordinal_requests_total{code="NOT_FOUND",method="Predict"}'] == 1
    bucket = 'ordinal_request_seconds_bucket{{le="{}",method="Predict"}}'
    counts = [found[bucket.format(bound)] for bound in (*SECONDS, "+Inf")]
    assert counts == [2, 2, *[3] * (len(SECONDS) - 2), 4]
    assert found['ordinal_request_seconds_count{method="Predict"}'] == 4
    assert found['ordinal_request_seconds_sum{method="Predict"}'] == pytest.approx(99.0005)


def served_of(made, version="3", name=""):
    """An artifact as one version of a registered model."""
    return as_served(Resolved(made.path, name, version), Artifact(made.path, "cpu"))


@pytest.fixture(scope="module")
def served(wine):
    """The artifact for tables, served."""
    return served_of(wine)


def told(telemetry):
    """What Prometheus reads of what was counted since this was asked last."""
    metrics = Metrics()
    metrics.count(1, telemetry.take())
    return exposed(metrics)


def test_runs_are_counted_by_their_size(served):
    """Rows, and the requests that shared the run."""
    telemetry = Telemetry()
    telemetry.version(served).at_once(1, 0.0, 0.0, 0.0)
    telemetry.version(served).ran(3, 512)
    found = told(telemetry)
    of = 'model="wine",version="3"'
    assert found[f"ordinal_run_rows_sum{{{of}}}"] == 513
    assert found[f'ordinal_run_rows_bucket{{le="1.0",{of}}}'] == 1
    assert found[f'ordinal_run_rows_bucket{{le="256.0",{of}}}'] == 1
    assert found[f'ordinal_run_rows_bucket{{le="512.0",{of}}}'] == 2
    assert found[f"ordinal_run_requests_sum{{{of}}}"] == 4
    assert found[f'ordinal_run_requests_bucket{{le="2.0",{of}}}'] == 1


def test_stages_are_counted_by_their_seconds(served):
    """Requests that are answered at once have not waited, and are left out of that stage."""
    telemetry = Telemetry()
    telemetry.version(served).at_once(1, 0.00001, 0.001, 20.0)
    telemetry.version(served).staged((0.00002, 0.3, 0.002, 0.00003))
    found = told(telemetry)

    def stage(name, stage, more=""):
        return found[f'ordinal_stage_seconds_{name}{{{more}model="wine",stage="{stage}",version="3"}}']

    assert [stage("count", one) for one in STAGES] == [2, 1, 2, 2]
    sums = [stage("sum", one) for one in STAGES]
    assert sums == pytest.approx([0.00003, 0.3, 0.003, 20.00003])
    assert stage("bucket", "read", 'le="1e-05",') == 1
    assert stage("bucket", "reply", 'le="10.0",') == 1


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 300])
def test_decisions_are_counted_by_the_models_own_names(served, rows):
    """Whatever a request calls a profile; of costs that it brings only abstentions are counted."""
    telemetry = Telemetry()
    asked = wire.PredictRequest(
        policies=[
            wire.Policy(profile="triage", name="a name of the caller"),
            wire.Policy(profile="absolute", abstain_cost=1.0),
            wire.Policy(cost=wire.CostMatrix(cost=np.eye(5).ravel(), actions="abcde"), abstain_cost=0.75),
        ]
    ).policies
    manifest = served.artifact.manifest
    rules = rules_of(asked, served.profiles, manifest.default_profile, manifest.labels, rows)
    random = np.random.default_rng(rows)
    answer = served.artifact.run(
        {"numeric": random.normal(0, 2, (rows, 4)).astype(np.float32)}, stacked_cost(rules)
    )
    telemetry.version(served).answered(answer, rules)
    telemetry.version(served).answered(answer, rules)
    found = told(telemetry)
    expected = {}
    costs = dict.fromkeys(("triage", "absolute"), 0.0)
    abstained = 0
    for row in range(rows):
        for index, rule in enumerate(rules):
            action = rule.actions[answer.decision[row, index]]
            abstained += 2 * (action == "abstain")
            if index < 2:
                profile = ("triage", "absolute")[index]
                labels = f'action="{action}",model="wine",profile="{profile}",version="3"'
                key = f"ordinal_decisions_total{{{labels}}}"
                expected[key] = expected.get(key, 0) + 2
                costs[profile] += 2 * float(answer.expected_cost[row, index].min())
    assert {key: value for key, value in found.items() if "decisions" in key} == expected
    for profile, cost in costs.items():
        of = f'model="wine",profile="{profile}",version="3"'
        assert found[f"ordinal_expected_cost_count{{{of}}}"] == 2 * rows
        assert found[f"ordinal_expected_cost_sum{{{of}}}"] == pytest.approx(cost, rel=1e-5)
    of = 'model="wine",version="3"'
    assert found[f"ordinal_abstentions_total{{{of}}}"] == abstained
    assert rows < 300 or 0 < abstained < 6 * rows
    assert found[f"ordinal_value_above_lowest_count{{{of}}}"] == 2 * rows
    total = 2 * float(answer.expected_value.sum())
    assert found[f"ordinal_value_above_lowest_sum{{{of}}}"] == pytest.approx(total, rel=1e-5)
    assert not any("name of the caller" in key for key in found)


def test_values_are_counted_above_the_lowest(make, tmp_path):
    """A sum of negative values would fall, which Prometheus takes for a restart."""
    below = served_of(make(tmp_path / "below.onnx", values=(-9.0, -4.0, -1.0, 0.0, 5.0)))
    telemetry = Telemetry()
    answer = below.artifact.run({"numeric": ROWS})
    telemetry.version(below).answered(answer, [])
    found = told(telemetry)
    of = '{model="wine",version="3"}'
    assert found[f"ordinal_lowest_value{of}"] == -9
    above = float(answer.expected_value.sum()) + 9 * len(ROWS)
    assert found[f"ordinal_value_above_lowest_sum{of}"] == pytest.approx(above, rel=1e-5)


def test_a_network_that_overflows_spoils_no_sum(served):
    """What is no number is left out, since a sum that is NaN would stay so."""
    telemetry, metrics = Telemetry(), Metrics()
    answer = served.artifact.run({"numeric": ROWS})
    nothing = answer._replace(
        expected_value=np.full(3, np.nan, np.float32), expected_cost=np.full((3, 1, 5), np.nan, np.float32)
    )
    rules = [served.profiles["absolute"]]
    for one in (nothing, answer):
        telemetry.version(served).answered(one, rules)
        metrics.count(1, telemetry.take())
    found = exposed(metrics)
    assert found['ordinal_value_above_lowest_sum{model="wine",version="3"}'] == pytest.approx(
        float(answer.expected_value.sum())
    )


def test_what_was_taken_is_not_counted_again(served):
    """Each count is told once; queues are told when they differ."""
    telemetry = Telemetry()
    telemetry.call("Predict").done("OK", 0.1)
    version = telemetry.version(served)
    version.at_once(1, 0.1, 0.1, 0.1)
    telemetry.refused("wine", "expired")
    version.queued = 3
    first = telemetry.take()
    assert first.counters == [("requests", ("Predict", "OK"), 1), ("refused", ("wine", "expired"), 1)]
    assert ("queued", ("wine", "3"), 3.0) in first.gauges
    assert len(first.histograms) == 6
    assert not telemetry.take()
    version.queued = 0
    again = telemetry.take()
    assert ("queued", ("wine", "3"), 0.0) in again.gauges
    assert not again.counters
    assert not again.histograms


def test_a_version_that_is_gone_is_told_once_more(wine):
    """What it has counted last stays, its gauges go, and another one is counted for itself."""
    telemetry = Telemetry()
    old, new = served_of(wine, "3"), served_of(wine, "4")
    for one in (old, new):
        telemetry.version(one).at_once(1, 0.1, 0.1, 0.1)
    assert telemetry.version(old) is telemetry.version(old) is not telemetry.version(new)
    del old, one
    gc.collect()
    taken = telemetry.take()
    assert {labels for name, labels, *_ in taken.histograms if name == "run_rows"} == {
        ("wine", "3"),
        ("wine", "4"),
    }
    assert {labels for _, labels, _ in taken.gauges} == {("wine", "4")}
    assert not telemetry.take()


def test_nothing_is_counted_of_versions_where_nobody_asks(served):
    """Neither metrics nor traces want it."""
    telemetry = Telemetry()
    telemetry.set_up(counting=False, tracer=None)
    assert telemetry.version(served) is None


def test_what_was_served_long_ago_is_forgotten(served, monkeypatch):
    """So that the metrics of a service whose model is trained anew each night do not grow."""
    telemetry, metrics = Telemetry(), Metrics()
    telemetry.version(served).at_once(1, 0.1, 0.1, 0.1)
    telemetry.call("Predict").done("OK", 0.1)
    metrics.count(1, telemetry.take())
    metrics.serving(1, [Description("wine", "3", (), "CPU", "d1", "a < b")])
    count = 'ordinal_run_rows_count{model="wine",version="3"}'
    metrics.serving(1, [Description("wine", "4", (), "CPU", "d2", "a < b")])
    assert count in exposed(metrics)
    monkeypatch.setattr("serving.metrics._FORGET", 0.0)
    found = exposed(metrics)
    assert count not in found
    assert found['ordinal_requests_total{code="OK",method="Predict"}'] == 1


def test_counting_takes_few_microseconds(served):
    """All that one request of one row adds to, well below 15 µs."""
    telemetry, call = Telemetry(), Telemetry().call("Predict")
    answer, rules = served.artifact.run({"numeric": ROWS[:1]}), [served.profiles["absolute"]]

    def count():
        version = telemetry.version(served)
        version.at_once(1, 0.00001, 0.00003, 0.00001)
        version.answered(answer, rules)
        call.done("OK", 0.0001)

    assert min(timeit.repeat(count, number=1000, repeat=7)) / 1000 < 15e-6


@pytest.mark.parametrize("settings", [{}, {"batch": "on"}, {"max_batch_rows": 2}])
def test_each_row_is_counted_once_however_it_is_answered(serving_of, wine, settings):
    """At once, on threads, in batches, on streams, over both protocols; also what is read on a thread."""
    with serving_of(wine.path, **settings) as running:
        many = np.zeros((6000, 4), np.float32)  # more than is read on the event loop
        with Client(running.address) as client, ThreadPoolExecutor(8) as threads:
            sizes = [1, 3, 20] * 4
            list(threads.map(lambda size: client.predict(np.zeros((size, 4), np.float32)), sizes))
            list(client.predict_stream([ROWS] * 5))
            client.predict(many)
        numeric = triton.InferInput("numeric", ROWS.shape, "FP32")
        numeric.set_data_from_numpy(ROWS)
        with triton.InferenceServerClient(running.address) as client:
            client.infer("wine", [numeric], parameters={"cost_profile": "triage"})
        found = told(running.server.telemetry)
    of = 'model="wine",version="0"'
    rows = sum(sizes) + 5 * 3 + len(many) + 3
    requests = len(sizes) + 5 + 1 + 1
    assert found[f"ordinal_value_above_lowest_count{{{of}}}"] == rows
    assert found[f"ordinal_run_rows_sum{{{of}}}"] == rows
    assert found[f"ordinal_run_requests_sum{{{of}}}"] == requests
    for stage in ("read", "run", "reply"):
        assert found[f'ordinal_stage_seconds_count{{model="wine",stage="{stage}",version="0"}}'] == requests
    decided = {key: value for key, value in found.items() if key.startswith("ordinal_decisions")}
    assert sum(value for key, value in decided.items() if 'profile="triage"' in key) == 3
    assert sum(decided.values()) == rows
    assert found[f"ordinal_queued{{{of}}}"] == 0
    waited = found.get('ordinal_stage_seconds_count{model="wine",stage="queue",version="0"}', 0)
    assert waited == requests if settings.get("batch") else waited >= 1


def test_workers_are_summed_and_what_the_dead_have_counted_stays(wine):
    """But not what waited for them, nor what they served."""
    metrics, loaded = Metrics(), served_of(wine)
    served = Description("wine", "3", ("champion", "new"), "CPU", "d1", "a < b")
    for worker in (1, 2):
        telemetry = Telemetry()
        telemetry.call("Predict").done("OK", 0.1)
        telemetry.version(loaded).queued = worker
        telemetry.refused("wine", "queue_full")
        metrics.count(worker, telemetry.take())
        metrics.serving(worker, [served, served])
    labels = 'aliases="champion,new",digest="d1",model="wine",provider="CPU",version="3"'
    before = exposed(metrics)
    assert before["ordinal_workers"] == before[f"ordinal_models{{{labels}}}"] == 2
    assert before['ordinal_queued{model="wine",version="3"}'] == 3
    metrics.left(2)
    metrics.restarted()
    after = exposed(metrics)
    assert after["ordinal_workers"] == after[f"ordinal_models{{{labels}}}"] == 1
    assert after['ordinal_queued{model="wine",version="3"}'] == 1
    assert after["ordinal_worker_restarts_total"] == 1
    for name in ("requests_total", "request_seconds_count", "refused_total"):
        found = [value for key, value in after.items() if key.startswith(f"ordinal_{name}")]
        assert found == [2]


@pytest.mark.parametrize(
    "message",
    [
        orders.Start(Settings(port=1, workers=3), 2, True),
        orders.Wanted({"a": Resolved(Path("/a"), "n", "3", ("x", "y"), "d")}, {"a": Refusal("4", "so")}),
        orders.Wanted({}, kept={"a": Path("/b")}),
        orders.Applied(
            {"a": Description("n", "1", ("x",), "CPU", "d", "a < b")}, {"b": Refusal("", "é\n")}
        ),
        orders.Failed("why", "AddressError"),
        orders.Counted(
            Counts(
                [("requests", ("a", "b"), 2)],
                [("x", ("a",), [1, 2], 0.5)],
                [("y", ("a",), 3, 0.5)],
                [("z", (), 1.0)],
            )
        ),
    ],
)
def test_messages_between_processes_come_through_whole(message):
    """One line each, and equal on the other side."""
    line = orders.encode(message)
    assert line.count(b"\n") == 1
    assert asdict(orders.decode(line)) == asdict(message)


def test_the_endpoint_tells_of_all_workers(process, wine):
    """Requests are counted whichever worker answers, and none is lost where one of them crashes."""
    service = process(wine.path, "--workers", "2", "--metrics", ":0", *FAST_END)
    url = service.wait_for(r"metrics on (http://127\.0\.0\.1:\d+/metrics)$")[1]
    answered = 'ordinal_requests_total{code="OK",method="Predict"}'
    with Client(service.address(), connections=8) as client:
        for _ in range(40):
            client.predict(ROWS)
        for _ in range(5):
            with pytest.raises(OrdinalError):
                client.predict(ROWS, "no such model")
        wait_until(lambda: scrape(url).get(answered) == 40)
        before = scrape(url)
        assert before['ordinal_requests_total{code="NOT_FOUND",method="Predict"}'] == 5
        assert before['ordinal_run_rows_sum{model="wine",version="0"}'] == 120
        assert before['ordinal_value_above_lowest_count{model="wine",version="0"}'] == 120
        for worker in ("1", "2"):
            assert 2**24 < before[f'ordinal_worker_resident_bytes{{worker="{worker}"}}'] < 2**29
            assert 0 < before[f'ordinal_worker_cpu_seconds_total{{worker="{worker}"}}'] < 60
        assert before["ordinal_workers"] == 2
        assert before["ordinal_worker_restarts_total"] == 0
        models = [key for key in before if key.startswith("ordinal_models")]
        assert len(models) == 1
        assert 'provider="CPUExecutionProvider",version="0"' in models[0]
        # What a request names is nobody's label.
        assert not any("no such" in key for key in before)
        os.kill(service.workers()[0], signal.SIGKILL)
        wait_until(lambda: scrape(url)["ordinal_worker_restarts_total"] == 1)
        after = wait_until(lambda: (found := scrape(url))["ordinal_workers"] == 2 and found)
        assert after[answered] == 40
        client.predict(ROWS)
        wait_until(lambda: scrape(url)[answered] == 41)


def test_versions_that_are_taken_and_refused_are_counted(process, wine, make, tmp_path):
    """And whether something cannot be served now is told."""
    path = tmp_path / "wine.onnx"
    path.write_bytes(wine.path.read_bytes())
    service = process(path, "--poll", "0.1", "--metrics", "127.0.0.1:0", *FAST_END)
    url = service.wait_for(r"metrics on (\S+)")[1]
    service.address()
    before = scrape(url)
    assert before['ordinal_reloads_total{model="wine",outcome="taken"}'] == 0
    assert before['ordinal_reloads_total{model="wine",outcome="refused"}'] == 0
    assert not any(key.startswith("ordinal_refusals") for key in before)
    path.write_bytes(b"nothing")
    refused = wait_until(lambda: (now := scrape(url)).get('ordinal_refusals{model="wine"}') and now)
    assert refused['ordinal_reloads_total{model="wine",outcome="refused"}'] == 1
    make(path, seed=5)
    taken = 'ordinal_reloads_total{model="wine",outcome="taken"}'
    wait_until(lambda: scrape(url).get(taken) == 1)
    wait_until(lambda: 'ordinal_refusals{model="wine"}' not in scrape(url))


def test_an_address_that_is_taken_ends_the_start(command, wine):
    """The metrics' address is looked at before anything is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = command("serve", wine.path, "--port", "0", "--metrics", address)
    assert ended.returncode == 1
    assert re.fullmatch(rf"ordinal-serving: cannot listen on {address}: Address already.*\n", ended.stderr)
