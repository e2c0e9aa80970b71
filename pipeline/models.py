"""Networks: scaling, backbone, head."""

from __future__ import annotations

import keras
from keras import KerasTensor

from pipeline import heads
from pipeline.config import Model, Named
from pipeline.errors import InputError
from serving.manifest import Input


def check(config: Model, spec: Input) -> None:
    """Raise InputError where the backbone cannot read such rows, or passes would not differ."""
    if config.backbone == "cnn" and spec.name != "image":
        raise InputError(
            "model.backbone: 'cnn' needs images, but the data is a table; use 'mlp' or 'linear'"
        )
    if config.passes > 1 and not (config.dropout > 0 and config.hidden and config.backbone != "linear"):
        raise InputError(
            f"model.passes: {config.passes} passes differ by the units that they drop, and this network "
            "drops none; give model.dropout and hidden layers, or passes = 1"
        )


def build(
    config: Model, spec: Input, scaling: keras.layers.Layer, head: Named, classes: int
) -> keras.Model:
    """Return a network from raw rows `(batch, *spec.shape)` to log-probabilities `(batch, K)`."""
    rows = keras.Input(shape=spec.shape, dtype=spec.dtype, name=spec.name)
    features = _backbone(config, scaling(rows))
    log_p = heads.build(head.name, head.parameters, features, classes)
    return keras.Model(rows, log_p, name=f"{config.backbone}_{head.name}")


def _backbone(config: Model, x: KerasTensor) -> KerasTensor:
    match config.backbone:
        case "linear":
            return keras.layers.Flatten()(x)
        case "mlp":
            x = keras.layers.Flatten()(x)
            for units in config.hidden:
                x = keras.layers.Dense(units, activation="relu")(x)
                x = keras.layers.Dropout(config.dropout)(x)
            return x
        case "cnn":
            for filters in config.hidden:
                x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
                x = keras.layers.MaxPooling2D(2, padding="same")(x)
                x = keras.layers.Dropout(config.dropout)(x)
            return keras.layers.Flatten()(x)
