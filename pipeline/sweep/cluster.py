"""The Ray cluster that trials run on, and how many it has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pipeline.cluster import connecting
from pipeline.config import Search
from pipeline.errors import InputError

PACKAGES = ("tensorflow", "keras", "numpy", "prefect", "prefect-ray", "ray")
"""Whose versions a training depends on, or the way in which it is told of."""
_CONNECTING = 5.0  # seconds


class Cluster(connecting.Cluster):
    """A cluster with places for trials."""

    def __init__(self, address: str, ray: Any, search: Search) -> None:
        """Look at what there is; see `joined`."""
        super().__init__(address, ray)
        found = ray.cluster_resources()
        self.cpus, self.gpus = int(found.get("CPU", 0)), int(found.get("GPU", 0))
        self.needs: dict[str, float] = {"num_cpus": search.threads or 1}
        """What one trial takes of a node."""
        if self.gpus:
            self.needs["num_gpus"] = search.replicas
        room = sum(map(self._room, self.nodes))
        self.at_a_time = min(search.trials, search.places or max(1, room))
        """How many trials are handed in; those that there is no room for yet wait on the cluster."""
        self._warming: list[Any] = []

    @property
    def described(self) -> str:
        """The cluster in some words."""
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        return f"Ray at {self.address} ({len(self.nodes)} nodes, {self.cpus} CPUs{gpus})"

    def _warm_up(self) -> None:
        """Have trials find processes that have imported what they take; returns at once."""

        def warm() -> None:
            from importlib import import_module

            import_module("prefect.task_engine")
            import_module("pipeline.sweep.jobs")

        remote, left = self.ray.remote(num_cpus=0, max_retries=0)(warm), self.at_a_time
        for node in self.nodes:
            many = min(left, self._room(node))
            left -= many
            there = remote.options(scheduling_strategy=self.on(node["NodeID"]))
            self._warming += [there.remote() for _ in range(many)]

    def _check_room(self, search: Search) -> None:
        """Raise InputError where no node has room for a trial; one without CPUs may have others started."""
        if self.cpus and not any(map(self._room, self.nodes)):
            gpus = f" and {search.replicas} GPUs" if self.gpus else ""
            raise InputError(
                f"a node of Ray at {self.address} must have what one trial takes, {search.threads or 1} "
                f"CPUs (search.threads){gpus}; none has: {self.described}"
            )

    def _room(self, node: dict[str, Any]) -> int:
        """Return for how many trials a node has room, were it idle."""
        has = node["Resources"]
        needs = {"CPU": self.needs["num_cpus"], "GPU": self.needs.get("num_gpus", 0)}
        return min(int(has.get(what, 0) // many) for what, many in needs.items() if many)


@contextmanager
def joined(search: Search) -> Iterator[Cluster]:
    """Be a driver of the cluster at `search.address`, as `connecting.connected` says, and check it.

    Raises:
        InputError: There is no room for a trial, or a node has other packages, besides.
    """
    with connecting.connected(search.address, "search.address", ("ray", "prefect_ray")) as found:
        cluster = Cluster(found.address, found.ray, search)
        cluster._check_room(search)
        cluster.check_packages(PACKAGES)
        cluster._warm_up()
        yield cluster


def reached(url: str) -> Callable[[], str]:
    """Return a function that returns why a server is not reached, or ""."""
    parts = urlsplit(url)
    place = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    seconds = _CONNECTING

    def reach() -> str:
        import socket

        try:
            socket.create_connection(place, seconds).close()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    return reach
