"""deploy/kubernetes: Kubernetes takes it, and it fits the service, the commands and itself."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import typer
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kustomized import KUBECTL, Overlay, Pod, called, overlays
from servers import run_server

from pipeline.__main__ import app as pipeline_app
from pipeline.config import load_config
from serving.__main__ import app as serving_app
from serving.settings import Settings, variable

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl, which brings kustomize")

VERSIONS = ("1.35", "1.36", "1.37")
YOURS = {"ordinal-tls", "ordinal-tokens", "ordinal-mlflow", "ordinal-notify", "ordinal-prefect"}
"""Secrets, which no repository has."""
ENDING = 10  # seconds that the service gives its processes after --grace, by docs/operations.md


@pytest.fixture(scope="module")
def deploy(root: Path) -> Path:
    """The folder."""
    return root / "deploy"


@pytest.fixture(scope="module")
def built(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Overlay]:
    """All overlays."""
    return overlays(deploy, tmp_path_factory.mktemp("built"))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(built: list[Overlay], version: str) -> None:
    """Strictly: what it does not know is an error too."""
    for one in {str(one): one for overlay in built for one in overlay.objects}.values():
        assert kubernetes_validate.validate(one, version, strict=True) == version


def test_a_mistyped_key_would_be_found(built: list[Overlay]) -> None:
    """Or the test above would say nothing."""
    wrong = copy.deepcopy(built[0].one("Deployment", "ordinal-serve"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_settings_are_the_services(built: list[Overlay], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable is one that the service reads, and has a value that its command line takes."""
    for overlay in built:
        settings = {k: v for k, v in overlay.settings().items() if k.startswith("ORDINAL_")}
        assert set(settings) <= {variable(name) for name in Settings.__dataclass_fields__}
        (container,) = overlay.pod("ordinal-serve").containers
        with monkeypatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(name, value)
            given = parsed(serving_app, container["args"])
        assert len(given.pop("models")) == 1
        read = {variable(name): value for name, value in asdict(Settings(**given)).items()}
        assert {name: type(read[name])(value) for name, value in settings.items()} == {
            name: read[name] for name in settings
        }


def parsed(app: typer.Typer, arguments: list[str]) -> dict[str, Any]:
    """What a command line, and the environment, mean to the real command."""
    verb, *rest = arguments
    command: Any = typer.main.get_command(app)
    values: dict[str, Any] = command.commands[verb].make_context(verb, rest).params
    return values


def test_ports_are_where_they_are_asked_for(built: list[Overlay], deploy: Path) -> None:
    """Of the service and its metrics, by probes, Services, policies and Prometheus."""
    scrape = yaml.safe_load((deploy / "kubernetes/monitoring/scrape.yaml").read_text(encoding="utf-8"))
    (job,) = scrape["scrape_configs"]
    rules = {tuple(rule["source_labels"]): rule.get("regex") for rule in job["relabel_configs"]}
    for overlay in built:
        pod, settings = overlay.pod("ordinal-serve"), overlay.settings()
        (container,) = pod.containers
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {
            "grpc": int(settings["ORDINAL_PORT"]),
            "metrics": int(settings["ORDINAL_METRICS"].rpartition(":")[2]),
        }
        for one in overlay.of("Service"):
            assert [(port["targetPort"], port["port"]) for port in one["spec"]["ports"]] == [
                ("grpc", ports["grpc"])
            ]
        for probe in probes(pod):
            assert probe.get("grpc", {}).get("port", ports["grpc"]) == ports["grpc"]
        policy = overlay.one("NetworkPolicy", "ordinal-serve")["spec"]["ingress"]
        assert [port["port"] for rule in policy for port in rule["ports"]] == ["grpc", "metrics"]
        assert rules["__meta_kubernetes_pod_container_port_name",] in ports
        assert rules["__meta_kubernetes_pod_label_ordinal",] == pod.labels["ordinal"]


def probes(pod: Pod) -> Iterator[dict[str, dict[str, str]]]:
    """Of all containers."""
    for container in pod.containers:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if name in container:
                yield container[name]


def test_selectors_find_pods(built: list[Overlay]) -> None:
    """Those of Services, workloads, budgets and policies; what Prefect starts counts as well."""
    for overlay in built:
        labels = [pod.labels for pod in overlay.pods()]
        labels.append({"ordinal": "retraining"})
        for one in overlay.objects:
            spec = one.get("spec", {})
            selector = spec.get("podSelector", spec.get("selector"))
            if one["kind"] in ("Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"):
                assert any(chosen(selector, pod) for pod in labels), called(one)
        for one in overlay.of("Deployment"):
            assert chosen(one["spec"]["selector"], overlay.pod(called(one)).labels)
        for constraint in overlay.pod("ordinal-serve").spec["topologySpreadConstraints"]:
            assert chosen(constraint["labelSelector"], overlay.pod("ordinal-serve").labels)
        for one in overlay.of("HorizontalPodAutoscaler"):
            target = one["spec"]["scaleTargetRef"]
            assert "replicas" not in overlay.one(target["kind"], target["name"])["spec"]


def chosen(selector: dict, labels: dict[str, str]) -> bool:
    """Whether a selector takes these labels."""
    operators = {
        "Exists": lambda key, _: key in labels,
        "In": lambda key, values: labels.get(key) in values,
    }
    if "matchExpressions" in selector:
        return all(
            operators[one["operator"]](one["key"], one.get("values"))
            for one in selector["matchExpressions"]
        )
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and wanted.items() <= labels.items()


