"""The desk of a scoring on a Ray cluster: blocks go from the driver to the nodes over it, and parts back.

An actor on the driver's own node, so that no other node's death takes it along. It keeps a block until the
driver has the part that was made of it, and where a node dies it hands out again whatever is not yet back:
Ray would do again what was lost only once it has a place for the actor that was lost, which may be never.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import ray

from pipeline.cluster.connecting import briefly
from pipeline.scoring.scorer import Question

_LOOK = 1.0  # seconds between two looks at the nodes


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
        self._orders: list[int] = []  # the numbers of blocks, as they are handed out
        self._trouble = ""
        me = ray.get_runtime_context().current_actor
        threading.Thread(target=self._run, args=(me,), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def add(self, index: int, block: list[Any]) -> None:
        """Take the reference of a block, in a list; threads may overtake each other."""
        with self._changed:
            self._blocks[index] = block
            self._orders.append(index)
            self._changed.notify_all()

    def part(self, index: int) -> pa.Buffer | str:
        """Return the part that was made of a block, or why there will be none; then forget both."""
        with self._changed:
            self._changed.wait_for(lambda: index in self._parts or self._trouble)
            if index not in self._parts:
                return self._trouble
            del self._blocks[index]
            return self._parts.pop(index)

    def order(self, position: int) -> int:
        """Return the number that is handed out at a position, once it is; always the same."""
        with self._changed:
            self._changed.wait_for(lambda: position < len(self._orders))
            return self._orders[position]

    def block(self, index: int) -> list[Any]:
        """Return the reference of a block in a list, which is empty once its part has gone."""
        with self._changed:
            return self._blocks.get(index, [])

    def take(self, index: int, part: pa.Buffer | str) -> None:
        """Take the part that was made of a block, or what is wrong with the node that should have."""
        with self._changed:
            if index in self._blocks:  # and was not scored elsewhere meanwhile
                self._parts.setdefault(index, part)
                self._changed.notify_all()

    def asked(self) -> tuple[list[Any], Asked]:
        """Return what scores blocks: the artifact's reference, and how."""
        return self._model, self._asked

    def _run(self, me: Any) -> None:
        """Let Ray Data score what comes, for as long as this actor lives."""
        try:
            from pipeline.scoring import ray_data

            ray_data.score(me, self._asked.device)
            trouble = "its work has ended before the rows did"
        except Exception as error:  # noqa: BLE001  whatever it is, the driver says it
            trouble = briefly(error)
        with self._changed:
            self._trouble = trouble
            self._changed.notify_all()

    def _watch(self) -> None:
        """Hand out again what is not back where a node has died, for as long as this actor lives."""
        alive = _alive()
        while True:
            time.sleep(_LOOK)
            before, alive = alive, _alive()
            if before <= alive:
                continue
            with self._changed:
                self._orders += sorted(self._blocks.keys() - self._parts.keys())
                self._changed.notify_all()


def _alive() -> set[str]:
    nodes: Any = ray.nodes
    return {node["NodeID"] for node in nodes() if node["Alive"]}
