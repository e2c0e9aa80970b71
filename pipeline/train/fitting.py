"""What is trained, by what, and when it is enough."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline import models
from pipeline.config import Model, Named, Search
from pipeline.data import Dataset
from pipeline.train.backup import Backup
from pipeline.train.loop import UNDONE, Loop
from pipeline.train.precision import policy
from pipeline.train.progress import Progress
from pipeline.train.replicas import strategy
from pipeline.train.rows import Part, balanced
from pipeline.train.seeds import seeded


@dataclass(frozen=True)
class Fitted:
    """A trained network, its curves (one number an epoch), and what it cost.

    `class_weights`, `(K,)`, are what rows of each label counted for; None where all counted alike.
    """

    model: keras.Model
    curves: dict[str, list[float]]
    best_epoch: int
    seconds: float
    class_weights: NDArray[np.float64] | None = None


def fit(
    data: Dataset,
    loss: keras.losses.Loss,
    head: Named,
    model: Model,
    search: Search,
    seed: int,
    *,
    cost: NDArray[np.floating] | None = None,
    told: Callable[[Progress], None] | None = None,
    backup: Path | None = None,
) -> Fitted:
    """Train on the training part, stop early on the validation part, keep the best epoch's weights.

    On a CPU the same arguments give the same weights, bit for bit, in any process.

    Args:
        data: Whose weights of rows count in both parts.
        loss: Of labels and log-probabilities.
        head: By name.
        model: The backbone, in which precision it is trained, how labels are weighted.
        search: Epochs, patience, batch size, learning rate.
        seed: Of initial weights, dropout and the order of rows.
        cost: `(K, A)`, of [true label, action]: adds the curve of what decisions cost in validation.
        told: Is given the state after each epoch; what it raises ends the training.
        backup: A folder for this training alone. A training that was cut off and is run again
            goes on from there, and ends as it would have. Nothing is left in it after the end.

    Returns:
        A float32 network that is not compiled.
    """
    weights = _class_weights(data, model)
    network, progress = _train(
        data, loss, head, model, search, seed, search.epochs, True, weights, backup, cost, told
    )
    return Fitted(network, progress.curves, progress.best_epoch, progress.seconds, weights)


def refit(
    data: Dataset,
    loss: keras.losses.Loss,
    head: Named,
    model: Model,
    search: Search,
    seed: int,
    epochs: int,
    *,
    class_weights: NDArray[np.float64] | None = None,
    backup: Path | None = None,
) -> keras.Model:
    """Train as `fit` does, but for so many epochs, and without looking at the validation part.

    Args:
        data: Whose training part is trained on, `Dataset.refitting`.
        loss: See `fit`, as for all that is not told here.
        head: By name.
        model: The backbone.
        search: Batch size, learning rate.
        seed: See `fit`.
        epochs: How many.
        class_weights: `(K,)`, those of the first training, which calibration divides out; left out, they
            are made anew as `model` says.
        backup: See `fit`.
    """
    weights = _class_weights(data, model) if class_weights is None else class_weights
    return _train(data, loss, head, model, search, seed, epochs, False, weights, backup)[0]


def _class_weights(data: Dataset, model: Model) -> NDArray[np.float64] | None:
    if model.class_weight != "balanced":
        return None
    rows = data.parts.train
    row_weights = None if data.weights is None else data.weights[rows]
    return balanced(data.y[rows], data.labels.count, row_weights)


def _train(
    data: Dataset,
    loss: keras.losses.Loss,
    head: Named,
    model: Model,
    search: Search,
    seed: int,
    epochs: int,
    validated: bool,
    class_weights: NDArray[np.float64] | None,
    backup: Path | None,
    cost: NDArray[np.floating] | None = None,
    told: Callable[[Progress], None] | None = None,
) -> tuple[keras.Model, Progress]:
    started = time.perf_counter()
    dtypes = policy(model.precision)
    keras.backend.clear_session()  # layers get the same names in every trial
    with strategy(search.replicas).scope():
        network = _built(data, model, head, seed, dtypes)
        loop = Loop(network, loss, search.learning_rate, class_weights, cost)
    part, held_out = Part.both(data)
    train = loop.training(part, search.batch_size)
    validate = loop.validation(held_out) if validated else None
    score = "val_loss" if class_weights is None else f"val_{UNDONE}"

    def key() -> str:
        tuned = (
            search.batch_size,
            search.learning_rate,
            search.patience,
            search.replicas,
            epochs,
            validated,
        )
        weighted = None if class_weights is None else class_weights.tolist()
        told = (data.fingerprint, network.to_json(), loss.get_config(), head, model, seed, tuned, weighted)
        return hashlib.sha256(repr(told).encode()).hexdigest()

    kept = None if backup is None else Backup(backup, loop.variables, key)
    progress = Progress() if kept is None else kept.restore()
    before = progress.seconds
    # A loss that is no number never becomes one again.
    while progress.epoch < epochs and progress.waited < search.patience and _finite(progress):
        numbers = train(part.order(seed, progress.epoch))
        progress.add(numbers if validate is None else numbers | validate())
        if validate is not None:
            progress.judge(progress.curves[score][-1], network.get_weights)
        progress.seconds = before + time.perf_counter() - started
        if kept is not None:
            kept.save(progress)
        if told is not None:
            told(progress)
    trained = progress.kept or network.get_weights()
    if dtypes != "float32" or search.replicas > 1:  # what is used lies on one device
        keras.backend.clear_session()
        network = _built(data, model, head, seed, "float32")
    network.set_weights(trained)
    progress.seconds = before + time.perf_counter() - started
    if kept is not None:
        kept.remove()
    return network, progress


def _built(data: Dataset, model: Model, head: Named, seed: int, dtypes: str) -> keras.Model:
    with seeded(seed):
        return models.build(model, data, head, dtypes)


def _finite(progress: Progress) -> bool:
    return all(math.isfinite(losses[-1]) for name, losses in progress.curves.items() if name == "loss")
