"""deploy/kubernetes: secrets are made of files, and the service and its probes can use them."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
from certificates import Authority
from kustomized import KUBECTL, Overlay, build, called, overlays
from servers import run_server

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl, which brings kustomize")


@pytest.fixture
def made(root: Path, tmp_path: Path) -> dict[str, dict[str, bytes]]:
    """The secrets, by name, of files as the head of their kustomization says."""
    folder = tmp_path / "secrets"
    shutil.copytree(root / "deploy" / "kubernetes" / "secrets", folder)
    (folder / "mlflow.env").write_text("MLFLOW_TRACKING_USERNAME=me\nMLFLOW_TRACKING_PASSWORD=a=b c\n")
    authority = Authority()
    issued = authority.issue()
    for name, content in {
        "tls.crt": issued.certificate,
        "tls.key": issued.key,
        "ca.crt": authority.certificate,
    }.items():
        (folder / name).write_bytes(content)
    token = [sys.executable, "-m", "serving", "token", "mobile", "--file", str(folder / "tokens.toml")]
    subprocess.run(token, check=True, capture_output=True, timeout=60)
    secrets = build(folder)
    for one in secrets:
        assert kubernetes_validate.validate(one, "1.37", strict=True) == "1.37"
        assert one["metadata"]["namespace"] == "ordinal"
    return {
        called(one): {key: base64.b64decode(value) for key, value in one["data"].items()} for one in secrets
    }


def test_the_service_and_its_probes_can_use_them(
    root: Path, tmp_path: Path, made: dict[str, dict[str, bytes]]
) -> None:
    """Files lie where the settings name them; a service with them is asked by the probes' own command."""
    (overlay,) = (one for one in overlays(root / "deploy", tmp_path / "all") if one.name == "all")
    pod, settings = overlay.pod("ordinal-serve"), overlay.settings()
    (container,) = pod.containers
    assert made["ordinal-mlflow"] == {
        "MLFLOW_TRACKING_USERNAME": b"me", "MLFLOW_TRACKING_PASSWORD": b"a=b c",
    }  # fmt: skip
    secret = {v["name"]: v["secret"] for v in pod.spec["volumes"] if "secret" in v}
    for mount in container["volumeMounts"]:
        if mount["name"] in secret:
            folder = tmp_path / mount["mountPath"].strip("/")
            folder.mkdir()
            for key, content in made[secret[mount["name"]]["secretName"]].items():
                (folder / key).write_bytes(content)
    paths = {
        name: str(tmp_path / settings[f"ORDINAL_{name.upper()}"].strip("/"))
        for name in ("tls_certificate", "tls_key", "tokens")
    }
    commands = {tuple(container[name]["exec"]["command"]) for name in container if name.endswith("Probe")}
    (command,) = commands
    assert command[0] == "ordinal-serving"
    arguments = [
        {"/tls/ca.crt": str(tmp_path / "tls" / "ca.crt"), "ordinal-serve.ordinal": "localhost"}.get(
            word, word
        )
        for word in command[1:]
    ]
    with run_server(**paths) as server:
        asked = subprocess.run(
            [sys.executable, "-m", "serving", *arguments, "--address", server.address],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (asked.stdout, asked.stderr) == ("NOT_SERVING\n", "")  # for it has no models


def test_they_cannot_be_committed(root: Path) -> None:
    """What is put beside the kustomization is left out by git; overlays have none."""
    folder = root / "deploy" / "kubernetes" / "secrets"
    for name in ("mlflow.env", "tls.key", "tokens.toml", "other"):
        ignored = subprocess.run(
            ["git", "check-ignore", "--quiet", str(folder / name)], cwd=root, timeout=30
        )
        assert ignored.returncode == 0
    built = [Overlay(name, build(root / "deploy/kubernetes/overlays" / name)) for name in ("cpu", "gpu")]
    assert not any(overlay.of("Secret") for overlay in built)
