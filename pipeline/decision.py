"""The decision layer: log-probabilities become everything an answer holds, inside the exported graph."""

from __future__ import annotations

import math
from typing import NotRequired, TypedDict

import numpy as np
import tensorflow as tf

from pipeline.conformal import Conformal
from pipeline.topology import Topology
from pipeline.uncertainty import uncertainty

FOLD = "fold_policies"
"""Name of the node in the graph that puts all policies side by side."""


class Outputs(TypedDict):
    """The outputs of the graph, by their names in the artifact."""

    probabilities: tf.Tensor  # (batch, K)
    expected_value: tf.Tensor  # (batch,)
    expected_cost: tf.Tensor  # (batch, P, A)
    decision: tf.Tensor  # (batch, P)
    margin: tf.Tensor  # (batch, P)
    interval: tf.Tensor  # (batch, 2)
    uncertainty: tf.Tensor  # (batch, 2)
    resultant: NotRequired[tf.Tensor]  # (batch,), on a ring


def decide(
    log_p: tf.Tensor, cost: tf.Tensor, coverage: tf.Tensor, topology: Topology, conformal: Conformal
) -> Outputs:
    """Return probabilities and what follows from them; for each policy the action of least expected cost.

    - probabilities = the mean over passes
    - expected_value = Σ_k v_k p_k; on a ring the circular mean, `circular_mean`
    - expected_cost[a] = Σ_k p_k cost[k, a]
    - decision = argmin_a expected_cost[a], a tie going to the lowest index
    - margin = expected cost of the runner-up minus that of the decision
    - interval = first and last label of a set with the wanted coverage, `Conformal.interval`
    - uncertainty = its aleatoric and epistemic parts, `uncertainty`

    Args:
        log_p: `(batch, S, K)`, calibrated log-probabilities of each pass.
        cost: `(1 or batch, P, K, A)`, `cost[policy, true label, action]`, A ≥ 2; a policy with fewer
            actions than another is padded with `serving.manifest.PADDING`.
        coverage: `(1 or batch,)`, of the interval, in (0, 1).
        topology: The K labels.
        conformal: What the interval is made by.
    """
    passes = tf.nn.softmax(log_p)  # exp, with rows that sum to 1 also after rounding
    mean = passes if passes.shape[1] == 1 else tf.reduce_mean(passes, axis=1, keepdims=True)
    probabilities = tf.squeeze(mean, 1)
    expected_cost = expected_costs(mean, cost)
    # The two least costs, negated; of equal ones that of the lower index comes first.
    lowest, actions = tf.math.top_k(-expected_cost, 2, index_type=tf.int64)
    position = tf.matmul(probabilities, topology.positions().astype(np.float32))  # (batch, 1 or 2)
    outputs = Outputs(
        probabilities=probabilities,
        expected_value=tf.reshape(position, [-1]) if topology.period is None else position[:, 0],
        expected_cost=expected_cost,
        decision=tf.gather(actions, 0, axis=-1),
        margin=tf.squeeze(tf.matmul(lowest, np.array([[1], [-1]], np.float32)), -1),
        interval=conformal.interval(probabilities, coverage, topology),
        uncertainty=uncertainty(passes, topology),
    )
    if topology.period is not None:
        mean, resultant = circular_mean(position, topology.values[0], topology.period)
        outputs |= {"expected_value": mean, "resultant": resultant}
    return outputs


def expected_costs(probabilities: tf.Tensor, cost: tf.Tensor) -> tf.Tensor:
    """Return Σ_k p_k cost[p, k, a], `(batch, P, A)`.

    All policies go through one matrix product: a four-dimensional one is several times slower in
    onnxruntime. Shapes stay whole, since each number taken out of one is a node of its own.

    Args:
        probabilities: `(batch, 1, K)`.
        cost: `(1 or batch, P, K, A)`.
    """
    shape = tf.shape(cost, out_type=tf.int64)
    by_label = tf.transpose(cost, [0, 2, 1, 3])  # (1 or batch, K, P, A)
    folded = tf.reshape(by_label, tf.concat([shape[:1], [cost.shape[2], -1]], axis=0), name=FOLD)
    product = tf.matmul(probabilities, folded)  # (batch, 1, P·A)
    return tf.reshape(product, tf.concat([[-1], tf.gather(shape, [1, 3])], axis=0))


def circular_mean(position: tf.Tensor, first: float, period: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the direction of the mean point as a label value, and the resultant length |z|.

    With z = Σ_k p_k e^{2πi v_k/period} the mean is period·arg(z)/2π, brought into
    [first, first + period). Where |z| is near 0 there is no mean direction, and any value may come.

    Args:
        position: `(batch, 2)`, the mean of `Topology.positions`.
        first: Value of the first label.
        period: Once round, in label values.

    Returns:
        `(batch,)` in label values, and `(batch,)` from 0, no direction, to 1.

    Reference:
        Mardia and Jupp, Directional Statistics, 2000.
    """
    once_round = 2 * math.pi
    angle = tf.atan2(position[:, 1], position[:, 0])  # (−π, π]
    turns = angle / once_round - first / period
    value = first + period * (turns - tf.floor(turns))
    value = tf.where(value < first + period, value, first)  # what rounding has brought to the other end
    radius = period / once_round
    return value, tf.sqrt(tf.reduce_sum(tf.square(position / radius), axis=-1))
