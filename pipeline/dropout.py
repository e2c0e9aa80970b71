"""MC dropout whose masks are constants: the same row always gets the same answer, also when exported."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from pipeline.errors import InputError


def freeze(model: keras.Model, passes: int, seed: int) -> keras.Model:
    """Return the network that answers every row `passes` times, each time with other units dropped.

    A single pass drops nothing: it is the network as Keras would use it. More of them are the draws of
    MC dropout, but each mask is drawn now, once for all rows. Rows are repeated at the first dropout,
    so that what lies before it is computed once; nothing else may read what lies before it.

    Args:
        model: Rows to `(batch, K)` log-probabilities.
        passes: S ≥ 1.
        seed: Of the masks.

    Returns:
        Rows to `(batch, S, K)` log-probabilities.

    Raises:
        InputError: More than one pass is wanted, and the network drops nothing.

    Reference:
        Gal, Ghahramani, Dropout as a Bayesian approximation: representing model uncertainty in deep
        learning, ICML 2016.
    """
    dropping = [layer.name for layer in model.layers if _drops(layer)] if passes > 1 else []
    if passes > 1 and not dropping:
        raise InputError(
            f"model.passes: {passes} passes differ by the units that they drop, and this network drops "
            "none; give model.dropout and a backbone with hidden layers, or passes = 1"
        )

    def twin(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in dropping:
            return layer.__class__.from_config(layer.get_config())
        place = dropping.index(layer.name)
        return FrozenDropout(layer.rate, passes, seed=[seed, place], first=place == 0, name=layer.name)

    frozen = keras.models.clone_model(model, clone_function=twin)
    frozen.set_weights(model.get_weights())
    log_p = Unfold(passes, dtype="float32", name="passes")(frozen.outputs[0])
    return keras.Model(frozen.inputs[0], log_p)


def _drops(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Dropout) and layer.rate > 0


@keras.saving.register_keras_serializable("ordinal")
class FrozenDropout(keras.layers.Layer):
    """Multiplies the units of pass s by mask s: 0 with the probability `rate`, else 1 / (1 − rate)."""

    def __init__(self, rate: float, passes: int, seed: list[int], first: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.passes = passes
        self.seed = list(seed)
        self.first = first

    def call(self, x: KerasTensor) -> KerasTensor:
        """Return `(batch·S, …)`, of `(batch, …)` where it is the first, else of `(batch·S, …)`."""
        units = x.shape[1:]
        kept = np.random.default_rng(self.seed).random((self.passes, *units)) >= self.rate
        masks = ops.convert_to_tensor(kept / (1 - self.rate), dtype=x.dtype)
        rows = ops.expand_dims(x, 1) if self.first else ops.reshape(x, (-1, self.passes, *units))
        return ops.reshape(rows * masks, (-1, *units))

    def compute_output_spec(self, x: KerasTensor) -> KerasTensor:
        """Return as many units; how many rows, only the batch knows."""
        return KerasTensor((None, *x.shape[1:]), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        own = {"rate": self.rate, "passes": self.passes, "seed": self.seed, "first": self.first}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ordinal")
class Unfold(keras.layers.Layer):
    """Gives the passes an axis of their own."""

    def __init__(self, passes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.passes = passes

    def call(self, log_p: KerasTensor) -> KerasTensor:
        """Return `(batch, S, K)` of `(batch·S, K)`."""
        return ops.reshape(log_p, (-1, self.passes, log_p.shape[1]))

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "passes": self.passes}
