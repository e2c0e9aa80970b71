"""deploy/: what Prometheus and Grafana are given fits what the service tells."""

import json
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import yaml
from servers import wait_until

from serving import ports
from serving.client import Client, Policy
from serving.counts import Counts
from serving.errors import InvalidRequest
from serving.metrics import _COUNTERS, _HISTOGRAMS, _SUMMARIES, _TOLD, Metrics

NEEDS_PROMETHEUS = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="no prometheus and promtool (Debian: apt install prometheus)",
)
NOTHING_GOES_WRONG = {"Requests that were not run", "Reloads and refusals"}
"""Panels of which something is empty as long as that is so."""


@pytest.fixture(scope="module")
def deploy(root):
    """The folder."""
    return root / "deploy"


@pytest.fixture(scope="module")
def dashboard(deploy):
    """What is on Grafana's dashboard."""
    return json.loads((deploy / "grafana" / "ordinal.json").read_text(encoding="utf-8"))


def expressions(dashboard):
    """Each query of the dashboard, with the title of its panel."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def names():
    """Of all series that the service tells."""
    found = {f"ordinal_{name}_total" for name in _COUNTERS}
    found |= {f"ordinal_{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum", "count")}
    found |= {f"ordinal_{name}_{part}" for name in _SUMMARIES for part in ("sum", "count")}
    found |= {f"ordinal_{name}" for name in _TOLD}
    gauges = Metrics()
    gauges.count(1, Counts())
    return found | {family.name for family in gauges.collect() if family.type == "gauge"}


def test_the_dashboard_asks_for_what_there_is(dashboard):
    """A name that is mistyped would be an empty panel; each metric is on one."""
    asked = {name for _, query in expressions(dashboard) for name in re.findall(r"\bordinal_\w+", query)}
    assert asked <= names()
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked}
    told = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names()}
    assert told - shown == {"ordinal_build_info"}


def test_the_rules_ask_for_what_there_is(deploy):
    """Neither metrics nor recorded series that nobody makes; each alert says what to do."""
    groups = yaml.safe_load((deploy / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        assert set(re.findall(r"\bordinal_\w+", rule["expr"])) <= names()
        assert set(re.findall(r"\bordinal:[\w:]+", rule["expr"])) <= recorded
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "description", "action"}
            assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_panels_do_not_overlap(dashboard):
    """Each has a place of its own within the 24 columns, and an id."""
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        taken |= cells
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboard_fits_grafanas_schema(dashboard):
    """What Grafana's own library makes of it has all that was in it."""
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins", reason="no grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    understood = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(dashboard)))
    # Of data sources' own, or written by Grafana itself: its schema leaves them open.
    open_ = {"definition", "builtIn", "step", "titleFormat", "textFormat"}
    assert {path for path in lost(dashboard, understood) if path.split("/")[-1] not in open_} == set()


