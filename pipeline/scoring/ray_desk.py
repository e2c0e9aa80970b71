"""The desk of a scoring on a Ray cluster: blocks go from the driver to the nodes over it, and parts back.

An actor on the driver's own node, so that no other node's death takes it along. It keeps a block until the
driver has the part that was made of it: a node that dies loses nothing that cannot be asked for again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import ray

from pipeline.cluster.connecting import briefly
from pipeline.scoring.scorer import Question


@dataclass(frozen=True)
class Asked:
    """What a node must know to score a block.

    Attributes:
        software: That nodes must have, see `pipeline.cluster.software`.
        name: Of the artifact's file, for messages.
        columns: Of a block, in order.
        delimiter: Of the file of rows; "" where it has none.
    """

    software: dict[str, str]
    name: str
    device: Literal["cpu", "cuda"]
    question: Question
    columns: tuple[str, ...]
    delimiter: str


class Desk:
    """An actor whose methods wait for each other, so each call has a thread."""

    def __init__(self, model: list[Any], asked: Asked) -> None:
        """`model` holds the reference of the artifact's bytes; in a list it is not followed."""
        self._model, self._asked = model, asked
        self._changed = threading.Condition()
        self._blocks: dict[int, list[Any]] = {}
        self._parts: dict[int, pa.Buffer | str] = {}
        self._many = 0
        self._trouble = ""
        me = ray.get_runtime_context().current_actor
        threading.Thread(target=self._run, args=(me,), daemon=True).start()

    def add(self, index: int, block: list[Any]) -> None:
        """Take the reference of a block, in a list; threads may overtake each other."""
        with self._changed:
            self._blocks[index] = block
            while self._many in self._blocks:
                self._many += 1
            self._changed.notify_all()

    def part(self, index: int) -> pa.Buffer | str:
        """Return the part that was made of a block, or why there will be none; then forget both."""
        with self._changed:
            self._changed.wait_for(lambda: index in self._parts or self._trouble)
            if index not in self._parts:
                return self._trouble
            del self._blocks[index]
            return self._parts.pop(index)

    def has(self, index: int) -> bool:
        """Return True once a block and all before it were added."""
        with self._changed:
            return self._changed.wait_for(lambda: index < self._many)

    def block(self, index: int) -> list[Any]:
        """Return the reference of a block in a list, which is empty once its part has gone."""
        with self._changed:
            return self._blocks.get(index, [])

    def asked(self) -> tuple[list[Any], Asked]:
        """Return what scores blocks: the artifact's reference, and how."""
        return self._model, self._asked

    def _run(self, me: Any) -> None:
        """Let Ray Data score what comes, for as long as this actor lives."""
        try:
            from pipeline.scoring import ray_data

            for index, found in ray_data.parts(me, self._asked.device):
                with self._changed:
                    if index in self._blocks:  # and was not scored by a node that was thought dead
                        self._parts[index] = found
                        self._changed.notify_all()
            trouble = "its work has ended before the rows did"
        except Exception as error:  # noqa: BLE001  whatever it is, the driver says it
            trouble = briefly(error)
        with self._changed:
            self._trouble = trouble
            self._changed.notify_all()
