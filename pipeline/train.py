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
from pipeline.config import Model, Named, Search
from pipeline.data import Dataset
from pipeline.errors import Diverged


@dataclass(frozen=True)
class Fitted:
    """A trained network, its curves (one number an epoch), and what it cost."""

    model: keras.Model
    curves: dict[str, list[float]]
    best_epoch: int
    seconds: float

    def probabilities(self, features: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return `(rows, K)` probabilities of raw rows; raises Diverged where they are not finite."""
        chunks = np.array_split(features, max(1, len(features) // 4096))
        p = np.concatenate([np.exp(self.model(chunk, training=False).numpy()) for chunk in chunks])
        if not np.isfinite(p).all():
            raise Diverged("the network's answers are not finite; a smaller learning_rate may help")
        return p


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
    network.compile(
        keras.optimizers.Adam(search.learning_rate),
        loss=loss,
        # One call into TensorFlow an epoch: with small batches Python would cost more than the maths.
        steps_per_execution=min(64, math.ceil(len(train) / search.batch_size)),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        # XLA would compile for seconds what a small network on a CPU trains in seconds.
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=search.patience, restore_best_weights=True
    )
    history = network.fit(
        _rows(data, train).shuffle(len(train), seed=seed).batch(search.batch_size),
        validation_data=_rows(data, validation).batch(4096),
        epochs=search.epochs,
        callbacks=[stop],
        shuffle=False,  # the rows come shuffled
        verbose=0,
    )
    return Fitted(network, history.history, stop.best_epoch, time.perf_counter() - started)


def _rows(data: Dataset, part: NDArray[np.int64]) -> tf.data.Dataset:
    # Keras would build an input pipeline anew for every epoch from plain arrays, which costs more than
    # training on so few rows.
    return tf.data.Dataset.from_tensor_slices((data.features[part], data.y[part]))
