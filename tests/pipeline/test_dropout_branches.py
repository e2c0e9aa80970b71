"""Frozen dropout in networks with branches: a pass is the network with its masks, wherever rows repeat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import trained
from keras import KerasTensor, layers

from pipeline import dropout, ensemble
from pipeline.calibration import Scaling
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.ensemble import Member
from pipeline.export import verify

S, SEED = 5, 11
IMAGES = np.random.default_rng(0).integers(0, 17, (7, 8, 8, 1)).astype(np.uint8)


def _plain(x: KerasTensor) -> KerasTensor:
    """No branch: repeated at the dropout itself."""
    x = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(0.5)(x)
    return layers.Dropout(0.2)(layers.Dense(5)(x))


def _round_a_block(x: KerasTensor) -> KerasTensor:
    """The first block's input goes round its dropout: repeated there."""
    h = layers.Dense(6, name="cut")(layers.Flatten()(x))
    for _ in range(2):
        branch = layers.Dropout(0.5)(layers.Dense(6, activation="relu")(h))
        h = layers.Add()([h, layers.Dense(6)(branch)])
    return h


def _after_a_block(x: KerasTensor) -> KerasTensor:
    """A block without dropout comes first, and is computed once."""
    h = layers.Dense(6)(layers.Flatten()(x))
    h = layers.Add(name="cut")([h, layers.Dense(6, activation="tanh")(h)])
    return layers.Add()([h, layers.Dropout(0.5)(layers.Dense(6)(h))])


def _of_the_rows(x: KerasTensor) -> KerasTensor:
    """The rows themselves go round everything: repeated before the first layer that sees them."""
    flat = layers.Flatten()(x)
    return layers.Concatenate()([layers.Dropout(0.5)(layers.Dense(6)(flat)), layers.Flatten()(x)])


def _of_two_branches(x: KerasTensor) -> KerasTensor:
    """Both drop, and meet: the last tensor that both come from is repeated."""
    h = layers.Flatten(name="cut")(x)
    one = layers.Dropout(0.3)(layers.Dense(4)(h))
    other = layers.Dropout(0.6)(layers.Dense(4)(h))
    return layers.Multiply()([one, other])


def _called_twice(x: KerasTensor) -> KerasTensor:
    """One dropout layer at two places: its masks serve at both."""
    drop, dense = layers.Dropout(0.5), layers.Dense(6, activation="tanh")
    return drop(dense(drop(dense(layers.Dense(6, name="cut")(layers.Flatten()(x))))))


def _maps(x: KerasTensor) -> KerasTensor:
    """Whole maps of a picture are dropped, round which a branch leads."""
    h = layers.Conv2D(3, 3, padding="same", activation="relu", name="cut")(x)
    branch = layers.SpatialDropout2D(0.5)(layers.Conv2D(3, 3, padding="same")(h))
    return layers.Flatten()(layers.Add()([h, branch]) * 0.5)


def _noise_shape(x: KerasTensor) -> KerasTensor:
    """Columns of a picture are dropped together."""
    return layers.Flatten()(layers.Dropout(0.5, noise_shape=(None, 1, None, None))(x))


NETWORKS = (
    _plain,
    _round_a_block,
    _after_a_block,
    _of_the_rows,
    _of_two_branches,
    _called_twice,
    _maps,
    _noise_shape,
)
every_network = pytest.mark.parametrize("backbone", NETWORKS, ids=lambda f: f.__name__.strip("_"))
Backbone = Callable[[KerasTensor], KerasTensor]


def _network(backbone: Backbone) -> keras.Model:
    keras.utils.set_random_seed(0)
    rows = keras.Input((8, 8, 1), dtype="uint8", name="image")
    features = backbone(layers.Rescaling(1 / 16, name="scaling")(rows))
    return keras.Model(rows, layers.Dense(10, activation="log_softmax", dtype="float32")(features))


