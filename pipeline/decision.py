"""The decision layer: log-probabilities become everything an answer holds, inside the exported graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import tensorflow as tf


class Outputs(TypedDict):
    """The outputs of the graph, by their names in the artifact."""

    probabilities: tf.Tensor  # (batch, K)
    expected_value: tf.Tensor  # (batch,)
    expected_cost: tf.Tensor  # (batch, P, A)
    decision: tf.Tensor  # (batch, P)
    margin: tf.Tensor  # (batch, P)


def decide(log_p: tf.Tensor, cost: tf.Tensor, values: Sequence[float]) -> Outputs:
    """Return probabilities, expected value, and for each policy the action of least expected cost.

    - expected_value = Σ_k v_k p_k
    - expected_cost[a] = Σ_k p_k cost[k, a]
    - decision = argmin_a expected_cost[a], a tie going to the lowest index
    - margin = expected cost of the runner-up minus that of the decision

    Args:
        log_p: `(batch, K)`, log-probabilities.
        cost: `(1 or batch, P, K, A)`, `cost[policy, true label, action]`, A ≥ 2; a policy with fewer
            actions than another is padded with `serving.manifest.PADDING`.
        values: `(K,)`, numeric value of each label.
    """
    probabilities = tf.nn.softmax(log_p)  # exp, with rows that sum to 1 also after rounding
    scale = np.asarray(values, np.float32)[:, np.newaxis]  # (K, 1)
    shape = tf.shape(cost)
    policies, classes, actions = shape[1], len(values), shape[3]
    # All policies in one matrix product; a four-dimensional one is several times slower in onnxruntime.
    folded = tf.reshape(tf.transpose(cost, [0, 2, 1, 3]), [shape[0], classes, policies * actions])
    expected_cost = tf.reshape(
        tf.matmul(probabilities[:, tf.newaxis, :], folded), [-1, policies, actions]
    )  # (batch, P, A)
    decision = tf.argmin(expected_cost, axis=-1, output_type=tf.int64)  # (batch, P)
    chosen = tf.range(tf.cast(actions, tf.int64)) == decision[..., tf.newaxis]  # (batch, P, A)
    runner_up = tf.reduce_min(tf.where(chosen, tf.float32.max, expected_cost), axis=-1)
    return Outputs(
        probabilities=probabilities,
        expected_value=tf.matmul(probabilities, scale)[:, 0],
        expected_cost=expected_cost,
        decision=decision,
        margin=runner_up - tf.reduce_min(expected_cost, axis=-1),
    )
