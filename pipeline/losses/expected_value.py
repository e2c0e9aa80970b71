"""The squared error of the expected value, alone or on top of cross-entropy (seed question 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops

from pipeline.losses.cross_entropy import cross_entropy


def expected_value_error(y_true: KerasTensor, log_p: KerasTensor, values: Sequence[float]) -> KerasTensor:
    """Return ½(Σ_j v_j p_j − v_y)², the squared error of the expected label value.

    Proper, but not strictly: every distribution with the true mean does as well as the true one.
    Added to cross-entropy it is strictly proper, whatever its weight.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        values: `(K,)`, numeric value of each label.

    Returns:
        `(batch,)`, ≥ 0, in squared units of the values.

    Reference:
        An answer on Stack Exchange to how an MNIST classifier may be penalised less for a 4 than for a 7
        where the truth is 3; it proposes this error, alone or weighted with cross-entropy.

    >>> expected_value_error(np.array([2]), np.log([[0.5, 0.25, 0.25]]), [0, 1, 2]).numpy().tolist()
    [0.78125]
    """
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    scale = ops.convert_to_tensor(values, dtype=log_p.dtype)  # (K,)
    expected = ops.sum(ops.exp(log_p) * scale, axis=-1)  # (batch,)
    return 0.5 * ops.square(expected - ops.take(scale, labels))


@keras.saving.register_keras_serializable("ordinal")
class ExpectedValue(keras.losses.Loss):
    """`cross_entropy`·(−log p_y) + `lam`·½(Σ_j v_j p_j − v_y)².

    With `cross_entropy=0` it is the squared error alone. λ has the unit 1/value²: on labels 0 … 9,
    λ = 1 already weighs an error across the whole scale with 40.5 nats.
    """

    def __init__(
        self,
        values: Sequence[float],
        lam: float = 0.1,
        cross_entropy: float = 1.0,
        name: str = "expected_value",
        **kwargs: Any,
    ) -> None:
        if not (0 <= lam < math.inf and 0 <= cross_entropy < math.inf and lam + cross_entropy > 0):
            raise ValueError(
                f"lam and cross_entropy must be finite, ≥ 0 and not both 0, got {lam} and {cross_entropy}"
            )
        super().__init__(name=name, **kwargs)
        self.values = [float(value) for value in values]
        self.lam = float(lam)
        self.cross_entropy = float(cross_entropy)

    @property
    def proper(self) -> bool:
        """Whether trained probabilities can be trusted by a cost decision."""
        return self.cross_entropy > 0

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        loss = self.lam * expected_value_error(y_true, y_pred, self.values)
        if self.cross_entropy:
            loss += self.cross_entropy * cross_entropy(y_true, y_pred)
        return loss

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"values": self.values, "lam": self.lam, "cross_entropy": self.cross_entropy}
        return {**super().get_config(), **own}
