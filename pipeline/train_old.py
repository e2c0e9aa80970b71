"""One fit: rows, a network and a loss become a trained network and what was seen on the way."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline import models, preprocess
from pipeline.calibration import undo_class_weights
from pipeline.config import Model, Named, Search
from pipeline.data import Dataset

UNDONE = "undone_loss"
"""The curve of `Fitted` that tells, with class weights, the loss after they are divided out."""


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
    data: Dataset, loss: keras.losses.Loss, head: Named, model: Model, search: Search, seed: int
) -> Fitted:
    """Train on the training part, stop early on the validation part, keep the best epoch's weights."""
    started = time.perf_counter()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    train, validation = data.parts.train, data.parts.validation
    scaling = preprocess.fit_scaling(data.features[train])
    network = models.build(model, data.spec, scaling, head, data.labels.count)
    weights = balanced(data.y[train], data.labels.count) if model.class_weight == "balanced" else None
    network.compile(
        keras.optimizers.Adam(search.learning_rate),
        loss=loss,
        # One call into TensorFlow an epoch: with small batches Python would cost more than the maths.
        steps_per_execution=min(64, math.ceil(len(train) / search.batch_size)),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            *([] if weights is None else [_undone_loss(loss, weights)]),
        ],
        # XLA would compile for seconds what a small network on a CPU trains in seconds.
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss" if weights is None else f"val_{UNDONE}",
        mode="min",
        patience=search.patience,
        restore_best_weights=True,
    )
    history = network.fit(
        _rows(data, train, weights).shuffle(len(train), seed=seed).batch(search.batch_size),
        validation_data=_rows(data, validation, weights).batch(4096),
        epochs=search.epochs,
        callbacks=[stop],
        shuffle=False,  # the rows come shuffled
        verbose=0,
    )
    seconds = time.perf_counter() - started
    # Without what it was compiled with, which nothing needs any more and a copy could not have.
    bare = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    return Fitted(bare, history.history, stop.best_epoch, seconds, weights)


def balanced(y: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Return the weight of a row of each label, rows / (K · rows of the label): all labels count alike.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1; each occurs.
        classes: K.

    Returns:
        `(K,)`, with a mean over rows of 1.

    Reference:
        King, Zeng, Logistic regression in rare events data, Political Analysis, 2001.

    >>> balanced(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    return np.asarray(len(y) / (classes * np.bincount(y, minlength=classes)))


def _undone_loss(loss: keras.losses.Loss, weights: NDArray[np.float64]) -> keras.metrics.Metric:
    """Return the loss as it is once the weights are divided out, and no row counts more than another.

    That is how the network will be used. The weighted loss of validation rows, where a few rows of the
    rarest label decide, chooses epochs that are worse for it.
    """

    def undone(y: tf.Tensor, log_p: tf.Tensor) -> tf.Tensor:
        log_q = undo_class_weights(log_p, weights)
        # One number a row, or the last, smaller batch would count as much as a whole one.
        return loss.call(y, log_q) if getattr(loss, "per_row", True) else loss(y, log_q)

    return keras.metrics.MeanMetricWrapper(undone, name=UNDONE)


def _rows(data: Dataset, part: NDArray[np.int64], weights: NDArray[np.float64] | None) -> tf.data.Dataset:
    # Keras would build an input pipeline anew for every epoch from plain arrays, which costs more than
    # training on so few rows.
    arrays = [data.features[part], data.y[part]]
    if weights is not None:
        arrays.append(weights[data.y[part]].astype(np.float32))
    return tf.data.Dataset.from_tensor_slices(tuple(arrays))
