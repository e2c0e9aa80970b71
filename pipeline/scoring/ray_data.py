"""What Ray Data does on the nodes: numbers of blocks in, parts out, by a pool of actors that grows.

A row of the data set is the number of a block, and what it holds is fetched by the actor that scores it. So
Ray has little to do again where a node dies, and a block is never split or joined with another.
"""

from __future__ import annotations

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

from pipeline.cluster.software import difference, installed
from pipeline.scoring import parcels
from pipeline.scoring.blocks import BlockScorer
from pipeline.scoring.on_ray import PACKAGES
from pipeline.scoring.scorer import Scorer
from serving.artifact import Artifact, ArtifactError, DeviceError

_INDEX, _PART, _TROUBLE = "index", "part", "trouble"
_NUMBER = pa.schema([(_INDEX, pa.int64())])
_FOUND = pa.schema([(_INDEX, pa.int64()), (_PART, pa.large_binary()), (_TROUBLE, pa.string())])


def parts(desk: Any, device: Literal["cpu", "cuda"]) -> Iterator[tuple[int, pa.Buffer | str]]:
    """Yield the number of each block and the part that was made of it, or what is wrong with the nodes."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every row goes on at once
    numbers = ray.data.read_datasource(_Numbers(desk), override_num_blocks=1, num_cpus=0)
    found = numbers.map_batches(
        _Scoring,
        fn_constructor_args=(desk,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1),
        **({"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}),
    )
    # One that is fetched ahead is held back until the next one is there, and after the last there is none.
    for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for index, part, trouble in zip(*(batch.column(name) for name in _FOUND.names), strict=True):
            yield index.as_py(), trouble.as_py() or part.as_buffer()


class _Numbers(Datasource):
    """0, 1, 2 …, each once the desk has that block; a reader that is begun anew counts again from 0."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows how many there will be."""
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one, which ends with the desk."""
        desk = self._desk

        def read() -> Iterator[pa.Table]:
            index = 0
            while ray.get(desk.has.remote(index)):
                yield pa.table([[index]], schema=_NUMBER)
                index += 1

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown, _NUMBER)]


class _Scoring:
    """A scorer on a node; what it cannot do it says in place of parts, so that the driver can say it."""

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
        found = [(index, *self._part(index)) for index in numbers.column(_INDEX).to_pylist()]
        return pa.table([list(column) for column in zip(*found, strict=True)], schema=_FOUND)

    def _part(self, index: int) -> tuple[bytes, str]:
        if self._trouble:
            return b"", self._trouble
        reference = ray.get(self._desk.block.remote(index))
        if not reference:  # the driver has its part already
            return b"", ""
        return parcels.of_part(self._scorer.part(parcels.block(ray.get(reference[0])))), ""


def _node() -> str:
    return f"node {ray.get_runtime_context().get_node_id()[:8]}"
