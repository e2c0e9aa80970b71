"""deploy/kubernetes: what the autoscaler goes by is what the service tells, as Prometheus makes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kustomized import KUBECTL, Overlay, build

from serving.metrics import _COUNTERS, _TOLD

NEEDS_PROMTOOL = pytest.mark.skipif(
    not shutil.which("promtool"), reason="no promtool (Debian: apt install prometheus)"
)
TOLD = {f"ordinal_{name}_total" for name in _COUNTERS} | {f"ordinal_{name}" for name in _TOLD}
EXPECTED = {"ordinal_worker_cores": {"a": 1.2, "b": 0.3}, "ordinal_queued_requests": {"a": 40.0, "b": 0.0}}


@pytest.fixture(scope="module")
def monitoring(root: Path) -> Path:
    """The folder."""
    return root / "deploy" / "kubernetes" / "monitoring"


@pytest.fixture(scope="module")
def rules(monitoring: Path) -> dict[str, dict[str, Any]]:
    """What prometheus-adapter is told, by the names under which Kubernetes gets it."""
    values = yaml.safe_load((monitoring / "adapter-values.yaml").read_text(encoding="utf-8"))
    return {rule["name"]["as"]: rule for rule in values["rules"]["custom"]}


def test_the_adapter_makes_it_of_what_there_is(rules: dict[str, dict[str, Any]]) -> None:
    """Of series that the service tells, by namespace and pod."""
    for rule in rules.values():
        series = rule["seriesQuery"].partition("{")[0]
        assert series in TOLD
        assert re.fullmatch(rule["name"]["matches"], series)
        assert rule["resources"]["overrides"] == {
            label: {"resource": label} for label in ("namespace", "pod")
        }


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl, which brings kustomize")
@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_the_autoscaler_asks_for_what_the_adapter_makes(
    root: Path, rules: dict[str, dict[str, Any]], overlay: str
) -> None:
    """By its names; and it takes pods away slowly."""
    built = Overlay(overlay, build(root / "deploy" / "kubernetes" / "overlays" / overlay))
    scaler = built.one("HorizontalPodAutoscaler", "ordinal-serve")["spec"]
    assert {metric["pods"]["metric"]["name"] for metric in scaler["metrics"]} == set(rules)
    targets = {
        metric["pods"]["metric"]["name"]: metric["pods"]["target"]["averageValue"]
        for metric in scaler["metrics"]
    }
    cores = float(targets["ordinal_worker_cores"].removesuffix("m")) / 1000
    assert 0.5 <= cores / int(built.settings()["ORDINAL_WORKERS"]) <= 0.8
    down, up = scaler["behavior"]["scaleDown"], scaler["behavior"]["scaleUp"]
    assert down["stabilizationWindowSeconds"] >= 300 > up["stabilizationWindowSeconds"]


@NEEDS_PROMTOOL
def test_prometheus_makes_of_it_what_is_meant(rules: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Cores that a pod's workers take, and its requests that wait, each pod for itself."""
    asked = {"Series": "", "LabelMatchers": 'namespace="ordinal",pod=~"a|b"', "GroupBy": "pod"}
    recorded = []
    for name, rule in rules.items():
        query = rule["metricsQuery"]
        for key, value in {**asked, "Series": rule["seriesQuery"].partition("{")[0]}.items():
            query = query.replace(f"<<.{key}>>", value)
        assert "<<" not in query
        recorded.append({"record": name, "expr": query})
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "adapter", "rules": recorded}]}), encoding="utf-8"
    )
    told = {
        'ordinal_worker_cpu_seconds_total{namespace="ordinal",pod="a",worker="0"}': "0+9x20",
        'ordinal_worker_cpu_seconds_total{namespace="ordinal",pod="a",worker="1"}': "0+9x20",
        'ordinal_worker_cpu_seconds_total{namespace="ordinal",pod="b",worker="0"}': "0+4.5x20",
        'ordinal_worker_cpu_seconds_total{namespace="other",pod="a",worker="0"}': "0+15x20",
        'ordinal_queued{namespace="ordinal",pod="a",model="wine",version="1"}': "10x20",
        'ordinal_queued{namespace="ordinal",pod="a",model="wine",version="2"}': "30x20",
        'ordinal_queued{namespace="ordinal",pod="b",model="wine",version="2"}': "0x20",
    }
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": one, "values": values} for one, values in told.items()],
                "promql_expr_test": [
                    {
                        "expr": name,
                        "eval_time": "4m",
                        "exp_samples": [
                            {"labels": f'{name}{{pod="{pod}"}}', "value": value}
                            for pod, value in EXPECTED[name].items()
                        ],
                    }
                    for name in rules
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    checked = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@NEEDS_PROMTOOL
def test_prometheus_takes_what_it_shall_scrape(monitoring: Path, tmp_path: Path) -> None:
    """Its configuration is one; pods are left out, since Debian's Prometheus cannot look for them."""
    config = yaml.safe_load((monitoring / "scrape.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "ordinal"
    assert {rule.get("target_label") for rule in job["relabel_configs"]} == {None, "namespace", "pod"}
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["ordinal"]}}]
    (tmp_path / "scrape.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    checked = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "scrape.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
