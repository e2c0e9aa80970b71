"""What training has done to probabilities on purpose, and how it is undone.

A loss that is least at another distribution than the true one, q, leads to known probabilities p where
it was weighted by class, p ∝ w·q, or had soft labels, p = Tᵀq. Both can be solved for q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import ArrayLike, NDArray

MOST_CONDITION = 50.0
"""Soft labels above this condition number of T are not undone: noise in p would come back as large."""
LEAST = 0.01
"""Share of all labels alike after soft labels are undone, where least squares often give 0 to some."""
_ACCURACY = 1e-7
Part = Literal["soft_labels", "class_weights"]


def undo_class_weights(log_p: KerasTensor, weights: NDArray[np.floating]) -> KerasTensor:
    """Return log q of q ∝ p / w: the distribution whose rows, weighted by class, p describes.

    Args:
        log_p: `(…, K)`, log-probabilities.
        weights: `(K,)`, w > 0, of a row with each true label.

    Returns:
        `(…, K)`, log-probabilities.

    Reference:
        Saerens, Latinne, Decaestecker, Adjusting the outputs of a classifier to new a priori
        probabilities, Neural Computation, 2002.

    >>> q = np.exp(undo_class_weights(np.log([[0.5, 0.5]]), np.array([1.0, 3.0])))
    >>> q.round(4).tolist()
    [[0.75, 0.25]]
    """
    return ops.log_softmax(log_p - ops.convert_to_tensor(np.log(weights), dtype=log_p.dtype), axis=-1)


def undo_soft_labels(log_p: KerasTensor, matrix: NDArray[np.floating]) -> KerasTensor:
    """Return log q of the q ≥ 0 that minimises ‖Tᵀq − p‖², brought to sum 1 and mixed with `LEAST`.

    Plain inversion would give negative probabilities wherever p is not a mixture of soft labels. Where
    no entry would be negative the two are equal.

    Solved by the modulus iteration s ← ((ρI − H)|s| + T·p)(ρI + H)⁻¹ with H = T·Tᵀ and q = |s| + s: its
    error shrinks by (c − 1)/(c + 1) each time, where c is the condition number of T and ρ = √(λ_min·λ_max)
    of H. The number of steps is fixed, so that the exported graph needs no loop.

    Args:
        log_p: `(…, K)`, log-probabilities.
        matrix: T, `(K, K)`, the soft label of each true label as a row.

    Returns:
        `(…, K)`, log-probabilities of (1 − `LEAST`)·q + `LEAST`/K.

    Raises:
        ValueError: T has a condition number above `MOST_CONDITION`.

    Reference:
        van Bokhoven, Piecewise-linear modelling and analysis, 1981, for the iteration; Lawson, Hanson,
        Solving least squares problems, 1974, for the problem.

    >>> t = np.array([[0.8, 0.2], [0.2, 0.8]])
    >>> q = np.exp(undo_soft_labels(np.log([[0.5, 0.5], [0.9, 0.1]]), t))
    >>> q.round(4).tolist()  # of p = (0.9, 0.1) plain inversion would make (1.17, −0.17)
    [[0.5, 0.5], [0.995, 0.005]]
    """
    condition = float(np.linalg.cond(matrix))
    if not condition <= MOST_CONDITION:
        raise ValueError(
            f"soft labels with a condition number of {condition:.3g} cannot be undone, "
            f"{MOST_CONDITION:g} is the most"
        )
    squared = matrix @ matrix.T
    eigenvalues = np.linalg.eigvalsh(squared)
    rho = math.sqrt(eigenvalues[0] * eigenvalues[-1])
    inverse = np.linalg.inv(rho * np.eye(len(matrix)) + squared)
    rate = (condition - 1) / (condition + 1)
    steps = math.ceil(math.log(_ACCURACY) / math.log(rate)) if rate > _ACCURACY else 1
    onwards = _constant((rho * np.eye(len(matrix)) - squared) @ inverse)
    # In double precision: T·Tᵀ has the square of the condition number.
    # Flat, since each product of more than two dimensions would be ten nodes of the exported graph.
    p = ops.exp(ops.cast(ops.reshape(log_p, (-1, len(matrix))), "float64"))
    fixed = ops.matmul(p, _constant(matrix.T @ inverse))
    s = fixed
    for _ in range(steps):
        s = ops.matmul(ops.abs(s), onwards) + fixed
    q = ops.abs(s) + s
    share = q / ops.sum(q, axis=-1, keepdims=True)
    log_q = ops.cast(ops.log((1 - LEAST) * share + LEAST / len(matrix)), log_p.dtype)
    return ops.reshape(log_q, ops.shape(log_p))


def _constant(values: NDArray[np.floating]) -> KerasTensor:
    return ops.convert_to_tensor(values, dtype="float64")


@dataclass(frozen=True)
class Distortion:
    """What training does to probabilities: soft labels, class weights, both or neither.

    Attributes:
        soft_labels: T, `(K, K)`.
        class_weights: w, `(K,)`.
    """

    soft_labels: NDArray[np.float64] | None = None
    class_weights: NDArray[np.float64] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """What there is, in the order in which it is undone: training did it the other way round."""
        return tuple(part for part in get_args(Part) if getattr(self, part) is not None)

    @property
    def condition(self) -> float:
        """The condition number of T; 1 where there is none."""
        return 1.0 if self.soft_labels is None else float(np.linalg.cond(self.soft_labels))

    def only(self, parts: tuple[Part, ...]) -> Distortion:
        """Return it with no other parts than these."""
        return replace(self, **{name: None for name in vars(self) if name not in parts})

    def undo(self, log_p: KerasTensor) -> KerasTensor:
        """Return the log-probabilities `(…, K)` before it all."""
        if self.soft_labels is not None:
            log_p = undo_soft_labels(log_p, self.soft_labels)
        if self.class_weights is not None:
            log_p = undo_class_weights(log_p, self.class_weights)
        return log_p


@keras.saving.register_keras_serializable("ordinal")
class Undo(keras.layers.Layer):
    """`Distortion.undo` as a layer."""

    def __init__(
        self,
        soft_labels: ArrayLike | None = None,
        class_weights: ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.distortion = Distortion(
            None if soft_labels is None else np.asarray(soft_labels, dtype=float),
            None if class_weights is None else np.asarray(class_weights, dtype=float),
        )

    def call(self, log_p: KerasTensor) -> KerasTensor:
        """Return `(…, K)` log-probabilities of as many."""
        return self.distortion.undo(log_p)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {
            name: None if value is None else value.tolist() for name, value in vars(self.distortion).items()
        }
        return {**super().get_config(), **own}
