"""How an artifact is run on its device: rows of a run, room in the GPU's memory, GPU or CPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime as ort

from serving.gpu import Gpu
from serving.graphs import Graphs, on_its_thread
from serving.session import CUDA, Device, Feed, OneAtATime, fits, open_session

MOST_ROWS = 1024
"""Rows of one run: on a CPU larger ones are hardly faster, and memory must not grow with a batch."""
_MOST_ON_GPU = 16 * MOST_ROWS
_NUMBERS_ON_GPU = 2**20  # in all rows of a run, whose activations take some hundred times as many bytes
_MANY = 512  # rows of the run by which `auto` chooses, beside one of one row
_ROUNDS = 5  # at least
_AT_LEAST = 0.05  # seconds: of workers that start at once one was seen to be disturbed for ten milliseconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Engine:
    """What runs an artifact.

    Attributes:
        provider: The execution provider of onnxruntime.
        run: Returns the outputs to a feed.
        most_rows: Of a run.
        graphs: CUDA graphs, where there are to be some.
        choice: Why it is this device, where there was a choice.
    """

    provider: str
    run: Callable[[Sequence[str], Feed], Sequence[Any]]
    most_rows: int = MOST_ROWS
    graphs: Graphs | None = None
    choice: str = ""


@dataclass(frozen=True)
class Place:
    """A file, and where and how it is to be run."""

    path: Path
    device: Device
    gpu: Gpu

    def session(self) -> ort.InferenceSession:
        """Return a session; raises ArtifactError and DeviceError as `open_session` does."""
        if self.gpu.graphs and self.device != "cpu":
            return on_its_thread(open_session, self.path, self.device, self.gpu)
        return open_session(self.path, self.device, self.gpu)

    def engine(self, session: ort.InferenceSession, outputs: Sequence[str], numbers: int) -> Engine:
        """Return what runs by a session that belongs to nobody else; `numbers` are those of a row."""
        provider: str = session.get_providers()[0]
        if provider != CUDA:
            return Engine(provider, session.run)
        most_rows = min(max(_NUMBERS_ON_GPU // numbers, MOST_ROWS), _MOST_ON_GPU)
        if self.gpu.graphs:
            graphs = Graphs(session, outputs)
            return Engine(provider, graphs.run, most_rows, graphs)
        return Engine(provider, OneAtATime(session).run if self.gpu.memory else session.run, most_rows)

    def settled(
        self, engine: Engine, outputs: Sequence[str], numbers: int, seen: Callable[[int], Feed]
    ) -> Engine:
        """Return the engine that is to answer, where the one that a file was checked with is on a GPU.

        `seen(rows)` returns so many rows to try.
        """
        if engine.provider != CUDA:
            return engine
        if self.gpu.memory:
            engine = self._with_room(engine, outputs, numbers, seen)
        return self._faster(engine, outputs, numbers, seen) if self.device == "auto" else engine

    def _with_room(
        self, engine: Engine, outputs: Sequence[str], numbers: int, seen: Callable[[int], Feed]
    ) -> Engine:
        """Find how many rows a run may have in limited memory: half of what fits, for costs come too."""
        rows = 2 * engine.most_rows
        while rows:
            # A session each time: an arena keeps what it took for a run that then failed.
            session = self.session()
            if on_its_thread(fits, session, outputs, seen(rows)):
                return replace(self.engine(session, outputs, numbers), most_rows=max(rows // 2, 1))
            del session
            rows //= 2
        return engine  # one row ran when the file was checked

    def _faster(
        self, gpu: Engine, outputs: Sequence[str], numbers: int, seen: Callable[[int], Feed]
    ) -> Engine:
        """Return the engine that takes less time for a run of one row and a run of many together."""
        sizes = (1, min(_MANY, gpu.most_rows))
        if gpu.graphs:
            gpu.graphs.record(max(sizes), seen)
        cpu = self.engine(open_session(self.path, "cpu"), outputs, numbers)
        batches = [seen(rows) for rows in sizes]
        on_gpu, on_cpu = (_seconds(one, outputs, batches) for one in (gpu, cpu))
        choice = (
            f"runs of 1 and of {sizes[1]} rows took {_ms(on_gpu)} on the GPU and {_ms(on_cpu)} on the CPU"
        )
        faster = gpu if sum(on_gpu) < sum(on_cpu) else cpu
        logger.info("%s runs by %s: %s", self.path, faster.provider, choice)
        return replace(faster, choice=choice)


def _seconds(engine: Engine, outputs: Sequence[str], batches: Sequence[Feed]) -> list[float]:
    """Return how long each batch takes; they take turns, since sizes change in a service, too."""
    rounds: list[list[float]] = []
    until = time.perf_counter() + _AT_LEAST
    while len(rounds) <= _ROUNDS or time.perf_counter() < until:
        taken = []
        for rows in batches:
            began = time.perf_counter()
            engine.run(outputs, rows)
            taken.append(time.perf_counter() - began)
        rounds.append(taken)
    # The first run of a size allocates; where others took longer, they were disturbed.
    return [min(taken) for taken in zip(*rounds[1:], strict=True)]


def _ms(seconds: Sequence[float]) -> str:
    return " and ".join(f"{1000 * each:.2f} ms" for each in seconds)
