"""Backbones of one's own: `backbone = "backbones:residual"` in a config beside this file.

A function is given the shape of a row and the number of labels, and returns a Keras model of rows to
features; the head that makes log-probabilities of them comes with the loss. What is written here is part of
the network like any other layer: it is trained in mixed precision on a GPU, its dropout serves for
MC dropout, and it is exported.
"""

from __future__ import annotations

import math

import keras

BLOCKS = 3
UNITS = 64
DROPOUT = 0.2


def residual(shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return an MLP whose blocks add to what they are given: h ← h + W₂·relu(W₁·norm(h)).

    A block that has learned nothing yet changes little, so that several of them train as easily as one.

    Args:
        shape: Of a row, scaled: `(units,)` of a table, `(height, width, channels)` of images, which are
            flattened.
        classes: K; a backbone with more labels to tell apart might have more units.

    Returns:
        `(batch, *shape)` to `(batch, UNITS)`.

    Reference:
        Gorishniy, Rubachev, Khrulkov, Babenko, Revisiting deep learning models for tabular data,
        NeurIPS 2021.
    """
    del classes
    rows = keras.Input(shape)
    h = keras.layers.Reshape((math.prod(shape),))(rows)
    h = keras.layers.Dense(UNITS)(h)
    for _ in range(BLOCKS):
        branch = keras.layers.LayerNormalization()(h)
        branch = keras.layers.Dense(2 * UNITS, activation="relu")(branch)
        branch = keras.layers.Dropout(DROPOUT)(branch)
        branch = keras.layers.Dense(UNITS)(branch)
        h = keras.layers.Add()([h, branch])
    return keras.Model(rows, keras.layers.Activation("relu")(keras.layers.LayerNormalization()(h)))
