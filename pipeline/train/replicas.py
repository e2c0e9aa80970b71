"""One training on several devices: each has a copy of the network, and a part of each batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipeline.errors import InputError

Step = Callable[..., tf.Tensor]


def check(count: int) -> None:
    """Raise InputError where fewer devices than replicas are there."""
    devices = _devices()
    if count > max(1, len(devices)):
        kind = devices[0].device_type if devices else "CPU"
        raise InputError(
            f"search.replicas must be at most the number of GPUs here: it is {count}, and "
            f"TensorFlow sees {len(devices)} {kind}"
        )


def strategy(count: int) -> tf.distribute.Strategy:
    """Return what makes variables on so many devices and keeps them alike; for one it changes nothing."""
    if count == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in _devices()[:count]])


def shared(step: Step, over: tf.distribute.Strategy) -> Step:
    """Return a step over a batch that each replica takes over its part, whose results are added up.

    Args:
        step: Of rows, labels, perhaps weights, and `share`: what these rows are of the whole batch. Its
            gradients are added up over the replicas, so that it has to multiply its loss by its share.
        over: The replicas.
    """
    count = over.num_replicas_in_sync

    def run(*batch: tf.Tensor) -> tf.Tensor:
        rows = tf.shape(batch[0])[0]
        parts = [tuple(array[place::count] for array in batch) for place in range(count)]

        def mine() -> tf.Tensor:
            # Known when it is traced, once for each replica: only its own part goes to its device.
            place = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
            own = tf.shape(parts[place][0])[0]
            # A mean over no rows is no number: where a batch has too few, some count nothing.
            part = tf.cond(own > 0, lambda: parts[place], lambda: batch)
            sums = step(*part, share=tf.cast(own, tf.float32) / tf.cast(rows, tf.float32))
            return tf.where(own > 0, sums, tf.zeros_like(sums))

        return over.reduce(tf.distribute.ReduceOp.SUM, over.run(mine), axis=None)

    return run


def _devices() -> list[Any]:
    return list(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))
