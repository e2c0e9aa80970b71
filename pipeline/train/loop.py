"""Steps over rows: training and validation of one network, an epoch of each in one call into TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.calibration import undo_class_weights
from pipeline.sweep.tried import COST
from pipeline.train.replicas import Step, shared
from pipeline.train.rows import Part

UNDONE = "undone_loss"
"""The curve that tells, with class weights, the loss after they are divided out."""
_VALIDATED = 4096  # rows at a time

Epoch = Callable[[NDArray[np.int64]], NDArray[np.float64]]


class Loop:
    """What is done to a network in an epoch.

    `Model.fit` would come back to Python for every few steps, carry each batch through an input pipeline,
    and trace training, the end of an epoch and validation more than once: for tables of a few thousand
    rows that costs more than training.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: keras.losses.Loss,
        learning_rate: float,
        class_weights: NDArray[np.float64] | None,
        cost: NDArray[np.floating] | None = None,
    ) -> None:
        """A loop that trains a network; within the scope of a strategy, on all of its devices.

        Args:
            network: Rows to `(batch, K)` log-probabilities.
            loss: Of labels and these.
            learning_rate: Of Adam.
            class_weights: `(K,)`, one a label.
            cost: `(K, A)`, of [true label, action], for the curve `COST`.
        """
        self.network = network
        self.loss = loss
        self.class_weights = class_weights
        self.cost = cost
        self._replicas = tf.distribute.get_strategy()
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.optimizer.build(network.trainable_variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that an epoch changes: weights, moments, states of random generators."""
        return [*self.network.variables, *self.optimizer.variables]

    def training(self, part: Part, size: int) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return a function that trains on rows in an order, `size` a step, and returns means over rows."""
        return self._named(_epoch(self._compiled(self._train), part, size), self._names)

    def validation(self, part: Part) -> Callable[[], dict[str, float]]:
        """Return a function that returns means over all rows of what training tells too, as `val_…`."""
        names = [f"val_{name}" for name in (*self._names, *([] if self.cost is None else [COST]))]
        validate = self._named(_epoch(self._compiled(self._measure), part, _VALIDATED), names)
        return lambda: validate(np.arange(len(part)))

    def _compiled(self, step: Step) -> Step:
        """Return a step as it is best run on the devices that are there."""
        # XLA compiles no sums over devices, and on a CPU would compile for seconds what a small network
        # trains in seconds.
        if self._replicas.num_replicas_in_sync > 1:
            return shared(step, self._replicas)
        if tf.config.list_physical_devices("GPU"):
            step = tf.function(step, autograph=False, jit_compile=True)
        return step

    def _train(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        row_weights: tf.Tensor | None = None,
        *,
        share: float | tf.Tensor = 1.0,
    ) -> tf.Tensor:
        weights = self.network.trainable_variables
        with tf.GradientTape() as tape:
            log_p = self.network(x, training=True)
            value = self._loss(y, log_p, row_weights)
            total = share * tf.add_n(
                [value, *self.network.losses]
            )  # of backbones that punish large weights
        self.optimizer.apply(tape.gradient(total, weights), weights)
        return self._sums(y, log_p, row_weights, value)

    def _measure(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        row_weights: tf.Tensor | None = None,
        *,
        share: float | tf.Tensor = 1.0,
    ) -> tf.Tensor:
        del share  # sums are told, and nothing is trained
        log_p = self.network(x, training=False)
        sums = self._sums(y, log_p, row_weights, self._loss(y, log_p, row_weights))
        if self.cost is None:
            return sums
        cost = tf.constant(self.cost, log_p.dtype)
        decision = tf.argmin(tf.exp(log_p) @ cost, axis=1)
        paid = tf.gather(tf.gather(cost, y), decision, batch_dims=1)
        return tf.concat([sums, [tf.cast(tf.reduce_sum(paid), tf.float64)]], axis=0)

    def _loss(self, y: tf.Tensor, log_p: tf.Tensor, row_weights: tf.Tensor | None) -> tf.Tensor:
        weights = row_weights
        if self.class_weights is not None:
            weights = tf.gather(tf.constant(self.class_weights, tf.float32), y)
            weights = weights if row_weights is None else weights * row_weights
        return self._mean(y, log_p, weights)

    def _mean(self, y: tf.Tensor, log_p: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Return the mean loss of the rows that are given, which among replicas are not a whole batch."""
        value = self.loss(y, log_p, sample_weight=weights)
        count = self._replicas.num_replicas_in_sync  # that Keras divides by, as if their parts were equal
        return value if count == 1 else value * count

    def _sums(
        self, y: tf.Tensor, log_p: tf.Tensor, row_weights: tf.Tensor | None, value: tf.Tensor
    ) -> tf.Tensor:
        """Return sums over rows: of the loss, of right labels, and with class weights of `UNDONE`.

        That is the loss as it is once the weights are divided out, and no label counts more than another,
        as the network will be used. By the weighted loss of validation rows, where a few rows of the
        rarest label decide, epochs would be chosen that are worse for it.
        """
        # Means of batches, of which the last is smaller.
        rows = tf.cast(tf.shape(y)[0], value.dtype)
        right = tf.reduce_sum(tf.cast(tf.argmax(log_p, axis=1) == y, value.dtype))
        sums = [value * rows, right]
        if self.class_weights is not None:
            log_q = undo_class_weights(log_p, self.class_weights)
            sums.append(self._mean(y, log_q, row_weights) * rows)
        return tf.cast(tf.stack(sums), tf.float64)

    @property
    def _names(self) -> list[str]:
        """What `_sums` are of."""
        return ["loss", "accuracy", *([] if self.class_weights is None else [UNDONE])]

    @staticmethod
    def _named(epoch: Epoch, names: list[str]) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        return lambda order: {
            name: float(total) / len(order) for name, total in zip(names, epoch(order), strict=True)
        }


def _epoch(step: Step, part: Part, size: int) -> Epoch:
    """Return a function that takes a step for each `size` rows of an order and adds up the results."""
    return _streamed(step, part, size) if part.streamed else _on_device(step, part, size)


def _on_device(step: Step, part: Part, size: int) -> Epoch:
    """Of rows that lie where the network computes."""
    arrays = [tf.constant(array) for array in part.take(slice(None))]

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False
    )
    def run(order: tf.Tensor) -> tf.Tensor:
        def body(start: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = order[start : start + size]
            return start + size, sums + step(*(tf.gather(array, rows) for array in arrays))

        def more(start: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return start < tf.size(order)

        begin = (tf.constant(0), tf.zeros([], tf.float64))
        shapes = (tf.TensorShape([]), tf.TensorShape(None))
        return tf.while_loop(more, body, begin, shape_invariants=shapes)[1]

    return lambda order: np.asarray(run(order.astype(np.int32)))


def _streamed(step: Step, part: Part, size: int) -> Epoch:
    """Of rows that are read while others are trained on."""
    first = part.take(slice(0, 1))
    specs = tuple(tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in first)
    run = tf.function(step, input_signature=specs, autograph=False)

    def epoch(order: NDArray[np.int64]) -> NDArray[np.float64]:
        batches = tf.data.Dataset.from_generator(lambda: part.batches(order, size), output_signature=specs)
        # The sum of one step is waited for before the next is taken, but not before the next is read.
        return np.asarray(sum(run(*batch) for batch in batches.prefetch(2)))

    return epoch
