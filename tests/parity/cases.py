"""Small artifacts of every kind, each beside all that the oracle needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import trained
from numpy.typing import NDArray
from parity import answers, networks
from parity.answers import Costs, Said, Wanted
from parity.networks import Floats, Written
from parity.plans import Plan
from trained import Exported

from pipeline import decision, ensemble, train
from pipeline.calibration import Distortion, Scaling, fit_temperature, fit_vector
from pipeline.config import Config
from pipeline.data import Dataset, load
from pipeline.ensemble import Member
from pipeline.export import describe
from pipeline.sweep import Trial, planning
from pipeline.topology import Topology
from serving.artifact import Answer, Artifact
from serving.manifest import Calibration, Manifest

LINE = {"labels": ["awful", "poor", "fair", "good", "superb"], "values": [0.0, 1.0, 2.0, 4.0, 8.0]}
RING = {
    "labels": ["N", "NE", "E", "S", "SW", "W"],
    "values": [0.0, 45.0, 90.0, 180.0, 225.0, 270.0],
    "topology": "cyclic",
    "period": 360.0,
}
FEATURES = ("acidity", "sugar", "alcohol", "pH")
Passes = Callable[[NDArray[np.generic]], Floats]


@dataclass(frozen=True)
class Case:
    """An artifact, and how the oracle gets at the probabilities of its passes."""

    exported: Exported
    data: Dataset
    passes: Passes  # rows → (rows, S, K)
    rows: NDArray[np.generic]  # (512, …), to ask about

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self.exported.manifest

    @property
    def topology(self) -> Topology:
        """How its labels are arranged."""
        return Topology(self.manifest.values, self.manifest.topology.period)

    @cached_property
    def artifact(self) -> Artifact:
        """The file, loaded as the service loads it."""
        return Artifact(self.exported.path, "cpu")

    def wanted(self, rows: NDArray[np.generic], costs: Costs, coverage: float | Floats) -> Wanted:
        """Return what the oracle says."""
        return answers.wanted(self.passes(rows), self.topology, self.exported.conformal, costs, coverage)

    def keras(self, rows: NDArray[np.generic], costs: Costs, coverage: float) -> Said:
        """Return what the Keras model and the decision layer say."""
        level = tf.constant([coverage], tf.float32)
        outputs = decision.decide(
            self.exported.model(rows, training=False),
            tf.constant(answers.stacked(costs)),
            level,
            self.topology,
            self.exported.conformal,
        )
        return answers.of_graph(Answer(**{name: one.numpy() for name, one in outputs.items()}), costs)

    def onnx(self, rows: NDArray[np.generic], costs: Costs, coverage: float | Floats) -> Said:
        """Return what the file says."""
        levels = np.atleast_1d(np.asarray(coverage, np.float32))
        (spec,) = self.manifest.inputs
        return answers.of_graph(self.artifact.run({spec.name: rows}, answers.stacked(costs), levels), costs)


class Workshop:
    """Makes cases in a folder, from synthetic rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, plan: Plan) -> Case:
        """Train each member for some steps, undo and scale what is wanted, export all as one file."""
        written, described, seen = [], [], []
        for number, (loss, head) in enumerate(plan.members):
            config, data = self._configured(plan, loss, head, number)
            trial = planning.plan(config, data)[0]
            network = trained.train_briefly(config, data, trial)
            undone = _distortion(config, data, trial) if plan.undone else Distortion()
            written.append(Written(Member(network, config.model.passes, trial.seed, undone), trial.head))
            described.append(describe.member(config, data, trial, "0" * 32, undone))
            seen.append(config)
        scaling = _scaling(plan, [one.member for one in written], data)
        model = ensemble.assemble([one.member for one in written], scaling)
        scaled = Calibration()
        if scaling.method != "none":
            slopes, offsets = tuple(scaling.slopes.tolist()), tuple(scaling.offsets.tolist())
            scaled = Calibration(method=scaling.method, slopes=slopes, offsets=offsets)
        manifest = describe.describe(seen[0], data, described, scaled)
        exported = trained.write(model, manifest, data, self.folder)
        rows, _ = _synthetic(plan.data, plan.ring, 512, seed=1)
        return Case(exported, data, lambda rows: networks.passes(written, scaling, rows), rows)

    def identity(self, name: str, arranged: dict[str, Any], interval: str, passes: int = 1) -> Case:
        """Return a case whose features are the logits of each pass, so that any probabilities go in."""
        classes = len(arranged["labels"])
        random = np.random.default_rng(0)
        logits = random.normal(size=(400, passes * classes)).astype(np.float32)
        p = _softmax(logits.reshape(-1, passes, classes)).mean(axis=1)
        y = (p.cumsum(axis=1) < random.random((400, 1))).sum(axis=1)
        config = _config(name, self._kept(name, logits, arranged["labels"], y), arranged, interval)
        data = load(config)
        rows = keras.Input((passes * classes,), name="numeric")
        model = keras.Model(
            rows,
            keras.layers.Activation("log_softmax")(keras.layers.Reshape((passes, classes))(rows)),
        )
        exported = trained.write(model, trained.described(config, data), data, self.folder)
        return Case(exported, data, lambda rows: _softmax(rows.reshape(-1, passes, classes)), logits)

    def _configured(self, plan: Plan, loss: str, head: Any, seed: int) -> tuple[Config, Dataset]:
        arranged = RING if plan.ring else LINE
        kept = self.folder / f"{plan.data}-{plan.ring}.npz"
        if not kept.exists():
            features, y = _synthetic(plan.data, plan.ring, 300, seed=0)
            self._kept(kept.stem, features, arranged["labels"], y)
        config = _config(plan.name, kept, arranged, plan.interval)
        search = {"losses": [loss], "heads": [head], "trials": 1, "epochs": 1, "seed": seed}
        model = {"hidden": [8], "dropout": 0.0, **plan.model}
        changed = {"model": model, "search": search | {"learning_rate": 0.05, "batch_size": 100}}
        config = Config.model_validate(config.model_dump(exclude_defaults=True) | changed)
        return config, load(config)

    def _kept(
        self, name: str, features: NDArray[np.generic], labels: Sequence[str], y: NDArray[np.integer]
    ) -> Path:
        path = self.folder / f"{name}.npz"
        named = {"features": np.array(FEATURES)} if features.shape[1:] == (len(FEATURES),) else {}
        np.savez(path, x=features, y=np.array(labels)[y], **named)
        return path


