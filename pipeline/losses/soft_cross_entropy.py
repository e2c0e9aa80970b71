"""Cross-entropy to soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from pipeline.losses import rows, soft_labels
from pipeline.losses.soft_labels import Kind, Matrix
from pipeline.topology import Topology


def soft_cross_entropy(y_true: KerasTensor, log_p: KerasTensor, targets: Matrix) -> KerasTensor:
    """Return −Σ_i t_i·log p_i, cross-entropy to the soft label t of y.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        targets: `(K, K)`, soft label of each true label.

    Returns:
        `(batch,)`, ≥ 0, in nats; least where p = t, and there the entropy of t.

    Reference:
        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception Architecture for Computer
        Vision, CVPR 2016, on label smoothing.

    >>> t = np.array([[0.9, 0.1]])
    >>> soft_cross_entropy(np.array([0]), np.log([[0.5, 0.5]]), t).numpy().round(4).tolist()
    [0.6931]
    """
    return ops.categorical_crossentropy(rows.of_labels(targets, y_true, log_p), log_p, from_logits=True)


@keras.saving.register_keras_serializable("ordinal")
class SoftLabels(keras.losses.Loss):
    """`soft_cross_entropy` to (1 − `eta`)·e_y + `eta`·T_y."""

    proper = False

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
        kind: Kind = "exponential",
        eta: float = 1.0,
        alpha: float | None = None,
        power: float = 1.0,
        name: str = "soft_labels",
        **kwargs: Any,
    ) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be from 0 (hard labels) to 1 (soft labels alone), got {eta}")
        topology = Topology.of(values, period)
        soft = soft_labels.matrix(kind, topology, alpha, power)
        super().__init__(name=name, **kwargs)
        self.topology = topology
        self.kind: Kind = kind
        self.eta = float(eta)
        self.alpha = None if alpha is None else float(alpha)
        self.power = float(power)
        self.matrix = (1 - self.eta) * np.eye(topology.classes) + self.eta * soft

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        return soft_cross_entropy(y_true, y_pred, self.matrix)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"kind": self.kind, "eta": self.eta, "alpha": self.alpha, "power": self.power}
        return {**super().get_config(), **self.topology.get_config(), **own}
