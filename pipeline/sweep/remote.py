"""Places on a Ray cluster, as `workers` are places here: each trains one trial at a time, on any node."""

from __future__ import annotations

import math
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.cluster.connecting import briefly
from pipeline.cluster.software import installed
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.errors import Died, OutOfTime, PipelineError, Stopped
from pipeline.sweep.cluster import PACKAGES, Cluster
from pipeline.sweep.on_node import Kept, Own, Started, Work
from pipeline.sweep.switchboard import FORGOTTEN, Switchboard
from pipeline.sweep.trial import Trial
from pipeline.sweep.tried import Begun, Reached, Said, Tried
from pipeline.sweep.workers import Lease, Tell

_LOOK = 0.5  # seconds between two looks at the time, and whether the run was ended
_EVERY = 5.0  # seconds between two looks whether the head is there
_GONE = 30.0  # seconds in which Ray notices that a node is gone
_WAITING = 60.0  # seconds without a place until somebody is told
MOST = 5
"""Nodes that may die under one trial."""


class Handed(Protocol):
    """A trial that was handed to the cluster."""

    @property
    def wrapped_future(self) -> Any:
        """Ray's reference of what will come of it."""

    def result(self) -> tuple[str, Any]:
        """Return what has come of it; raises what Ray or Prefect do."""


Hand = Callable[[Work, dict[str, Any]], Handed]
"""Hands work to the cluster, with what it needs of a node."""


class Nodes:
    """Places on a cluster, which end with the run."""

    def __init__(self, cluster: Cluster, data: Dataset, config: Config, hand: Hand) -> None:
        """Send the rows to where nodes find them.

        Args:
            cluster: On which.
            data: What trials learn from.
            config: Of the run.
            hand: See `Hand`.
        """
        self.cluster, self.hand = cluster, hand
        ray = cluster.ray
        self.rows = ray.put(data)
        options = {
            "num_cpus": 0,
            "max_restarts": 0,
            "scheduling_strategy": cluster.on(cluster.head["NodeID"]),
        }
        # Each training waits for its answer, and somebody for what it says.
        self.board = (
            ray.remote(Switchboard).options(**options, max_concurrency=4 * cluster.at_a_time + 4).remote()
        )
        self.own = _own(config)
        self.software = installed(PACKAGES)()
        self.closed = threading.Event()
        self._idle: queue.SimpleQueue[_Node] = queue.SimpleQueue()
        for _ in range(cluster.at_a_time):
            self._idle.put(_Node(self))

    def take(self) -> Lease:
        """Return a place that nobody has taken, once there is one."""
        return Lease(self._idle.get(), self._idle)

    def close(self) -> None:
        """End all trainings, for good; those who wait for them raise Stopped."""
        self.closed.set()


