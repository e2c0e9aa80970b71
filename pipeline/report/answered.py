"""What an artifact answers to the test rows, and what each answer costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline import costs
from pipeline.data import Dataset
from pipeline.topology import Topology
from serving.artifact import Artifact
from serving.manifest import Profile


@dataclass(frozen=True)
class Answered:
    """Test rows with their answers under the default profile.

    Attributes:
        rows: `(rows,)`, their numbers in the data, from 0.
        y: `(rows,)`, index of the true label.
        probabilities: `(rows, K)`.
        decision: `(rows,)`, index of the action.
        profile: The default profile.
        decides_labels: Whether its actions are the labels.
        topology: Of the labels.
    """

    rows: NDArray[np.int64]
    y: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    decision: NDArray[np.int64]
    profile: Profile
    decides_labels: bool
    topology: Topology

    @classmethod
    def of(cls, artifact: Artifact, data: Dataset) -> Answered:
        """Ask the artifact about the test part."""
        manifest, rows = artifact.manifest, data.parts.test
        answer = artifact.run(data.raw(rows))
        profile = manifest.profiles[manifest.default_profile]
        return cls(
            rows,
            data.y[rows],
            answer.probabilities,
            answer.decision[:, 0],
            profile,
            profile.actions == manifest.labels,
            data.labels.topology,
        )

    @cached_property
    def paid(self) -> NDArray[np.float64]:
        """cost[true label, decision], `(rows,)`."""
        return np.asarray(self.profile.cost, float)[self.y, self.decision]

    @cached_property
    def hit(self) -> NDArray[np.bool_]:
        """Whether the most probable label is the true one, `(rows,)`."""
        return np.asarray(np.argmax(self.probabilities, axis=1) == self.y)

    @cached_property
    def error(self) -> NDArray[np.float64]:
        """Steps between the true label and the decided one, `(rows,)`, see `metrics.score`.

        Where actions are not the labels it is the label of least expected distance.
        """
        distances = self.topology.distances()
        label = self.decision if self.decides_labels else costs.decide(self.probabilities, distances)
        return distances[self.y, label]

    @cached_property
    def truth(self) -> NDArray[np.float32]:
        """Probability of the true label, `(rows,)`."""
        return self.probabilities[np.arange(len(self.y)), self.y]


def standard_error(values: NDArray[np.floating]) -> float:
    """Return the standard error of the mean; NaN of less than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
