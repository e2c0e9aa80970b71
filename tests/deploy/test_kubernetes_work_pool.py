"""deploy/kubernetes: what the worker's pod tells a Prefect server, and the jobs that come of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from kustomized import KUBECTL, Overlay, overlays
from prefect.utilities.templating import apply_values
from scheduled import Prefect, wait_until

from pipeline import web

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl, which brings kustomize")


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Overlay]:
    """All overlays, by name."""
    return {one.name: one for one in overlays(root / "deploy", tmp_path_factory.mktemp("built"))}


@pytest.fixture(scope="module")
def template(root: Path) -> dict[str, Any]:
    """What jobs of the pool are made of."""
    path = root / "deploy" / "kubernetes" / "components" / "work-pool" / "base-job-template.json"
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def job(template: Mapping[str, Any], **variables: Any) -> Any:
    """The job of a run, as Prefect fills the template in."""
    properties = template["variables"]["properties"]
    assert set(variables) <= set(properties)
    values = {name: one["default"] for name, one in properties.items() if "default" in one}
    values |= {"name": "run", "labels": {"prefect.io/flow-run-name": "run"}, **variables}
    filled = apply_values(template["job_configuration"], values)
    manifest = filled["job_manifest"]
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    container["args"] = ["prefect", "flow-run", "execute"]  # what it does where no command is given
    return manifest


@pytest.mark.parametrize("variables", [{}, {"gpus": "1", "image": "ordinal-train-gpu:0.1.0"}])
@pytest.mark.parametrize("version", ["1.35", "1.36", "1.37"])
def test_kubernetes_takes_the_jobs(
    template: dict[str, Any], variables: dict[str, str], version: str
) -> None:
    """Strictly, also with a GPU and another image."""
    made = job(template, **variables)
    assert kubernetes_validate.validate(made, version, strict=True) == version
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == variables.get("gpus", "0")


def test_jobs_are_as_those_of_the_clock(
    built: dict[str, Overlay], template: dict[str, Any], root: Path
) -> None:
    """Settings, volumes, account, bounds and labels are those of the CronJob in whose place they are."""
    clocked = built["cpu"].one("CronJob", "ordinal-retraining")["spec"]["jobTemplate"]["spec"]
    made = job(template)["spec"]
    ours, theirs = (dict(one["template"]["spec"]) for one in (made, clocked))
    assert made["activeDeadlineSeconds"] == clocked["activeDeadlineSeconds"]
    assert (
        made["template"]["metadata"]["labels"].items() <= clocked["template"]["metadata"]["labels"].items()
    )
    ((container,), (other,)) = (spec.pop("containers") for spec in (ours, theirs))
    ours.pop("tolerations")
    assert ours == theirs
    for key in ("image", "imagePullPolicy", "workingDir", "securityContext", "volumeMounts"):
        assert container[key] == other[key]
    assert [one for one in container["envFrom"] if "prefect" not in str(one)] == other["envFrom"]
    assert not built["all"].of("CronJob")
    said = yaml.safe_load((root / "deploy/kubernetes/components/work-pool/prefect.yaml").read_text("utf-8"))
    (deployment,) = said["deployments"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(Path(deployment["parameters"]["config"]).parent) in mounted
    config = tomllib.loads(built["all"].one("ConfigMap", "ordinal-model")["data"]["model.toml"])
    assert deployment["name"] == config["name"]


@pytest.mark.slow
def test_a_real_server_takes_pool_and_deployment(
    built: dict[str, Overlay], template: dict[str, Any], tmp_path: Path
) -> None:
    """It obeys the commands of the worker's pod; a pool that is there already is taken as well."""
    for name, content in built["all"].one("ConfigMap", "ordinal-work-pool")["data"].items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    port = web.unused(1)[0]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))} | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    pod = built["all"].pod("ordinal-worker")
    prefect = [sys.executable, "-m", "prefect"]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*prefect, "server", "start", "--port", str(port)],
            cwd=tmp_path,
            env={k: v for k, v in environment.items() if k != "PREFECT_API_URL"},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: answers(port), 240, lambda: (tmp_path / "server.log").read_text(encoding="utf-8")
        )
        pool, deployments = pod.spec["initContainers"]
        for container in (pool, pool, deployments):
            assert container["command"] == ["prefect"]
            words = [word.replace("/work-pool", str(tmp_path)) for word in container["args"]]
            done = subprocess.run(
                [*prefect, *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        made = httpx.get(f"http://127.0.0.1:{port}/api/work_pools/retraining", timeout=30).json()
        known = Prefect(port).post("deployments/filter", {})
    finally:
        server.terminate()
        server.wait(30)
    assert made["type"] == "kubernetes"
    assert made["base_job_template"] == template
    (deployment,) = known
    assert deployment["work_pool_name"] == "retraining"
    assert deployment["entrypoint"] == "pipeline.schedule.flow.scheduled"
    help_ = subprocess.run(
        [*prefect, "worker", "start", "--help"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    flags = [word for word in pod.spec["containers"][0]["args"] if word.startswith("--")]
    assert [flag for flag in flags if flag[:20] not in help_.stdout] == []


def answers(port: int) -> bool:
    """Whether the server does."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