def test_everything_is_forbidden_first(built: list[Overlay]) -> None:
    """To and from every pod; what is allowed then are pods, and for Prefect's worker addresses."""
    for overlay in built:
        nothing = overlay.one("NetworkPolicy", "ordinal-nothing")["spec"]
        assert set(nothing) == {"podSelector", "policyTypes"}
        assert nothing["policyTypes"] == ["Ingress", "Egress"]
        assert all(chosen(nothing["podSelector"], pod.labels) for pod in overlay.pods())
        open_ = {called(one) for one in overlay.of("NetworkPolicy") if "ipBlock" in str(one)}
        assert open_ <= {"ordinal-worker-kubernetes"}


def test_probes_ask_for_what_health_knows(built: list[Overlay]) -> None:
    """A real service without models says NOT_SERVING of each name, not that it is unknown."""
    asked = {
        probe["grpc"].get("service", "")
        for overlay in built
        for probe in probes(overlay.pod("ordinal-serve"))
        if "grpc" in probe
    }
    assert asked
    with run_server() as server, grpc.insecure_channel(server.address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for service in asked:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_pods_have_time_to_end(built: list[Overlay]) -> None:
    """As much as a drain takes at most; a retraining as much as its unit of systemd has."""
    for overlay in built:
        settings = overlay.settings()
        drain = float(settings["ORDINAL_PAUSE"]) + float(settings["ORDINAL_GRACE"]) + ENDING
        assert overlay.pod("ordinal-serve").spec["terminationGracePeriodSeconds"] >= drain + 5
        for pod in overlay.pods():
            assert pod.spec["terminationGracePeriodSeconds"] >= 45


def test_some_pods_are_always_left(built: list[Overlay]) -> None:
    """While nodes are drained, and while versions change."""
    for overlay in built:
        for budget in overlay.of("PodDisruptionBudget"):
            scaler = overlay.one("HorizontalPodAutoscaler", called(budget))["spec"]
            assert 0 < budget["spec"]["maxUnavailable"] < scaler["minReplicas"] <= scaler["maxReplicas"]
            rolling = overlay.one("Deployment", called(budget))["spec"]["strategy"]["rollingUpdate"]
            assert rolling["maxUnavailable"] < scaler["minReplicas"]
            assert rolling["maxUnavailable"] + rolling["maxSurge"] == 1


def test_what_is_named_is_there(built: list[Overlay]) -> None:
    """ConfigMaps, volumes and accounts; secrets are the user's to make."""
    for overlay in built:
        there = {(one["kind"], called(one)) for one in overlay.objects}
        for pod in overlay.pods():
            named = set(references(pod))
            assert named - there <= {("Secret", name) for name in YOURS}
            mounted = {mount["name"] for c in pod.containers for mount in c["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod.spec["volumes"]}
        assert not overlay.of("Secret")
        assert {one["metadata"].get("namespace", "ordinal") for one in overlay.objects} == {"ordinal"}


def references(pod: Pod) -> Iterator[tuple[str, str]]:
    """What a pod names, by kind."""
    yield "ServiceAccount", pod.spec["serviceAccountName"]
    for container in pod.containers:
        for source in container["envFrom"]:
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
            else:
                assert source["secretRef"]["optional"] is True
                yield "Secret", source["secretRef"]["name"]
    for volume in pod.spec["volumes"]:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def test_pods_may_do_nothing_else(built: list[Overlay]) -> None:
    """What the standard `restricted` asks, a root file system that is read-only, and no token."""
    for overlay in built:
        labels = overlay.one("Namespace", "ordinal")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        for pod in overlay.pods():
            security = pod.spec["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 65532
            kinds = {key for volume in pod.spec["volumes"] for key in volume if key != "name"}
            assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
            assert pod.spec["enableServiceLinks"] is False
            asks_kubernetes = pod.owner == "ordinal-worker"
            assert pod.spec.get("automountServiceAccountToken", True) is asks_kubernetes
            for container in pod.containers:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert {"cpu", "memory"} <= set(container["resources"]["requests"])
                assert "memory" in container["resources"]["limits"]
                assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_images_are_those_that_are_built(built: list[Overlay], root: Path) -> None:
    """By the names of the Dockerfile's targets, with the tag of this version."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    targets = re.findall(r"^FROM .* AS (\S+)$", (root / "Dockerfile").read_text(encoding="utf-8"), re.M)
    used = {
        overlay.name: {container["image"] for pod in overlay.pods() for container in pod.containers}
        for overlay in built
    }
    assert used["cpu"] == used["all"] == {f"ordinal-serve:{version}", f"ordinal-train:{version}"}
    assert used["gpu"] == {f"ordinal-serve-gpu:{version}", f"ordinal-train-gpu:{version}"}
    assert used["local"] == {"localhost/ordinal-serve:latest"}
    names = {image.partition(":")[0].removeprefix("ordinal-") for image in used["cpu"] | used["gpu"]}
    assert names <= set(targets)


def test_the_retraining_is_a_command_that_there_is(built: list[Overlay], deploy: Path) -> None:
    """The pipeline takes command and config; what ends with 2, as wrong configs do, is not repeated."""
    config = deploy / "kubernetes" / "retraining" / "model.toml"
    job = built[0].one("CronJob", "ordinal-retraining")["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    arguments = [word.replace("/config/model.toml", str(config)) for word in container["args"]]
    assert parsed(pipeline_app, arguments)["config"] == config
    served = built[0].pod("ordinal-serve").containers[0]["args"][-1]
    assert served == f"models:/{load_config(config).name}@champion"
    assert built[0].one("ConfigMap", "ordinal-model")["data"] == {
        "model.toml": config.read_text(encoding="utf-8")
    }
    (rule,) = (rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert rule["onExitCodes"] == {
        "containerName": container["name"], "operator": "In", "values": [2],
    }  # fmt: skip
