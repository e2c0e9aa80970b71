"""Small networks beside the artifacts made from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from pipeline import ensemble, models, preprocess, sweep, train
from pipeline.calibration import Distortion, Scaling
from pipeline.config import Config
from pipeline.conformal import Conformal
from pipeline.data import Dataset
from pipeline.ensemble import Member
from pipeline.export import describe, graph
from pipeline.sweep import Trial
from serving.manifest import Manifest


@dataclass(frozen=True)
class Exported:
    """A network, what its intervals are made by, and the file and manifest made from it."""

    model: keras.Model  # rows → (batch, S, K)
    conformal: Conformal
    manifest: Manifest
    path: Path


def described(config: Config, data: Dataset) -> Manifest:
    """Return the manifest of the first trial of a config, uncalibrated."""
    trial = sweep.plan(config, data)[0]
    return describe.describe(config, data, [describe.member(config, data, trial, "0" * 32, Distortion())])


def train_and_export(config: Config, data: Dataset, folder: Path) -> Exported:
    """Train the first trial of a config and write its artifact, uncalibrated, into `folder`."""
    trial = sweep.plan(config, data)[0]
    fitted = train.fit(
        data, trial.build_loss(config, data), trial.head, config.model, config.search, trial.seed
    )
    return export(fitted.model, config, data, trial, folder)


def export_untrained(config: Config, data: Dataset, folder: Path) -> Exported:
    """Write the artifact of the first trial's network as it was before any training."""
    trial = sweep.plan(config, data)[0]
    scaling = preprocess.fit_scaling(data.features[data.parts.train])
    network = models.build(config.model, data.spec, scaling, trial.head, data.labels.count)
    return export(network, config, data, trial, folder)


def export(network: keras.Model, config: Config, data: Dataset, trial: Trial, folder: Path) -> Exported:
    """Write the artifact of a network of rows to `(batch, K)` log-probabilities."""
    topology = data.labels.topology
    model = ensemble.assemble(
        [Member(network, config.model.passes, trial.seed)], Scaling.none(topology.classes)
    )
    rows = data.parts.calibration
    p = np.exp(ensemble.answer(model, data.features[rows])).mean(axis=1)
    conformal = Conformal.fit(p, data.y[rows], topology, config.decision.interval)
    manifest = described(config, data)
    path = folder / f"{config.name}.onnx"
    graph.export(model, conformal, manifest, path)
    return Exported(model, conformal, manifest, path)
