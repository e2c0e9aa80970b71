"""The squared error of the expected value, alone or on top of cross-entropy (seed question 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from pipeline.losses import rows
from pipeline.losses.cross_entropy import cross_entropy
from pipeline.topology import Topology


def expected_value_error(
    y_true: KerasTensor, log_p: KerasTensor, positions: NDArray[np.floating]
) -> KerasTensor:
    """Return ½‖Σ_j p_j·x_j − x_y‖², the squared error of the expected position.

    On a line a label's position is its value: ½(Σ_j v_j p_j − v_y)². On a ring it is its point on the
    circle, so that ½(period/2π)²·|z − u_y|², z being the mean resultant vector; near the truth that is the
    same squared error, measured along the arc.
    Proper, but not strictly: every distribution with the true mean does as well as the true one.
    Added to cross-entropy it is strictly proper, whatever its weight.

    Args:
        y_true: `(batch,)`, index of the true label, 0 … K−1.
        log_p: `(batch, K)`, log-probabilities.
        positions: `(K, 1)` or `(K, 2)`, `Topology.positions`.

    Returns:
        `(batch,)`, ≥ 0, in squared units of the values.

    Reference:
        An answer on Stack Exchange to how an MNIST classifier may be penalised less for a 4 than for a 7
        where the truth is 3; it proposes this error, alone or weighted with cross-entropy. On the circle:
        Mardia and Jupp, Directional Statistics, 2000, on the mean resultant vector.

    >>> on_a_line = Topology.of(range(3)).positions()
    >>> expected_value_error(np.array([2]), np.log([[0.5, 0.25, 0.25]]), on_a_line).numpy().tolist()
    [0.78125]
    """
    points = ops.convert_to_tensor(positions, dtype=log_p.dtype)  # (K, 1 or 2)
    error = ops.matmul(ops.exp(log_p), points) - rows.of_labels(positions, y_true, log_p)
    return 0.5 * ops.sum(ops.square(error), axis=-1)


@keras.saving.register_keras_serializable("ordinal")
class ExpectedValue(keras.losses.Loss):
    """`cross_entropy`·(−log p_y) + `lam`·`expected_value_error`.

    With `cross_entropy=0` it is the squared error alone. λ has the unit 1/value²: on labels 0 … 9,
    λ = 1 already weighs an error across the whole scale with 40.5 nats.
    """

    def __init__(
        self,
        values: Sequence[float],
        period: float | None = None,
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
        self.topology = Topology.of(values, period)
        self.lam = float(lam)
        self.cross_entropy = float(cross_entropy)
        self._positions = self.topology.positions()

    @property
    def proper(self) -> bool:
        """Whether trained probabilities can be trusted by a cost decision."""
        return self.cross_entropy > 0

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each row; `y_pred` holds log-probabilities."""
        loss = self.lam * expected_value_error(y_true, y_pred, self._positions)
        if self.cross_entropy:
            loss += self.cross_entropy * cross_entropy(y_true, y_pred)
        return loss

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"lam": self.lam, "cross_entropy": self.cross_entropy}
        return {**super().get_config(), **self.topology.get_config(), **own}
