"""Networks: preprocessing, backbone, head."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
from keras import KerasTensor

from pipeline import backbones, dropout, heads, preprocess
from pipeline.config import Model, Named
from pipeline.data import Dataset
from pipeline.errors import InputError


def check(config: Model, data: Dataset) -> None:
    """Raise InputError where the backbone cannot read such rows, or passes would not differ.

    A backbone of the user's own is built, on what preprocessing makes of a row.
    """
    own = backbones.is_own(config.backbone)
    if config.backbone == "cnn" and data.columns:
        raise InputError(
            "model.backbone: 'cnn' needs images, but the data is a table; use 'mlp' or 'linear'"
        )
    drops = config.dropout > 0 and bool(config.hidden) and config.backbone != "linear"
    if own:
        scaled = preprocess.fit(data, config.embedding)(_rows(data))
        shape = tuple(scaled.shape[1:])
        theirs = backbones.check(config.backbone, shape, data.labels.count)
        drops, noisy = dropout.drops(theirs), dropout.noise(theirs)
        if config.passes > 1 and noisy:
            raise InputError(
                f"model.passes: the layer {noisy[0]!r} of {config.backbone!r} cannot be frozen for "
                f"{config.passes} passes; use keras.layers.Dropout in its place, or passes = 1"
            )
    if config.passes > 1 and not drops:
        mend = (
            f"a layer keras.layers.Dropout in {config.backbone!r}"
            if own
            else "model.dropout and hidden layers"
        )
        raise InputError(
            f"model.passes: {config.passes} passes differ by the units that they drop, and this network "
            f"drops none; give {mend}, or passes = 1"
        )


def build(config: Model, data: Dataset, head: Named, dtypes: str = "float32") -> keras.Model:
    """Return a network from rows, as `data.features` has them, to log-probabilities `(batch, K)`.

    What comes before the backbone is fitted on the training part of `data`.

    Args:
        config: The backbone.
        data: Whose rows it takes, and whose labels it tells apart.
        head: By name.
        dtypes: The Keras policy of the backbone, as "mixed_bfloat16"; what comes before it and the head
            compute in float32 in any case.
    """
    rows = _rows(data)
    scaled = preprocess.fit(data, config.embedding)(rows)
    with _policy(dtypes):
        features = _backbone(config, scaled, data.labels.count)
    log_p = heads.build(head.name, head.parameters, features, data.labels.count)
    return keras.Model(rows, log_p, name=f"{config.backbone.rpartition(':')[2]}_{head.name}")


def _rows(data: Dataset) -> KerasTensor:
    return keras.Input(shape=data.features.shape[1:], dtype=data.features.dtype.name, name="rows")


def _backbone(config: Model, x: KerasTensor, classes: int) -> KerasTensor:
    match config.backbone:
        case "linear":
            return keras.layers.Flatten(dtype="float32")(x)  # half precision would only round the rows
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
        case own:
            return backbones.inline(backbones.build(own, tuple(x.shape[1:]), classes), x)


@contextlib.contextmanager
def _policy(dtypes: str) -> Iterator[None]:
    """Give layers that are made inside a Keras policy of their dtypes."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtypes)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