@keras.saving.register_keras_serializable("tests")
class Masked(layers.Layer):
    """Multiplies by one mask, whatever the row."""

    def __init__(self, mask: np.ndarray, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.mask = mask.astype(np.float32)

    def call(self, x: KerasTensor) -> KerasTensor:
        """Return as many units."""
        return x * self.mask


def _pass(network: keras.Model, number: int) -> keras.Model:
    """The network with the masks of one pass in place of its dropouts, and no row repeated."""
    names = [layer.name for layer in network.layers if isinstance(layer, layers.Dropout)]

    def twin(layer: layers.Layer) -> layers.Layer:
        if layer.name not in names:
            return layer.__class__.from_config(layer.get_config())
        units = list(layer.output.shape[1:])
        if isinstance(layer, layers.SpatialDropout2D):
            units[:2] = [1, 1]
        if layer.noise_shape:
            units[0] = 1
        random = np.random.default_rng([SEED, names.index(layer.name)])
        kept = random.random((S, *units)) >= layer.rate
        return Masked(kept[number] / (1 - layer.rate), name=layer.name)

    copy = keras.models.clone_model(network, clone_function=twin)
    copy.set_weights(network.get_weights())
    return copy


@every_network
def test_each_pass_is_the_network_with_its_masks(backbone: Backbone) -> None:
    """S passes at once are S networks of one pass each, row by row."""
    network = _network(backbone)
    before = network(IMAGES).numpy()
    log_p = dropout.freeze(network, S, SEED)(IMAGES).numpy()
    assert log_p.shape == (7, S, 10)
    for number in range(S):
        np.testing.assert_allclose(log_p[:, number], _pass(network, number)(IMAGES), atol=1e-5)
    assert np.ptp(log_p, axis=1).max() > 0.01
    np.testing.assert_array_equal(network(IMAGES), before)


@every_network
def test_rows_are_repeated_as_late_as_can_be(backbone: Backbone) -> None:
    """What lies before the last tensor that all passes share is computed once a row."""
    network = _network(backbone)
    frozen = dropout.freeze(network, S, SEED)
    named = [layer.name for layer in network.layers]
    once = keras.Model(frozen.inputs[0], [layer.output for layer in frozen.layers])(IMAGES)
    computed = {
        layer.name: len(value) == len(IMAGES)
        for layer, value in zip(frozen.layers, once, strict=True)
        if layer.name in named
    }
    if "cut" in named:
        assert computed["cut"], computed
        assert all(computed[name] for name in named[: named.index("cut") + 1])
        assert not any(computed[name] for name in named[named.index("cut") + 2 :])
    elif backbone is _of_the_rows:
        assert computed["scaling"]
        assert [name for name, alone in computed.items() if alone] == ["image", "scaling"]
    repeats = [layer for layer in frozen.layers if isinstance(layer, dropout.Repeat)]
    assert len(repeats) == (backbone not in (_plain, _noise_shape))


def test_rows_are_repeated_themselves_where_two_layers_see_them() -> None:
    """Then there is no later place that all passes share."""
    rows = keras.Input((4,), name="numeric")
    x = layers.Concatenate()([rows, layers.Dropout(0.5)(layers.Dense(3)(rows))])
    network = keras.Model(rows, layers.Dense(3, activation="log_softmax")(x))
    frozen = dropout.freeze(network, S, SEED)
    values = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    assert frozen.inputs[0].name == "numeric"
    assert [type(layer) for layer in frozen.layers[:2]] == [layers.InputLayer, dropout.Repeat]
    for number in range(S):
        expected = _pass(network, number)(values)
        np.testing.assert_allclose(frozen(values)[:, number], expected, atol=1e-5)


@every_network
def test_the_exported_file_says_what_keras_says(backbone: Backbone, data: Dataset, tmp_path: Path) -> None:
    """Every output, at batches of 1, 3 and 257."""
    config = Config.model_validate(
        {"name": "t", "data": {"source": "digits"}, "model": {"passes": S}, "search": {"trials": 1}}
    )
    model = ensemble.assemble([Member(_network(backbone), S, SEED)], Scaling.none(10))
    exported = trained.write(model, trained.described(config, data), data, tmp_path)
    verify.verify(exported.path, exported.model, exported.conformal, data.features)


def test_a_frozen_network_survives_a_file(tmp_path: Path) -> None:
    """With its masks, whatever was dropped together."""
    for backbone in (_maps, _round_a_block):
        frozen = dropout.freeze(_network(backbone), S, SEED)
        frozen.save(tmp_path / "frozen.keras")
        loaded = keras.saving.load_model(tmp_path / "frozen.keras")
        np.testing.assert_allclose(loaded(IMAGES), frozen(IMAGES), atol=1e-6)
