"""Where blocks are scored, as `run` sees it; on threads of this process, unless somebody asks for more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pipeline.scoring.blocks import BlockScorer
from pipeline.scoring.inputs import Block
from pipeline.scoring.parts import Part

_MOST_THREADS = 4  # that score: memory grows with them


class Pending(Protocol):
    """A block that is being scored."""

    def result(self) -> Part:
        """Return what has become of it, once that is known."""


class Place(Protocol):
    """Something that scores several blocks at once."""

    @property
    def ahead(self) -> int:
        """How many blocks are handed in before the first of them is waited for."""

    def submit(self, block: Block) -> Pending:
        """Hand in a block."""


Open = Callable[[BlockScorer], AbstractContextManager[Place]]


class _Threads:
    """As many threads as there are cores, up to some."""

    def __init__(self, threads: int, pool: ThreadPoolExecutor, scorer: BlockScorer) -> None:
        self.ahead = threads
        self._pool, self._scorer = pool, scorer

    def submit(self, block: Block) -> Pending:
        return self._pool.submit(self._scorer.part, block)


@contextmanager
def threads(scorer: BlockScorer) -> Iterator[Place]:
    """Score in this process; its end waits for what was handed in."""
    many = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(many) as pool:
        yield _Threads(many, pool, scorer)
