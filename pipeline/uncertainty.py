"""How unsure a model is, and how much of it is its own ignorance, inside the exported graph."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.topology import Topology


def uncertainty(passes: tf.Tensor, topology: Topology) -> tf.Tensor:
    """Return the aleatoric and the epistemic part of the variance of the events `y in set`.

    With F_s the probability of a set in pass s and F their mean, means over all `Topology.sets`, that is
    over the thresholds y ≤ k of a line and over all arcs of a ring:

    - total = F·(1 − F), the variance of 1[y in set]; it is the sum of the two
    - aleatoric = mean_s F_s·(1 − F_s), what each pass expects
    - epistemic = mean_s (F_s − F)², what passes disagree about; 0 for a single pass

    Args:
        passes: `(batch, S, K)`, probabilities of each pass.
        topology: Of the labels.

    Returns:
        `(batch, 2)`, aleatoric and epistemic, each 0 … ¼, and ¼ at most together.

    Reference:
        Depeweg, Hernández-Lobato, Doshi-Velez, Udluft, Decomposition of uncertainty in Bayesian deep
        learning, ICML 2018, by the law of total variance; Gal, Ghahramani, Dropout as a Bayesian
        approximation, ICML 2016, for the passes.
    """
    sets = topology.sets()
    if passes.shape[1] == 1:
        skew = skews(tf.squeeze(passes, 1), sets)  # F·(1 − F) = (1 − skew²)/4
        mean = np.repeat([[-0.25, 0]], sets.shape[1], axis=0) / sets.shape[1]  # and nothing epistemic
        return tf.nn.relu(tf.matmul(skew * skew, mean.astype(np.float32)) + np.array([0.25, 0], np.float32))
    chances = tf.matmul(passes, sets.astype(np.float32))  # (batch, S, sets)
    aleatoric = tf.reduce_mean(chances * (1 - chances), axis=[1, 2])
    apart = chances - tf.reduce_mean(chances, axis=1, keepdims=True)
    epistemic = tf.reduce_mean(tf.square(apart), axis=[1, 2])
    return tf.nn.relu(tf.stack([aleatoric, epistemic], axis=1))  # a sum of float32 may exceed 1


def skews(p: tf.Tensor, sets: NDArray[np.floating]) -> tf.Tensor:
    """Return P(y in set) − P(y not in set), `(batch, S)`, −1 … 1: by how much each outweighs its rest.

    Args:
        p: `(batch, K)`.
        sets: `(K, S)`, columns of 0 and 1.
    """
    return tf.matmul(p, (2 * sets).astype(np.float32)) - 1
