"""compose.yaml: it is whole and safe, and what it says is understood by whom it is said to."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import composed
import pytest

OWN = {"ordinal-serve", "ordinal-train"}
FILES = ["compose.yaml", "deploy/compose/gpu.yaml"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """What compose.yaml says."""
    return composed.read()


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    """Its services."""
    return dict(compose["services"])


def test_it_fits_the_schema_of_compose(root: Path) -> None:
    """The specification's own schema takes both files."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, *FILES], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_named_is_there(root: Path, compose: dict[str, Any], services: dict[str, Any]) -> None:
    """Networks, volumes, secrets, dependencies and files; and nothing is declared that nobody uses."""
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set()}
    for name, service in services.items():
        used["networks"] |= set(service["networks"])
        used["secrets"] |= set(service.get("secrets", ()))
        assert set(service.get("depends_on", ())) <= set(services), name
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (root / source).exists(), mount
                assert mount.endswith(":ro"), mount
            else:
                used["volumes"].add(source)
        words = " ".join([str(service.get("environment", "")), *service.get("command", ())])
        assert set(re.findall(r"/run/secrets/([\w.]+)", words)) <= set(service.get("secrets", ())), name
        assert set(re.findall(r"(?:://|@)([a-z]\w*):\d+", words)) <= set(services), name
    for kind, names in used.items():
        assert names == set(compose[kind]), kind


def test_who_talks_to_whom_shares_a_network(services: dict[str, Any]) -> None:
    """A host that a service names is on one of its networks, and so is what it waits for to be healthy."""
    for name, service in services.items():
        said = " ".join([str(service.get("environment", "")), *service.get("command", ())])
        for other in set(re.findall(r"(?:://|@)([a-z]\w*):\d+", said)):
            shared = set(service["networks"]) & set(services[other]["networks"])
            # The worker's and the seed's settings are one; `deploy` asks nothing of MLflow.
            assert shared or (name, other) == ("deploy", "mlflow"), (name, other)


def test_all_is_waited_for(services: dict[str, Any]) -> None:
    """Each service has a health check, or ends and is waited for, since `up --wait` fails else."""
    waits = {
        (other, how["condition"])
        for service in services.values()
        for other, how in service.get("depends_on", {}).items()
    }
    for name, service in services.items():
        if service["restart"] == "no":
            assert service["healthcheck"] == {"disable": True}
            assert (name, "service_completed_successfully") in waits
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] == "CMD"
            assert {"interval", "timeout", "retries", "start_period"} < set(service["healthcheck"])
            assert (name, "service_completed_successfully") not in waits


