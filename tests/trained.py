"""Small networks beside the artifacts made from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline import ensemble, models, train
from pipeline.calibration import Distortion, Scaling
from pipeline.config import Config
from pipeline.conformal import Conformal
from pipeline.data import Dataset
from pipeline.ensemble import Member
from pipeline.export import describe, graph
from pipeline.sweep import Trial, planning
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
    trial = planning.plan(config, data)[0]
    return describe.describe(config, data, [describe.member(config, data, trial, "0" * 32, Distortion())])


def train_and_export(config: Config, data: Dataset, folder: Path) -> Exported:
    """Train the first trial of a config and write its artifact, uncalibrated, into `folder`."""
    trial = planning.plan(config, data)[0]
    fitted = train.fit(
        data,
        planning.build_loss(trial.loss, config, data),
        trial.head,
        config.model,
        config.search,
        trial.seed,
    )
    return export(fitted.model, config, data, trial, folder)


def export_untrained(config: Config, data: Dataset, folder: Path) -> Exported:
    """Write the artifact of the first trial's network as it was before any training."""
    trial = planning.plan(config, data)[0]
    network = models.build(config.model, data, trial.head)
    return export(network, config, data, trial, folder)


def export(network: keras.Model, config: Config, data: Dataset, trial: Trial, folder: Path) -> Exported:
    """Write the artifact of a network of rows to `(batch, K)` log-probabilities."""
    model = ensemble.assemble(
        [Member(network, config.model.passes, trial.seed)], Scaling.none(data.labels.count)
    )
    return write(model, described(config, data), data, folder)


def write(model: keras.Model, manifest: Manifest, data: Dataset, folder: Path) -> Exported:
    """Write the artifact of a model of rows to `(batch, S, K)`, with intervals by the calibration rows."""
    rows = data.parts.calibration
    p = np.exp(ensemble.answer(model, data.features[rows])).mean(axis=1)
    conformal = Conformal.fit(p, data.y[rows], data.labels.topology, manifest.interval.kind)
    path = folder / f"{manifest.name}.onnx"
    graph.export(model, conformal, manifest, path)
    return Exported(model, conformal, manifest, path)


def train_briefly(config: Config, data: Dataset, trial: Trial) -> keras.Model:
    """Return the network of a trial after some steps with its loss.

    Nothing is compiled and nothing stops early, which would take seconds for steps of milliseconds.
    """
    keras.utils.set_random_seed(trial.seed)
    rows = data.parts.train
    network = models.build(config.model, data, trial.head)
    loss = planning.build_loss(trial.loss, config, data)
    weights = np.ones(data.labels.count)
    if config.model.class_weight == "balanced":
        weights = train.balanced(data.y[rows], data.labels.count)
    adam = keras.optimizers.Adam(config.search.learning_rate)
    for _ in range(config.search.epochs):
        for batch in np.array_split(rows, -(-len(rows) // config.search.batch_size)):
            y = data.y[batch]
            with tf.GradientTape() as tape:
                log_p = network(data.features[batch], training=True)
                value = loss(y, log_p, sample_weight=weights[y].astype(np.float32))
            variables = network.trainable_variables
            adam.apply(tape.gradient(value, variables), variables)
    return network
