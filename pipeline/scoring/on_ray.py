"""Blocks are scored on a Ray cluster; this process reads them, and writes what comes back.

So nodes need neither IN nor OUT nor the registry, and what is true of a scoring on this machine stays true:
the same blocks, parts, order of rows, and way to go on after a kill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from pipeline.cluster import connecting
from pipeline.cluster.connecting import briefly
from pipeline.cluster.software import installed
from pipeline.errors import PipelineError
from pipeline.scoring import parcels, places
from pipeline.scoring.blocks import BlockScorer
from pipeline.scoring.inputs import Block
from pipeline.scoring.parts import Part
from pipeline.scoring.run import Job

PACKAGES = ("onnxruntime-gpu", "pyarrow", "numpy", "ray")
"""Whose versions answers depend on, or the way in which they come."""
_QUIET, _LOOKING = 30.0, 5.0  # seconds
_MOST = 128  # blocks on their way: they lie in the object store of this machine's node
_CALLS = 2 * _MOST  # threads of the desk: one waits for each part, others ask for blocks


class Cluster:
    """A Ray cluster that scores for this process."""

    def __init__(self, cluster: connecting.Cluster, say: Callable[[str], None]) -> None:
        self.address, self._ray, self._say = cluster.address, cluster.ray, say
        self._cluster = cluster

    def place(self, job: Job, model: bytes, device: Literal["cpu", "cuda"]) -> places.Open:
        """Return what opens this place for a job, whose artifact has these bytes."""

        @contextmanager
        def opened(_: BlockScorer) -> Iterator[places.Place]:
            with self._desk(job, model, device) as desk:
                yield _Nodes(self, desk, "GPU" if device == "cuda" else "CPU")

        return opened

    @contextmanager
    def _desk(self, job: Job, model: bytes, device: Literal["cpu", "cuda"]) -> Iterator[Any]:
        from pipeline.scoring.ray_desk import Asked, Desk

        ray, source = self._ray, job.source
        asked = Asked(
            installed(PACKAGES)(),
            "model.onnx",
            device,
            job.scorer.question,
            tuple(source.at),
            source.file.delimiter,
        )
        with self.told():
            here = self._cluster.on(ray.get_runtime_context().get_node_id())
            options = {"num_cpus": 0, "max_concurrency": _CALLS, "scheduling_strategy": here}
            desk = ray.remote(Desk).options(**options).remote([ray.put(model)], asked)
        try:
            yield desk
        finally:
            if self._cluster.answers:
                with suppress(ray.exceptions.RayError, ConnectionError):  # which is told already
                    ray.kill(desk)  # and with it all that works for it

    def size(self, resource: str) -> int:
        """Return how many CPUs or GPUs there are now."""
        with self.told():
            return int(self._ray.cluster_resources().get(resource, 0))

    def put(self, what: object) -> Any:
        """Return a reference of something that nodes may get."""
        with self.told():
            return self._ray.put(what)

    def get(self, reference: Any, resource: str) -> Any:
        """Wait for a result; say so where nothing comes for long."""
        began, told = time.monotonic(), False
        with self.told():
            while not self._ray.wait([reference], timeout=_LOOKING)[0]:
                if not self._cluster.answers:
                    raise self.failed("its head does not answer")
                if not told and time.monotonic() - began > _QUIET:
                    told = True
                    free = self._ray.available_resources().get(resource, 0)
                    self._say(
                        f"waiting for Ray at {self.address}, of whose {self.size(resource)} {resource}s "
                        f"{free:g} are free …"
                    )
            return self._ray.get(reference)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say in one sentence where the cluster fails."""
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise self.failed(briefly(error)) from error

    def failed(self, why: str) -> PipelineError:
        """Return the error for a cluster that cannot go on."""
        return PipelineError(
            f"Ray at {self.address} has failed: {why}; what is done is kept: give the same command again "
            "once that is mended"
        )


class _Nodes:
    """All nodes of a cluster."""

    def __init__(self, cluster: Cluster, desk: Any, resource: str) -> None:
        self._cluster, self._desk, self._resource = cluster, desk, resource
        self._many, self._looked = 0, -_LOOKING
        self._ahead = 0

    @property
    def ahead(self) -> int:
        """Enough for each CPU to have one more than it works on; the cluster may grow."""
        now = time.monotonic()
        if now - self._looked >= _LOOKING:
            self._ahead = min(_MOST, 2 * self._cluster.size(self._resource) + 2)
            self._looked = now
        return self._ahead

    def submit(self, block: Block) -> places.Pending:
        """Hand in a block."""
        index = self._many
        self._many += 1
        self._desk.add.remote(index, [self._cluster.put(parcels.of_block(block))])
        return _Coming(self._cluster, self._desk.part.remote(index), self._resource)


class _Coming:
    """A part that will come from the cluster."""

    def __init__(self, cluster: Cluster, reference: Any, resource: str) -> None:
        self._cluster, self._reference, self._resource = cluster, reference, resource

    def result(self) -> Part:
        """Return it."""
        found = self._cluster.get(self._reference, self._resource)
        if isinstance(found, str):
            raise self._cluster.failed(found)
        return parcels.part(found)


@contextmanager
def connected(address: str, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to a cluster, and compare what is installed there.

    Args:
        address: See `connecting.connected`, which also tells what it raises.
        say: Tells people something.

    Raises:
        InputError: A node has other packages, besides.
    """
    with connecting.connected(address, "--ray") as found:
        found.check_packages(PACKAGES)
        yield Cluster(found, say)