def test_nothing_may_do_more_than_it_has_to(services: dict[str, Any]) -> None:
    """Read-only, without capabilities, bounded in memory, processes and logs, published on loopback."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service.get("cap_add", ())) == (
            {"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"} if name == "s3" else set()
        )
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"memory", "pids"} == set(service["deploy"]["resources"]["limits"]), name
        assert {"max-size", "max-file"} == set(service["logging"]["options"]), name
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", ())), name
        assert ("build" in service) == (service["image"] in OWN), name
        # Somebody else's image is one version, for ever the same.
        assert service["image"] in OWN or re.search(r":v?\d+\.\d+", service["image"]), name
        assert not (service["image"] == "ordinal-train" and not _place(service, "/work")), name
    internal = {name for name, network in composed.read()["networks"].items() if network.get("internal")}
    assert {name for name in services if set(services[name]["networks"]) <= internal} == {
        "postgres",
        "s3",
        "bucket",
    }


def _place(service: dict[str, Any], target: str) -> bool:
    mounted = [mount.split(":")[1] for mount in service.get("volumes", ())]
    return target in [*mounted, *service.get("tmpfs", ())]


def test_images_are_targets_of_the_dockerfile(root: Path, services: dict[str, Any]) -> None:
    """What is built is there to be built, also for a GPU."""
    targets = set(re.findall(r"^FROM .* AS (\S+)", (root / "Dockerfile").read_text(encoding="utf-8"), re.M))
    gpu = composed.read(root / FILES[1])["services"]
    for name, service in [*services.items(), *gpu.items()]:
        if "build" in service:
            assert service["image"] == f"ordinal-{service['build']['target']}", name
            assert service["build"]["target"] in targets, name
    assert set(gpu) < set(services)
    for service in gpu.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


@pytest.mark.parametrize("file", FILES)
def test_no_secret_is_in_a_file(root: Path, file: str) -> None:
    """A variable named as a secret is one that names a file."""
    text = (root / file).read_text(encoding="utf-8")
    for name, value in re.findall(
        r"^\s+([A-Z0-9_]*(?:PASSWORD|SECRET|TOKEN|KEY|CREDENTIALS)\w*): (.*)$", text, re.M
    ):
        assert name.endswith("_FILE"), name
        assert value.startswith("/run/secrets/"), name
    assert not re.search(r"://\w+:[^@/\s]+@", text)  # an address with a password


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("serve.command", ["ordinal-serving", "serve"]),
        ("serve.healthcheck", ["ordinal-serving", "health"]),
        ("prometheus.command", ["prometheus"]),
        ("s3.command", ["weed", "server"]),
    ],
)
def test_every_option_is_one_of_its_program(
    services: dict[str, Any], said: str, command: list[str]
) -> None:
    """What the command's own help says has each of them; test_compose_services.py starts the others."""
    program = Path(sys.executable).parent / command[0]
    found = str(program) if program.exists() else shutil.which(command[0])
    if found is None:
        pytest.skip(f"no {command[0]} (Debian: apt install {command[0]})")
    asked = [found, "help", "server"] if command[0] == "weed" else [found, *command[1:], "--help"]
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "250", "DO_NOT_TRACK": "true", "HOME": "/tmp"}
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    known = set(re.findall(r"(?<![\w-])-{1,2}[a-zA-Z][\w.-]*", done.stdout + done.stderr))
    service, part = said.split(".")
    words = services[service][part]["test"] if part == "healthcheck" else services[service][part]
    # -logtostderr is of weed itself, before its command.
    words = [word for word in words if word.startswith("-") and word != "-logtostderr=true"]
    assert words
    assert {word.split("=")[0] for word in words} <= known


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool (Debian: apt install prometheus)")
def test_prometheus_takes_its_config(services: dict[str, Any], tmp_path: Path) -> None:
    """Its config and the rules, where compose.yaml puts them, and it scrapes what the service publishes."""
    for mount in services["prometheus"]["volumes"]:
        source, target = mount.split(":")[:2]
        if source.startswith("./"):
            shutil.copy(composed.ROOT / source, tmp_path / Path(target).name)
    checked = ["promtool", "check", "config", tmp_path / "prometheus.yaml"]
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout
    jobs = composed.read(tmp_path / "prometheus.yaml")["scrape_configs"]
    (target,) = next(job for job in jobs if job["job_name"] == "ordinal")["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    assert f"--metrics=0.0.0.0:{target.split(':')[1]}" in services["serve"]["command"]


def test_grafana_finds_prometheus_and_its_dashboard(services: dict[str, Any]) -> None:
    """The address of its source is the service's, and the provider's folder is where the dashboard lies."""
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    source = composed.read(composed.ROOT / "deploy/compose/datasource.yaml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provided = mounts["./deploy/grafana/provisioning/dashboards/ordinal.yaml"]
    assert provided.startswith("/etc/grafana/provisioning/dashboards/")
    provider = composed.read(composed.ROOT / "deploy/grafana/provisioning/dashboards/ordinal.yaml")[
        "providers"
    ][0]
    assert Path(mounts["./deploy/grafana/ordinal.json"]).parent == Path(provider["options"]["path"])
