"""Scores of the exported file, not of the Keras object: metrics describe what is served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.data import Dataset
from serving.artifact import Artifact


@dataclass(frozen=True)
class Evaluation:
    """What the artifact does on the test part, which nothing before has seen."""

    metrics: dict[str, float]
    confusion: NDArray[np.int64]  # (true label, decision)
    by_class: list[dict[str, float]]  # of each label, in their order


def evaluate(artifact: Artifact, data: Dataset) -> Evaluation:
    """Answer the test rows and score the answers; costs of each profile under its own decision."""
    rows, y = data.features[data.parts.test], data.y[data.parts.test]
    manifest = artifact.manifest
    (spec,) = manifest.inputs
    costs = {name: np.asarray(profile.cost) for name, profile in manifest.profiles.items()}
    answer = artifact.run({spec.name: rows}, np.stack(list(costs.values()))[np.newaxis].astype(np.float32))
    topology = data.labels.topology
    default = costs[manifest.default_profile]
    scores = metrics.score(y, answer.probabilities, default, topology)
    for policy, (name, cost) in enumerate(costs.items()):
        decision = answer.decision[:, policy]
        scores[f"{name}/realised_cost"] = metrics.realised_cost(y, decision, cost)
        scores[f"{name}/expected_cost"] = metrics.expected_cost(answer.probabilities, decision, cost)
    decision = answer.decision[:, list(costs).index(manifest.default_profile)]
    return Evaluation(
        scores,
        metrics.confusion_matrix(y, decision, len(manifest.labels)),
        metrics.by_class(y, answer.probabilities, default, topology),
    )