class _Node:
    """One place. Ray chooses the node anew for each trial."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def call(self, job: str, *arguments: Any, until: float | None = None, heard: Tell | None = None) -> Any:
        """Return what `Worker.call` of `jobs.train` does; where a node dies another one goes on.

        Raises what `Worker.call` does, and PipelineError where the cluster cannot go on.
        """
        assert job == "train", job
        trial, config, _, network, backup = arguments
        return _Training(self._nodes, trial, config, network, backup, until, heard).done()

    def end(self) -> None:
        """Do nothing: a training that nobody waits for has been ended."""


class _Training:
    """One trial, until it has ended on some node."""

    def __init__(
        self,
        nodes: Nodes,
        trial: Trial,
        config: Config,
        network: Path,
        backup: Path,
        until: float | None,
        heard: Tell | None,
    ) -> None:
        self._nodes, self._ray = nodes, nodes.cluster.ray
        self._trial, self._config = trial, config
        self._network, self._backup = network, backup
        self._until, self._heard = until, heard
        self._node = ""
        self._epoch = -1  # that was heard of last; 0 once the training has begun

    def done(self) -> Tried:
        """Return what was reached."""
        for _ in range(MOST):
            try:
                kind, content = self._once()
            except _Gone as gone:
                self._hear(Said(f"{gone}; it is trained on another"))
                continue
            if kind == "raised":
                raise content
            tried: Tried
            tried, written = content
            _write(self._network, written)
            for left in self._backup.glob("*"):
                left.unlink()
            return replace(tried, path=self._network)
        raise Died(f"{MOST} nodes of the cluster died under it")

    def _once(self) -> tuple[str, Any]:
        nodes, key = self._nodes, uuid.uuid4().hex
        work = Work(
            key, self._trial, self._config, nodes.rows, nodes.board,
            int(nodes.cluster.needs["num_cpus"]), nodes.software, self._kept, nodes.own,
        )  # fmt: skip
        self._node = ""
        try:
            handed = nodes.hand(work, nodes.cluster.needs)
            try:
                self._listen(handed.wrapped_future, key)
                return handed.result()
            except BaseException:
                if nodes.cluster.answers:
                    self._ray.cancel(handed.wrapped_future, force=True)
                raise
            finally:
                if nodes.cluster.answers:
                    nodes.board.forget.remote(key)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise self._meant(error) from error

    def _listen(self, reference: Any, key: str) -> None:
        """Hear what the training says until it has ended."""
        ray, board = self._ray, self._nodes.board
        said = board.hear.remote(key)
        patience, look = time.monotonic() + _WAITING, time.monotonic() + _EVERY
        while True:
            if time.monotonic() > look:
                look = time.monotonic() + _EVERY
                self._check_head()
            if not self._node and time.monotonic() > patience:
                patience = math.inf
                free = f"{ray.available_resources().get('CPU', 0):g} CPUs free"
                self._hear(Said(f"waits for a place on {self._nodes.cluster.described}, {free}"))
            ready, _ = ray.wait([said, reference], num_returns=1, timeout=_LOOK)
            if self._nodes.closed.is_set():
                raise Stopped("the run was ended")
            if self._until is not None and time.monotonic() >= self._until:
                raise OutOfTime("out of time")
            if said in ready:
                message = ray.get(said)
                if message is FORGOTTEN:
                    raise PipelineError("the switchboard has forgotten a training that goes on")
                board.answer.remote(key, self._hear(message))
                said = board.hear.remote(key)
            elif reference in ready:
                return

    def _hear(self, message: Any) -> bool:
        """Pass on what was said, once, also where a training is done again; return whether to go on."""
        match message:
            case Started(node):
                self._node = node
                return True
            case Kept(name, content):
                _write(self._backup / name, content)
                return True
            case Begun() if self._epoch >= 0:
                return True
            case Begun():
                self._epoch = 0
            case Reached(epoch, _) if epoch <= self._epoch:
                return True
            case Reached(epoch, _):
                self._epoch = epoch
        return self._heard is None or self._heard(message)

    @property
    def _kept(self) -> Kept | None:
        """The last backup, of an earlier process maybe."""
        found = next(iter(self._backup.glob("*.npz")), None)
        return None if found is None else Kept(found.name, found.read_bytes())

    def _meant(self, error: Exception) -> Exception:
        """Return what an error of Ray's means for the trial."""
        failures = self._ray.exceptions
        if not self._nodes.cluster.answers:
            return self._failed("its head does not answer")
        match error:
            case failures.OutOfMemoryError():
                return Died(f"too little memory on a node of Ray: {briefly(error)}")
            case failures.NodeDiedError() | failures.ObjectLostError():
                return _Gone("the node that trained it has died")
            case failures.WorkerCrashedError() if self._node_dies:
                return _Gone("the node that trained it has died")
            case failures.WorkerCrashedError():
                return Died("its process on a node of Ray was ended (too little memory, perhaps)")
        return self._failed(briefly(error))

    def _check_head(self) -> None:
        """Raise PipelineError where the head has gone, of which Ray itself tells nobody for a minute."""
        if not self._nodes.cluster.answers:
            raise self._failed("its head does not answer")

    def _failed(self, why: str) -> PipelineError:
        return PipelineError(
            f"Ray at {self._nodes.cluster.address} has failed: {why}; the same command goes on once that "
            "is mended"
        )

    @property
    def _node_dies(self) -> bool:
        """Whether the process went with its node, which Ray notices a little later."""
        end = time.monotonic() + _GONE
        while self._node and time.monotonic() < end and not self._nodes.closed.is_set():
            if not self._nodes.cluster.is_alive(self._node):
                return True
            time.sleep(_LOOK)
        return not self._node


class _Gone(Exception):
    """A node has died, and the training with it."""


def _write(path: Path, content: bytes) -> None:
    """Write a file at once."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written: {error.strerror or error}; give the same command again once "
            "that is mended"
        ) from error


def _own(config: Config) -> Own | None:
    """Return the module of a backbone of the user's own where that is a file beside the config."""
    module, colon, _ = config.model.backbone.rpartition(":")
    if not colon or not module.endswith(".py"):
        return None
    path = Path(module)
    return Own(str(path.resolve()), path.read_bytes())
