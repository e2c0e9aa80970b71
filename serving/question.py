"""What requests ask of a graph; several that are alike are joined to one, and its answer parted again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Answer, Artifact
from serving.rows import Rows

if TYPE_CHECKING:
    from serving.tallies import Version


@dataclass(eq=False, slots=True)  # made for each request, and freezing takes time
class Question:
    """What a request asks of the graph; `cost` and `coverage` as for `Artifact.run`, always given."""

    artifact: Artifact
    rows: Rows
    cost: NDArray[np.float32]
    coverage: NDArray[np.float32]
    counts: Version | None = None  # where its answer is counted

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def shape(self) -> Hashable:
        """What questions to one artifact must have in common to share a run."""
        return self.cost.shape[1:]

    @property
    def model(self) -> str:
        """The name by which it is counted, which is that of what is served where that is known."""
        return self.artifact.manifest.name if self.counts is None else self.counts.model

    @property
    def numbers(self) -> int:
        """Costs that it has, once repeated for each row, and expected costs that it asks for."""
        _, policies, labels, actions = self.cost.shape
        return len(self) * int(policies * (labels + 1) * actions)

    def answer(self) -> Answer:
        """Run the graph."""
        return self.artifact.run(self.rows, self.cost, self.coverage)


def joined(questions: Sequence[Question]) -> Question:
    """Return one question about the rows of all, which agree in artifact and `shape`.

    Costs and coverages are repeated for each row, unless all questions have the same object.
    """
    if len(questions) == 1:
        return questions[0]
    first = questions[0]
    return Question(
        first.artifact,
        {name: np.concatenate([one.rows[name] for one in questions]) for name in first.rows},
        _by_row([one.cost for one in questions], [len(one) for one in questions]),
        _by_row([one.coverage for one in questions], [len(one) for one in questions]),
        first.counts,
    )


def parted(answer: Answer, sizes: Iterable[int]) -> Iterator[Answer]:
    """Yield the parts of an answer, of so many rows each."""
    start = 0
    for size in sizes:
        yield answer.of(slice(start, start + size))
        start += size


def _by_row(arrays: Sequence[NDArray[np.float32]], sizes: Sequence[int]) -> NDArray[np.float32]:
    first = arrays[0]
    if len(first) == 1 and all(array is first for array in arrays):
        return first
    return np.concatenate(
        [
            np.broadcast_to(array, (size, *array.shape[1:]))
            for array, size in zip(arrays, sizes, strict=True)
        ]
    )
