"""What Ray Data does on the nodes: numbers of blocks in, and the same out, by a pool of actors that grows.

A row of the data set is the number of a block. The actor that scores it fetches what it holds, and hands
the part in before it says that it is done. So nothing that Ray Data keeps is lost with a node, and a block
is never split or joined with another.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.software import difference, installed
from pipeline.scoring import parcels
from pipeline.scoring.blocks import BlockScorer
from pipeline.scoring.on_ray import PACKAGES
from pipeline.scoring.scorer import Scorer
from serving.artifact import Artifact, ArtifactError, DeviceError

_NUMBER = pa.schema([("index", pa.int64())])


def score(desk: Any, device: Literal["cpu", "cuda"]) -> None:
    """Have nodes score what the desk hands out; returns only where that cannot go on."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every row goes on at once
    # The reader never ends, so that what another node lost of it would never be read again.
    here = {"scheduling_strategy": NodeAffinitySchedulingStrategy(_node_id(), soft=False)}
    numbers = ray.data.read_datasource(
        _Numbers(desk), override_num_blocks=1, num_cpus=0, ray_remote_args=here
    )
    takes = "GPU" if device == "cuda" else "CPU"
    available: Any = ray.available_resources
    free = int(available().get(takes, 0))
    done = numbers.map_batches(
        _Scoring,
        fn_constructor_args=(desk,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=max(1, free)),
        **{f"num_{takes.lower()}s": 1},
    )
    for _ in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        pass


class _Numbers(Datasource):
    """Numbers of blocks as the desk hands them out; a reader that is begun anew reads the same."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows how many there will be."""
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one, which ends with the desk."""
        desk = self._desk

        def read() -> Iterator[pa.Table]:
            for position in itertools.count():
                yield pa.table([[ray.get(desk.order.remote(position))]], schema=_NUMBER)

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown, _NUMBER)]


class _Scoring:
    """A scorer on a node; what is wrong with the node it hands in for a part, so the driver says it."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        (model,), asked = ray.get(desk.asked.remote())
        self._trouble = ""
        # It may have joined after the driver has compared all nodes.
        wrong = difference(asked.software, installed(PACKAGES)())
        if wrong:
            self._trouble = f"{_node()} {wrong}"
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / asked.name
            path.write_bytes(ray.get(model))
            try:
                scorer = Scorer(Artifact(path, asked.device), asked.question)
            except (ArtifactError, DeviceError) as error:
                self._trouble = f"{_node()}: {error}"
                return
        self._scorer = BlockScorer(scorer, asked.columns, asked.delimiter)

    def __call__(self, numbers: pa.Table) -> pa.Table:
        """Score the blocks of some numbers."""
        for index in numbers.column(0).to_pylist():
            self._score(index)
        return numbers

    def _score(self, index: int) -> None:
        found: pa.Buffer | str = self._trouble
        if not found:
            reference = ray.get(self._desk.block.remote(index))
            if not reference:  # the driver has its part already
                return
            part = self._scorer.part(parcels.block(ray.get(reference[0])))
            found = pa.py_buffer(parcels.of_part(part))
        ray.get(self._desk.take.remote(index, found))


def _node() -> str:
    return f"node {_node_id()[:8]}"


def _node_id() -> str:
    found: str = ray.get_runtime_context().get_node_id()
    return found