def lost(given, understood, path=""):
    """The places where what was understood lacks or changes something that was given."""
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            if key not in understood:
                yield f"{path}/{key}"
            else:
                yield from lost(value, understood[key], f"{path}/{key}")
    elif isinstance(given, list) and isinstance(understood, list) and len(given) == len(understood):
        for number, (one, other) in enumerate(zip(given, understood, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif given != understood:
        yield path


@pytest.mark.slow
@NEEDS_PROMETHEUS
def test_promtool_finds_nothing_wrong(deploy):
    """With the configuration and the rules, and each alert fires when it should, and only then."""
    for command in (
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", "rules.yaml"),
        ("test", "rules", "rules.test.yaml"),
    ):
        checked = subprocess.run(
            ["promtool", *command], cwd=deploy / "prometheus", capture_output=True, text=True, timeout=120
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "FAILED" not in checked.stdout + checked.stderr


def test_every_alert_has_a_test(deploy):
    """In which it fires."""
    rules = yaml.safe_load((deploy / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    tests = (deploy / "prometheus" / "rules.test.yaml").read_text(encoding="utf-8")
    alerts = [rule["alert"] for group in rules for rule in group["rules"] if "alert" in rule]
    assert [alert for alert in alerts if not re.search(rf"\b{alert}\b", tests)] == []


class Prometheus:
    """The real one, which scrapes one service each second by the configuration in deploy/."""

    def __init__(self, deploy, folder, target):
        for name in ("prometheus.yaml", "rules.yaml"):
            text = (deploy / "prometheus" / name).read_text(encoding="utf-8")
            text = text.replace("127.0.0.1:9464", target).replace("15s", "1s")
            (folder / name).write_text(text, encoding="utf-8")
        with ports.Reserved("127.0.0.1", 0) as free:
            port = free.port
        self._url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            cwd=folder,
        )

    def __enter__(self):
        wait_until(self._ready)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(timeout=30)

    def get(self, path, **arguments):
        """Ask its API."""
        with urlopen(f"{self._url}/api/v1/{path}?{urlencode(arguments)}", timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]

    def query(self, expression):
        """Evaluate an expression now."""
        return self.get("query", query=expression)["result"]

    def _ready(self):
        try:
            with urlopen(f"{self._url}/-/ready", timeout=1) as answer:
                return answer.status == 200
        except (URLError, ConnectionError, TimeoutError):
            return False


@pytest.mark.slow
@NEEDS_PROMETHEUS
def test_a_real_prometheus_has_data_for_every_panel(
    process, wine, digits, make, deploy, dashboard, tmp_path
):
    """And evaluates every expression of the dashboard and of the rules without an error."""
    path = tmp_path / "wine.onnx"
    path.write_bytes(wine.path.read_bytes())
    service = process(
        *(path, digits.path, "--metrics", "127.0.0.1:0", "--poll", "0.5", "--workers", "2"),
        *("--pause", "0", "--grace", "1"),
    )
    target = service.wait_for(r"metrics on http://(\S+)/metrics")[1]
    address = service.address()
    rows = np.random.default_rng(0).normal(0, 1, (3, 4)).astype(np.float32)
    abstaining = Policy("mine", profile="triage", abstain_cost=0.5)
    with ExitStack() as running:
        prometheus = running.enter_context(Prometheus(deploy, tmp_path, target))
        client = running.enter_context(Client(address, connections=8))
        end = time.monotonic() + 20
        made = False
        while time.monotonic() < end:
            client.predict(rows, "wine", policies=["absolute", abstaining])
            client.predict(np.zeros((2, 8, 8, 1), np.uint8), "digits")
            list(client.predict_stream([rows] * 3, "wine"))
            with pytest.raises(InvalidRequest):
                client.predict(rows[:, :3], "wine")
            if not made and time.monotonic() > end - 10:
                made = bool(make(path, seed=5))
            time.sleep(0.05)
        variables = {
            "$__rate_interval": "15s",
            **{f"${name}": ".*" for name in ("job", "instance", "model", "version")},
        }
        empty = set()
        for title, expression in expressions(dashboard):
            for name, value in variables.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            found = prometheus.query(expression)
            if not found:
                empty.add(title)
            assert not any(one["value"][1] == "NaN" and title == "Requests" for one in found)
        assert empty <= NOTHING_GOES_WRONG
        groups = prometheus.get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
        without = {name for name in recorded if not prometheus.query(name)}
        assert without <= {"ordinal:requests_failed:rate5m"}
        firing = [rule["name"] for rule in rules if rule.get("state") in ("firing", "pending")]
        assert firing == []
        (value,) = prometheus.query('ordinal_reloads_total{model="wine",outcome="taken"}')
        assert value["value"][1] == "1"
        shares = prometheus.query('sum by (profile) (ordinal:decisions:share1h{model="wine"})')
        assert {one["metric"]["profile"] for one in shares} == {"absolute", "triage"}
        assert [float(one["value"][1]) for one in shares] == pytest.approx([1, 1])
