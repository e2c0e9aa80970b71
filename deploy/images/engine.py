"""What builds and runs images: docker, podman, or a podman that is set up apart where neither works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON_IMAGE = os.environ.get("PYTHON_IMAGE", "docker.io/library/python:3.11-slim-bookworm")
# Whom this machine trusts, so that pip does inside.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# Works without systemd, and inside a container.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Unavailable(Exception):
    """There is no engine, and none can be set up here."""


@dataclass(frozen=True)
class Engine:
    """A command that understands docker's words, and what its environment needs beside this one."""

    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    build_options: tuple[str, ...] = ()

    def do(self, *words: str, check: bool = True) -> str:
        """Run one of its commands; return what that has written to its standard output."""
        done = subprocess.run(
            [*self.words, *words],
            env=self.full_environment, stdout=subprocess.PIPE, text=True, check=check,
        )  # fmt: skip
        return done.stdout.strip()

    @property
    def full_environment(self) -> dict[str, str]:
        """Return what its processes get."""
        return {**os.environ, **self.environment}

    def build(self, target: str) -> str:
        """Build a target of the Dockerfile; return the image's name."""
        name = f"ordinal-{target}:image-test"
        subprocess.run(
            [*self.words, "build", "--target", target, "--tag", name,
             "--build-arg", f"PYTHON_IMAGE={PYTHON_IMAGE}", *self.build_options, str(ROOT)],
            env=self.full_environment, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return name

    def megabytes(self, image: str) -> int:
        """Return the size of an image with all of its layers."""
        return int(self.do("image", "inspect", "--format", "{{.Size}}", image)) // 10**6

    def check_health(self, container: str) -> None:
        """Raise CalledProcessError where a container's own health check fails."""
        health = self.do("inspect", "--format", "{{json .Config.Healthcheck.Test}}", container)
        self.do("exec", container, *json.loads(health)[1:])


@contextmanager
def found() -> Iterator[Engine]:
    """Give an engine that has the base image or can pull it; raises Unavailable where there is none."""
    for program in ("docker", "podman"):
        if shutil.which(program) and (
            _works(program, "image", "inspect", PYTHON_IMAGE) or _works(program, "pull", PYTHON_IMAGE)
        ):
            yield Engine((program,))
            return
    with tempfile.TemporaryDirectory(prefix="ordinal-images-") as folder, _apart(Path(folder)) as engine:
        yield engine


def _works(program: str, *words: str) -> bool:
    return subprocess.run([program, *words], capture_output=True, check=False).returncode == 0


@contextmanager
def _apart(folder: Path) -> Iterator[Engine]:
    """Give a podman whose images lie in a folder, with Debian's own Python as the base image."""
    if os.getuid() or not shutil.which("apt-get"):
        raise Unavailable(
            f"needs a container engine that can pull {PYTHON_IMAGE}: docker or podman "
            "(or root on Debian 12, where podman is set up for this test alone)"
        )
    missing = [p for p in ("podman", "runc", "mmdebstrap") if not shutil.which(p)]
    if missing:
        print(f"installing {' '.join(missing)}, since there is no container engine …", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
            env=quiet, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/g"\nrunroot = "{folder}/r"\n'
    (folder / "storage.conf").write_text(storage, encoding="utf-8")
    (folder / "containers.conf").write_text(CONTAINERS, encoding="utf-8")
    engine = Engine(
        ("podman", "--log-level=fatal"),  # it misses systemd, which would ask for health by the clock
        {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
        },
        ("--format", "docker", "--pull=never", "--network=host"),
    )
    base = Path(os.environ.get("BASE_TAR") or folder / "base.tar")
    if not base.is_file():
        _make_base(base)
    trust = [f"--change=ENV={name}={AUTHORITIES}" for name in ("PIP_CERT", "SSL_CERT_FILE")]
    engine.do("import", "--quiet", *trust, str(base), PYTHON_IMAGE)
    try:
        yield engine
    finally:
        engine.do("rm", "--force", "--all", "--time=2", check=False)
        subprocess.run(["umount", folder / "g" / "overlay"], capture_output=True, check=False)


def _make_base(base: Path) -> None:
    """Write a root file system of Debian 12 with Python as `python`."""
    print("making a stand-in for the base image …", flush=True)
    hooks = (
        f"upload {AUTHORITIES} {AUTHORITIES}",
        'ln -s /usr/bin/python3 "$1/usr/local/bin/python"',
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED "$1"/etc/resolv.conf',
    )
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase",
         "--include=ca-certificates,python3,python3-venv,python3-pip",
         *(f"--customize-hook={hook}" for hook in hooks),
         "bookworm", str(base), *([str(SOURCES)] if SOURCES.is_file() else [])],
        check=True,
    )  # fmt: skip
