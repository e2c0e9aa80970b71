"""Scaling inside the network, fitted on the training part only."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray


def fit_scaling(seen: NDArray[np.generic]) -> keras.layers.Rescaling:
    """Return the layer that brings rows to a scale that trains well.

    Columns of a table `(rows, F)` get mean 0 and standard deviation 1 (constant ones only the mean);
    images `(rows, height, width, channels)` are divided by the largest absolute pixel.
    The constants become part of the exported graph.
    """
    numbers = seen.astype(np.float64)
    if seen.ndim == 2:
        mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
        scale = 1 / np.where(deviation > 0, deviation, 1)
        return keras.layers.Rescaling(scale.tolist(), (-mean * scale).tolist(), name="scaling")
    return keras.layers.Rescaling(float(1 / max(np.abs(numbers).max(), 1e-12)), name="scaling")
