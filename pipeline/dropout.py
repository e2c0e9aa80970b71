"""MC dropout whose masks are constants: the same row always gets the same answer, also when exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops, tree

from pipeline.errors import InputError

_SPATIAL = (keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D, keras.layers.SpatialDropout3D)


_NOISE = (keras.layers.GaussianDropout, keras.layers.AlphaDropout, keras.layers.GaussianNoise)


def noise(model: keras.Model) -> list[str]:
    """Return the layers that add chance of another kind, which no mask can stand for."""
    return [layer.name for layer in model.layers if isinstance(layer, _NOISE)]


def drops(model: keras.Model) -> bool:
    """Return whether one of the model's own layers drops units in training."""
    return any(_drops(layer) for layer in model.layers)


def freeze(model: keras.Model, passes: int, seed: int) -> keras.Model:
    """Return the network that answers every row `passes` times, each time with other units dropped.

    A single pass drops nothing: it is the network as Keras would use it. More of them are the draws of
    MC dropout, but each mask is drawn now, once for all rows. Rows are repeated as late as can be, so that
    what lies before is computed once: at the first dropout, or before a branch that leads round it.

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

    copy = keras.models.clone_model
    frozen = _repeating(model, passes, seed, dropping) if dropping else copy(model)
    frozen.set_weights(model.get_weights())
    log_p = Unfold(passes, dtype="float32", name="passes")(frozen.outputs[0])
    return keras.Model(frozen.inputs[0], log_p)


def _repeating(model: keras.Model, passes: int, seed: int, dropping: Sequence[str]) -> keras.Model:
    """Return rows to `(batch·S, K)`, with frozen dropouts and rows repeated before them."""
    calls = _calls(model, dropping)
    cut = _cut(calls)
    first, *others = [call for call in calls if call.drops]
    # A dropout that alone uses what is repeated does both at once: fewer nodes of the exported graph.
    alone = cut > 0 and [call for call in calls if call.given & calls[cut - 1].gave] == [first]
    at_once = alone and first.name not in [call.name for call in others]
    repeat = Repeat(passes, name="repeat")
    made = 0

    def twin(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in dropping:
            return _twin(layer)
        place = dropping.index(layer.name)
        repeats = at_once and layer.name == first.name
        return FrozenDropout(layer.rate, passes, [seed, place], repeats, _shared(layer), name=layer.name)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal made
        made += 1
        given = layer(args[0]) if isinstance(layer, FrozenDropout) else layer(*args, **kwargs)
        return repeat(given) if made == cut and not at_once else given

    twins = keras.models.clone_model(model, clone_function=twin, call_function=call)
    if cut > 0:
        return twins
    took = model.inputs[0]
    rows = keras.Input(batch_shape=took.shape, dtype=took.dtype, name=took.name)
    return keras.Model(rows, twins.call(repeat(rows)))


def _drops(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Dropout) and layer.rate > 0


def _twin(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer.__class__.from_config(layer.get_config())


def _shared(dropout: keras.layers.Dropout) -> list[int]:
    """Return the axes of a row, from 0, along which units are dropped together."""
    if isinstance(dropout, _SPATIAL):
        before = 1 if getattr(dropout, "data_format", "") == "channels_first" else 0  # the channels
        return [axis + before for axis in range(dropout.input_spec.ndim - 2)]
    return [axis for axis, size in enumerate((dropout.noise_shape or ())[1:]) if size == 1]


@dataclass(frozen=True)
class _Call:
    """A layer's turn: what it was given and what it gave, as `id`s of tensors, and whether it drops."""

    name: str
    given: frozenset[int]
    gave: frozenset[int]
    drops: bool


def _calls(model: keras.Model, dropping: Sequence[str]) -> list[_Call]:
    """Return the turns of a network's layers, in the order in which Keras takes them."""
    calls: list[_Call] = []
    tensors: list[Any] = []  # kept, so that no id is given twice

    def note(layer: Any, *args: Any, **kwargs: Any) -> Any:
        made = layer(*args, **kwargs)
        given = [one for one in tree.flatten((args, kwargs)) if isinstance(one, KerasTensor)]
        gave = tree.flatten(made)
        tensors.extend([*given, *gave])
        ids = frozenset(map(id, given)), frozenset(map(id, gave))
        calls.append(_Call(layer.name, *ids, layer.name in dropping))
        return made

    keras.models.clone_model(model, clone_function=_twin, call_function=note)
    return calls


def _cut(calls: Sequence[_Call]) -> int:
    """Return after how many calls rows are repeated: what the last of them gives is.

    No dropout may lie before, and whatever uses it, directly or not, may use nothing else of what lies
    before. After no call, 0, is right in any case: the rows themselves.
    """
    first = next(place for place, call in enumerate(calls) if call.drops)
    for count in range(first, 0, -1):
        repeated = set(calls[count - 1].gave)
        if len(repeated) > 1:
            continue
        later = []
        for call in calls[count:]:
            if call.given & repeated:
                repeated |= call.gave
                later.append(call)
        whole = all(call.given <= repeated for call in later)
        if whole and all(call in later for call in calls if call.drops):
            return count
    return 0


@keras.saving.register_keras_serializable("ordinal")
class FrozenDropout(keras.layers.Layer):
    """Multiplies the units of pass s by mask s: 0 with the probability `rate`, else 1 / (1 − rate)."""

    def __init__(
        self,
        rate: float,
        passes: int,
        seed: Sequence[int],
        first: bool,
        shared: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        """`first`: rows are not repeated yet; `shared`: axes along which units are dropped together."""
        super().__init__(**kwargs)
        self.rate = rate
        self.passes = passes
        self.seed = list(seed)
        self.first = first
        self.shared = list(shared)

    def call(self, x: KerasTensor) -> KerasTensor:
        """Return `(batch·S, …)`, of `(batch, …)` where it is the first, else of `(batch·S, …)`."""
        units = x.shape[1:]
        drawn = [1 if axis in self.shared else size for axis, size in enumerate(units)]
        kept = np.random.default_rng(self.seed).random((self.passes, *drawn)) >= self.rate
        masks = ops.convert_to_tensor(kept / (1 - self.rate), dtype=x.dtype)
        rows = ops.expand_dims(x, 1) if self.first else ops.reshape(x, (-1, self.passes, *units))
        return ops.reshape(rows * masks, (-1, *units))

    def compute_output_spec(self, x: KerasTensor) -> KerasTensor:
        """Return as many units; how many rows, only the batch knows."""
        return KerasTensor((None, *x.shape[1:]), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        names = ("rate", "passes", "seed", "first", "shared")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("ordinal")
class Repeat(keras.layers.Layer):
    """Gives each pass a copy of its own of a row, next to those of the others."""

    def __init__(self, passes: int, **kwargs: Any) -> None:
        # It copies what it gets, whatever the type.
        super().__init__(**{"autocast": False, **kwargs})
        self.passes = passes

    def call(self, x: KerasTensor) -> KerasTensor:
        """Return `(batch·S, …)` of `(batch, …)`."""
        units = x.shape[1:]
        copies = ops.tile(ops.expand_dims(x, 1), (1, self.passes, *[1 for _ in units]))
        return ops.reshape(copies, (-1, *units))

    def compute_output_spec(self, x: KerasTensor) -> KerasTensor:
        """Return as many units; how many rows, only the batch knows."""
        return KerasTensor((None, *x.shape[1:]), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        return {**super().get_config(), "passes": self.passes}


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
