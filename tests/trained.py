"""A small trained network beside the artifact made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras

from pipeline import sweep, train
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.export import describe, graph
from serving.manifest import Manifest


@dataclass(frozen=True)
class Exported:
    """A network, and the file and manifest made from it."""

    model: keras.Model
    manifest: Manifest
    path: Path


def train_and_export(config: Config, data: Dataset, folder: Path) -> Exported:
    """Train the first trial of a config and write its artifact into `folder`."""
    trial = sweep.plan(config, data)[0]
    fitted = train.fit(
        data, trial.build_loss(config, data), trial.head, config.model, config.search, trial.seed
    )
    manifest = describe.describe(config, data, trial, run_id="0" * 32)
    path = folder / f"{config.name}.onnx"
    graph.export(fitted.model, manifest, path)
    return Exported(fitted.model, manifest, path)
