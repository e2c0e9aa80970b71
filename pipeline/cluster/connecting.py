"""A Ray cluster: found by its address, and looked at before anything is done there."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pipeline import environment
from pipeline.cluster.software import difference, installed
from pipeline.errors import InputError, PipelineError

_PORT = 10001
_ATTEMPTS = 3
_CONNECTING, _LOOKING = 5.0, 120.0  # seconds; the first process of a node takes its time
_GONE, _LOOK = 30.0, 0.5  # seconds in which Ray notices that a node is gone; between two looks


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, address: str, ray: Any) -> None:
        """See `connected`."""
        self.address = address
        self.ray = ray
        # Asked while there is one.
        self._head = _place(ray.get_runtime_context().gcs_address if address == "auto" else address)

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """Those that are alive, as Ray tells of them."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    @property
    def head(self) -> dict[str, Any]:
        """The node that is gone only with the whole cluster."""
        return next((node for node in self.nodes if "node:__internal_head__" in node["Resources"]), {})

    @property
    def answers(self) -> bool:
        """Whether its head is there; asked without one Ray itself waits a minute, and ends this process."""
        with suppress(OSError):
            socket.create_connection(self._head, _CONNECTING).close()
            return True
        return False

    def is_alive(self, node_id: str) -> bool:
        """Return whether a node is still there."""
        return any(node["NodeID"] == node_id for node in self.nodes)

    def on(self, node_id: str) -> Any:
        """Return the scheduling strategy that means this node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node_id, soft=False)

    def everywhere(self, function: Callable[[], Any]) -> list[tuple[str, Any]]:
        """Return the address of each node, and what a function returns there; without those that die.

        Args:
            function: Made inside another, so that a node needs no module of ours to read it.
        """
        remote = self.ray.remote(num_cpus=0, max_retries=0)(function)
        nodes = self.nodes
        asked = [remote.options(scheduling_strategy=self.on(node["NodeID"])).remote() for node in nodes]
        found = []
        for node, reference in zip(nodes, asked, strict=True):
            name = node["NodeManagerAddress"]
            try:
                found.append((name, self.ray.get(reference, timeout=_LOOKING)))
            except self.ray.exceptions.RayError as error:
                if self._dies(node["NodeID"]):
                    continue
                raise PipelineError(f"node {name} of Ray at {self.address}: {briefly(error)}") from error
        return found

    def _dies(self, node_id: str) -> bool:
        """Return whether a node goes; one that is switched off counts as alive for a while."""
        end = time.monotonic() + _GONE
        while self.is_alive(node_id):
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK)
        return True

    def check_packages(self, packages: Sequence[str]) -> None:
        """Raise InputError where a node has other versions, or other code of ours, than this machine."""
        ask = installed(packages)
        ours = ask()
        for node, theirs in self.everywhere(ask):
            wrong = difference(ours, theirs)
            if wrong:
                raise InputError(f"node {node} of Ray at {self.address} {wrong}")


@contextmanager
def connected(address: str, asked_by: str, needs: Sequence[str] = ("ray",)) -> Iterator[Cluster]:
    """Be a driver of the cluster at an address; what runs there for this process ends with it.

    Args:
        address: `HOST:PORT` of its head, where this machine is one of its nodes; `ray://HOST:PORT` from
            another machine; `auto` for the one that runs on this machine.
        asked_by: The option or the key that names the address, for messages.
        needs: Packages without which there is nothing to be done.

    Raises:
        InputError: The address is none, or a package is missing here.
        PipelineError: Nothing answers there, or nothing that this process can work with.
    """
    _check(address, asked_by)
    for name in needs:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f'{asked_by} needs the package {name}, which is not installed: pip install "ordinal[scale]"'
            )
    environment.prepare()
    # Where something else than Ray answers it tries once, for 40 s, and not twenty times.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    # Nor shall it start a cluster of its own where it is called after it has lost this one.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    # Told that a node has died, Ray would repeat it on our standard output, with pages of a log.
    ray = importlib.import_module("ray")
    worker: Any = importlib.import_module("ray._private.worker")
    worker.print_to_stdstream = _not_said
    terminated = signal.getsignal(signal.SIGTERM)
    with environment.quiet():
        trouble = _connect(ray, address)
    with suppress(ValueError):  # not the main thread, in which Ray sets none
        signal.signal(signal.SIGTERM, terminated)  # where Ray has put its own
    if trouble is not None:
        raise PipelineError(
            f"{asked_by}: cannot work with Ray at {address}: {briefly(trouble)}; HOST:PORT is for a "
            f"machine that is a node of the cluster, any other takes ray://HOST:{_PORT}"
        ) from trouble
    cluster = Cluster(address, ray)
    try:
        yield cluster
    finally:
        if cluster.answers:
            ray.shutdown()


def briefly(error: BaseException) -> str:
    """Return in a line what an error of Ray's is about; its own text is pages."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return briefly(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith(("Traceback", "ray::")) for line in lines):
        del lines[:-1]  # which says what was raised
    return " ".join(lines)[:300] if lines else type(error).__name__


def _connect(ray: Any, address: str) -> Exception | None:
    """Connect, or return why that cannot be."""
    # The head starts a process for each client, and gives up on one that takes 30 s.
    attempts = _ATTEMPTS if address.startswith("ray://") else 1
    trouble: Exception | None = None
    for _ in range(attempts):
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                runtime_env={"env_vars": {name: os.environ[name] for name in environment.DEFAULTS}},
            )
        except Exception as error:  # noqa: BLE001 - of half a dozen kinds
            trouble = error
        else:
            return None
    return trouble


def _check(address: str, asked_by: str) -> None:
    """Raise where nobody answers at an address, which Ray takes minutes to say."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise InputError(f"{asked_by} must be HOST:PORT, ray://HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection(_place(address), _CONNECTING).close()
    except (OSError, OverflowError) as error:
        raise PipelineError(
            f"{asked_by}: nothing answers at {address}: {getattr(error, 'strerror', None) or error}; "
            f"`ray start --head` tells the address, HOST:6379, or ray://HOST:{_PORT} from other machines"
        ) from error


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


def _not_said(*_: object, **__: object) -> None:
    """Say nothing."""
