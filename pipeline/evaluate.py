"""Scores of the exported file, not of the Keras object: metrics describe what is served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.data import Dataset
from pipeline.metrics import CostForecast
from serving.artifact import Artifact

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Coverages that intervals are looked at with, beside the default one."""


@dataclass(frozen=True)
class Coverage:
    """What intervals of a wanted coverage are like."""

    wanted: float
    coverage: float  # share of rows whose label is in its interval
    width: float  # mean number of labels in an interval


@dataclass(frozen=True)
class Evaluation:
    """What the artifact does on the test part, which nothing before has seen."""

    metrics: dict[str, float]
    confusion: NDArray[np.int64]  # (true label, decision)
    by_class: list[dict[str, float]]  # of each label, in their order
    costs: dict[str, CostForecast]  # of each profile, under its own decision
    coverages: list[Coverage]  # rising


def evaluate(artifact: Artifact, data: Dataset) -> Evaluation:
    """Answer the test rows and score the answers; costs of each profile under its own decision."""
    rows, y = data.features[data.parts.test], data.y[data.parts.test]
    manifest = artifact.manifest
    (spec,) = manifest.inputs
    matrices = {name: np.asarray(profile.cost) for name, profile in manifest.profiles.items()}
    policies = np.stack(list(matrices.values()))[np.newaxis].astype(np.float32)
    answer = artifact.run({spec.name: rows}, policies)
    topology = data.labels.topology
    default = matrices[manifest.default_profile]
    scores = metrics.score(y, answer.probabilities, default, topology)
    costs = {
        name: metrics.cost_forecast(y, answer.probabilities, answer.decision[:, policy], cost)
        for policy, (name, cost) in enumerate(matrices.items())
    }
    for name, forecast in costs.items():
        scores[f"{name}/realised_cost"] = forecast.realised
        scores[f"{name}/expected_cost"] = forecast.expected
    wanted = manifest.interval.coverage
    coverages = []
    for level in sorted({*LEVELS, wanted}):
        ends = artifact.run({spec.name: rows}, coverage=np.array([level], np.float32)).interval
        lower, upper = ends[:, 0], ends[:, 1]
        coverages.append(
            Coverage(
                level,
                metrics.interval_coverage(y, lower, upper, topology),
                metrics.mean_interval_width(lower, upper, topology),
            )
        )
        if level == wanted:
            scores["interval_coverage"] = coverages[-1].coverage
            scores["mean_interval_width"] = coverages[-1].width
    scores["aleatoric"], scores["epistemic"] = map(float, answer.uncertainty.mean(axis=0))
    decision = answer.decision[:, list(matrices).index(manifest.default_profile)]
    return Evaluation(
        scores,
        metrics.confusion_matrix(y, decision, len(manifest.labels)),
        metrics.by_class(y, answer.probabilities, default, topology),
        costs,
        coverages,
    )
