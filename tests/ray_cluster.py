"""A Ray cluster of two nodes on this machine: two `ray start`, each with all that it starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline import web

_MARK = "ORDINAL_TEST_NODE"
_MEMORY = 200_000_000  # of each node's object store, in bytes
_STARTING, _ATTEMPTS = 180, 5  # seconds; to start a node


class Node:
    """`ray start`, until it is ended; its processes are known by a mark in their environment."""

    def __init__(self, folder: Path, name: str, cpus: int, arguments: list[str]) -> None:
        """Start it; returns at once."""
        self.name = name
        self._mark = uuid.uuid4().hex
        self._log = (folder / f"{name}.log").open("w+", encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_", "RAY_"))}
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus}",
                f"--object-store-memory={_MEMORY}", "--node-ip-address=127.0.0.1",
                "--disable-usage-stats", *arguments,
            ],
            cwd=folder,  # and not where the driver is: a node has no files of it
            env={
                **kept,
                _MARK: self._mark,
                "PREFECT_HOME": str(folder / "prefect"),
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    @property
    def log(self) -> str:
        """What it has written."""
        self._log.seek(0)
        return self._log.read()

    @property
    def pids(self) -> list[int]:
        """Its processes, those of Ray's workers too."""
        wanted = f"{_MARK}={self._mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    @property
    def ended(self) -> bool:
        """Whether `kill` has ended it."""
        return self._log.closed

    def wait_for(self, text: str, seconds: float = _STARTING) -> None:
        """Return once it has written a text; fails where it ends before, or takes too long."""
        end = time.monotonic() + seconds
        while text not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    def kill(self) -> None:
        """End all of it at once, as where a machine is switched off."""
        while pids := self.pids:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)
        self.process.wait(30)
        self._log.close()


class Cluster:
    """A head and a second node, of some CPUs each; the address is what users would name."""

    def __init__(self, folder: Path, cpus: int) -> None:
        """Start both, and wait for them; see `cluster`."""
        self._folder = folder
        self._cpus = cpus
        self.nodes: list[Node] = []
        port, client = web.unused(2)
        self.address = f"127.0.0.1:{port}"
        self.client_address = f"ray://127.0.0.1:{client}"
        """Where Ray's client is answered, for drivers that are no part of the cluster's network."""
        try:
            self._start(
                "head",
                "--head",
                f"--port={port}",
                f"--ray-client-server-port={client}",
                "--include-dashboard=false",
                f"--temp-dir={folder / 'ray'}",  # which the second node takes over
            )
            self.add()
        except BaseException:
            self.close()
            raise

    def add(self) -> Node:
        """Return one more node, once it is there."""
        return self._start(f"node-{len(self.nodes)}", f"--address={self.address}")

    def close(self) -> None:
        """End whatever is left of it."""
        for node in reversed(self.nodes):
            if not node.ended:
                node.kill()

    def _start(self, name: str, *arguments: str) -> Node:
        """Return a node that is up.

        Its processes give up on each other where the machine is so busy that one takes 15 s to start.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            node = Node(self._folder, name, self._cpus, list(arguments))
            try:
                node.wait_for("Ray runtime started")
            except BaseException as error:
                told = node.log
                node.kill()
                if not isinstance(error, AssertionError) or attempt == _ATTEMPTS:
                    raise AssertionError(told) from error
            else:
                self.nodes.append(node)
                return node
        raise AssertionError(name)


@contextmanager
def cluster(cpus: int = 1) -> Iterator[Cluster]:
    """Run two nodes with so many CPUs each; nothing of them is left in the end.

    `cluster.address` is "HOST:PORT" of the head. `cluster.nodes[1].kill()` switches the second node off.
    """
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))  # Ray's sockets need a short path
    running: Cluster | None = None
    try:
        running = Cluster(folder, cpus)
        yield running
    finally:
        if running is not None:
            running.close()
        shutil.rmtree(folder, ignore_errors=True)