def _config(name: str, source: Path, arranged: dict[str, Any], interval: str) -> Config:
    return Config.model_validate(
        {
            "name": name,
            "data": {"source": str(source), **arranged},
            "split": {"test": 0.1, "validation": 0.2, "calibration": 0.2},
            "decision": {"interval": interval, "under": 3.0},
        }
    )


def _synthetic(
    kind: str, ring: bool, count: int, seed: int
) -> tuple[NDArray[np.generic], NDArray[np.integer]]:
    """Return rows of a kind, and labels that two of their numbers tell nearly."""
    random = np.random.default_rng(seed)
    classes = len((RING if ring else LINE)["labels"])
    if kind == "table":
        x = random.normal(size=(count, len(FEATURES))).astype(np.float32)
        near = x
    else:
        pixels = random.integers(0, 256, (count, 5, 5, 1))
        x = pixels.astype(np.uint8) if kind == "image" else (pixels / 255).astype(np.float32)
        near = (pixels.reshape(count, -1) - 127.5) / 74
    noisy = near[:, :2] + random.normal(size=(count, 2)) / 3
    if ring:
        share = np.arctan2(noisy[:, 1], noisy[:, 0]) / (2 * np.pi) + 0.5
    else:
        share = 1 / (1 + np.exp(-1.5 * noisy.sum(axis=1)))
    return x, np.minimum((share * classes).astype(int), classes - 1)


def _distortion(config: Config, data: Dataset, trial: Trial) -> Distortion:
    loss = planning.build_loss(trial.loss, config, data)
    balanced = config.model.class_weight == "balanced"
    weights = train.balanced(data.y[data.parts.train], data.labels.count) if balanced else None
    return Distortion(getattr(loss, "matrix", None), weights)


def _scaling(plan: Plan, members: Sequence[Member], data: Dataset) -> Scaling:
    """Return the scaling of the method wanted, fitted on validation rows."""
    none = Scaling.none(data.labels.count)
    if plan.scaling == "none":
        return none
    rows = data.parts.validation
    log_p = ensemble.answer(ensemble.assemble(members, none), data.features[rows])
    fit = {"temperature": fit_temperature, "vector": fit_vector}[plan.scaling]
    return fit(log_p, data.y[rows])


def _softmax(logits: NDArray[np.floating]) -> Floats:
    weight = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))
