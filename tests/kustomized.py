"""deploy/kubernetes as Kubernetes gets it: built by the kustomize in kubectl."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = Mapping[str, Any]

KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
COMPONENTS = re.compile(r"^# (?=components:|  - \.\./\.\./components/)", re.M)
"""What is commented out in overlays."""
OVERLAYS = ("cpu", "gpu", "local", "all")


@dataclass(frozen=True)
class Pod:
    """What a Deployment or a CronJob makes pods of."""

    owner: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """All, those that run first included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


@dataclass(frozen=True)
class Overlay:
    """The objects of one overlay."""

    name: str
    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        """Those of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str) -> Any:
        """The one of a kind and name; what generators append to names is left out."""
        (found,) = (one for one in self.of(kind) if name in (called(one), called(one).rpartition("-")[0]))
        return found

    def pods(self) -> Iterator[Pod]:
        """Of all that starts pods."""
        for one in self.objects:
            template = one.get("spec", {}).get("jobTemplate", one).get("spec", {}).get("template")
            if template is not None:
                yield Pod(called(one), template["metadata"]["labels"], template["spec"])

    def pod(self, owner: str) -> Pod:
        """Of one Deployment or CronJob."""
        (found,) = (pod for pod in self.pods() if pod.owner == owner)
        return found

    def settings(self) -> dict[str, str]:
        """What the service's environment is."""
        data: dict[str, str] = self.one("ConfigMap", "ordinal-serve")["data"]
        return data


def called(one: Object) -> str:
    """The name of an object."""
    name: str = one["metadata"]["name"]
    return name


def build(folder: Path) -> list[Object]:
    """What `kubectl apply -k` of a folder would send."""
    assert KUBECTL is not None
    built = subprocess.run(
        [KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert built.returncode == 0, built.stderr
    assert "deprecated" not in built.stderr, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def overlays(deploy: Path, folder: Path) -> list[Overlay]:
    """Those that there are, and `all`, which is `cpu` with the components that it has as comments."""
    shutil.copytree(deploy / "kubernetes", folder / "kubernetes")
    within = folder / "kubernetes" / "overlays"
    shutil.copytree(within / "cpu", within / "all")
    file = within / "all" / "kustomization.yaml"
    file.write_text(COMPONENTS.sub("", file.read_text(encoding="utf-8")), encoding="utf-8")
    return [Overlay(name, build(within / name)) for name in OVERLAYS]
