"""How labels are arranged: on a line, or round a ring (NumPy). What has a cyclic twin asks here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Scale = Literal["steps", "values"]
Kind = Literal["linear", "cyclic"]


@dataclass(frozen=True)
class Topology:
    """K labels with their numeric values, on a line or, where there is a `period`, round a ring.

    Orientation of every matrix: `[true label, other label]`.

    Attributes:
        values: `(K,)`, rising.
        period: The distance once round the ring, in the unit of the values; None on a line.
    """

    values: tuple[float, ...]
    period: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], period: float | None = None) -> Topology:
        """Return the topology of any sequence of numbers, as a config or a saved loss has them."""
        return cls(tuple(float(value) for value in values), None if period is None else float(period))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `of`, as JSON knows them; part of what a saved loss keeps."""
        return {"values": list(self.values), "period": self.period}

    @property
    def classes(self) -> int:
        """K."""
        return len(self.values)

    @property
    def kind(self) -> Kind:
        """`"linear"` or `"cyclic"`."""
        return "linear" if self.period is None else "cyclic"

    def offsets(self, scale: Scale = "steps") -> Matrix:
        """Return the way from each true label to each other one, `(K, K)`: positive where it leads upwards.

        On a ring it is the shorter way round, in (−period/2, period/2]: of two equal ways the upward one.

        Args:
            scale: "steps" counts labels, "values" measures in the unit of the values.

        >>> Topology.of(range(4), period=4).offsets()[0]
        array([ 0.,  1.,  2., -1.])
        """
        at = np.arange(self.classes, dtype=float) if scale == "steps" else np.array(self.values)
        way = at[np.newaxis, :] - at[:, np.newaxis]  # (true, other)
        if self.period is None:
            return way
        once_round = float(self.classes) if scale == "steps" else self.period
        half = once_round / 2
        return np.asarray(half - np.mod(half - way, once_round))

    def distances(self, scale: Scale = "steps") -> Matrix:
        """Return |offsets|, `(K, K)`: |i − y| on a line, min(|i − y|, K − |i − y|) on a ring.

        >>> Topology.of(range(10), period=10).distances()[9, 0]
        np.float64(1.0)
        """
        return np.abs(self.offsets(scale))

    def positions(self) -> Matrix:
        """Return where each label lies: `(K, 1)`, its value; on a ring `(K, 2)`, its point on the circle.

        The circle has the radius period/2π, so that a small step round it is as long as the same step
        on the line: radius·(cos 2πv/period, sin 2πv/period).
        """
        values = np.array(self.values)
        if self.period is None:
            return values[:, np.newaxis]
        angle = 2 * np.pi * values / self.period
        return self.period / (2 * np.pi) * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def sets(self) -> Matrix:
        """Return the contiguous sets of labels as columns of 0 and 1, `(K, S)`, none beside its complement.

        On a line the K−1 sets {0 … k} of the cumulative distribution function. On a ring the
        K(K−1)/2 arcs that two cuts make, each standing for itself and the arc that is left.

        >>> Topology.of(range(3)).sets().tolist()
        [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
        """
        classes = self.classes
        if self.period is None:
            return np.triu(np.ones((classes, classes)))[:, :-1]
        label = np.arange(classes)
        arcs = [
            (start <= label) & (label < end)  # of an arc and its complement the one without label 0
            for start in range(1, classes)
            for end in range(start + 1, classes + 1)
        ]
        return np.stack(arcs, axis=1).astype(float)

    def edges(self) -> Matrix:
        """Return the differences between neighbours as columns, `(K, E)`: p @ edges = p_{k+1} − p_k.

        E is K−1 on a line, and K on a ring, whose last edge leads from the last label to the first.
        """
        here = np.eye(self.classes)
        step = np.roll(here, 1, axis=0) - here  # column k: e_{k+1} − e_k
        return step if self.period is not None else step[:, :-1]
