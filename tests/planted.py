"""Faults that are planted for real, and the command that has to find them."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LETS = ("MLFLOW_", "PREFECT_", "ORDINAL_", "KERAS_", "TF_", "CUDA_", "LD_LIBRARY")
"""Variables that a healthy set-up goes without."""


@dataclass
class Place:
    """A working folder of its own, and the variables of what runs in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    site: list[Path] = field(default_factory=list)

    def install(self, name: str, version: str, *requires: str) -> None:
        """Plant a distribution as pip leaves it, before those that are installed."""
        site = self.folder / "site"
        if site not in self.site:
            self.site.insert(0, site)
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {one}" for one in requires]
        (info / "METADATA").write_text("\n".join([*lines, ""]), encoding="utf-8")

    def break_module(self, name: str) -> None:
        """Plant a module that cannot be imported, before the one that is installed."""
        site = self.folder / "broken"
        if site not in self.site:
            self.site.insert(0, site)
        (site / name).mkdir(parents=True)
        text = f"raise ImportError('{name} is of another version')\n"
        (site / name / "__init__.py").write_text(text, encoding="utf-8")

    def all_variables(self) -> dict[str, str]:
        """Return what a process gets."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(LETS) and "proxy" not in k.lower()}
        path = os.pathsep.join(map(str, [*self.site, ROOT]))
        return {
            **kept,
            "PYTHONPATH": path,
            "PREFECT_HOME": str(self.folder / "prefect"),
            **self.environment,
        }

    def run(self, *arguments: str, module: str = "pipeline") -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        verb = ["doctor"] if module == "pipeline" else []
        return subprocess.run(
            [sys.executable, "-m", module, *verb, *arguments],
            cwd=self.folder, env=self.all_variables(), capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    def found(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the findings that the command prints as JSON."""
        done = self.run("--json", *arguments)
        assert done.stderr == "", done.stderr
        said = json.loads(done.stdout)
        assert done.returncode == int(said["errors"] > 0)
        findings: list[dict[str, Any]] = said["findings"]
        return findings

    @contextmanager
    def process(self, program: str) -> Iterator[subprocess.Popen[str]]:
        """Run a program in the folder until it has printed a line, and end it with the context."""
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=self.folder, env=self.all_variables(), stdout=subprocess.PIPE, stdin=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()
            process.communicate()


def corrupt(path: Path) -> None:
    """Write a file that was SQLite once."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table alembic_version (version_num text)")
        database.executemany("insert into alembic_version values (?)", [("x" * 500,)] * 100)
        database.commit()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * 8192 + whole[12288:])


def with_schema(path: Path, revision: str) -> None:
    """Write a database of the schema of some version of MLflow or Prefect, as far as Alembic tells."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values (?)", (revision,))
        database.commit()


@contextmanager
def listener() -> Iterator[int]:
    """Listen on a port of this machine, as something that is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def dead_port() -> int:
    """Return a port on which nobody listens."""
    with listener() as port:
        return port


@contextmanager
def small_disk(path: Path, size: str = "4m", options: str = "") -> Iterator[bool]:
    """Mount a disk of few bytes; yields False where this user may not."""
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(path)],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def half_a_core(pid: int) -> Iterator[bool]:
    """Let a process and its children have half a core; yields False where this user may not."""
    older = Path("/sys/fs/cgroup/cpu")
    root = older if older.is_dir() else Path("/sys/fs/cgroup")
    group = root / f"ordinal-test-{os.getpid()}"
    before = _group_of(pid, "cpu" if root == older else "")
    try:
        group.mkdir()
        if root == older:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("50000")
        else:
            (group / "cpu.max").write_text("50000 100000")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        if group.is_dir():
            group.rmdir()
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # it may have ended
            (root / before.strip("/") / "cgroup.procs").write_text(str(pid))
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:  # until its last process is gone
                time.sleep(0.1)


def _group_of(pid: int, controller: str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"
