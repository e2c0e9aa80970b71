"""Random rows like those seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
from numpy.typing import NDArray

from serving.manifest import Input, Manifest

Rows = Mapping[str, NDArray[np.generic]]
"""`(batch, *shape)` for each of the manifest's inputs."""

_SOME = 0.1  # of the rows, that have no value or an unknown one


def random_rows(manifest: Manifest, batch: int, random: np.random.Generator) -> Rows:
    """Return rows within the ranges of training; some have gaps or unknown categories, where allowed."""
    return {spec.name: _drawn(spec, batch, random) for spec in manifest.inputs}


def _drawn(spec: Input, batch: int, random: np.random.Generator) -> NDArray[np.generic]:
    """Return `(batch, *shape)`, uniform within the ranges; a tenth of it missing where that is allowed."""
    if spec.dtype == "string":
        return _drawn_texts(spec, batch, random)
    low, high = np.array(spec.ranges, np.float32).T
    share = random.random((batch, *spec.shape), np.float32)
    drawn: NDArray[np.float32] = (1 - share) * low + share * high
    if spec.dtype == "uint8":
        return np.rint(drawn).astype(np.uint8)
    if spec.missing:
        may_miss = np.isin(spec.features, spec.missing)
        drawn[(random.random(drawn.shape) < _SOME) & may_miss] = np.nan
    return drawn


def _drawn_texts(spec: Input, batch: int, random: np.random.Generator) -> NDArray[np.object_]:
    """Return `(batch, features)`: any category; a tenth unknown, then a tenth missing, where allowed."""
    drawn = np.empty((batch, *spec.shape), np.object_)
    absent = np.array(("", *spec.missing_texts), np.object_)
    for feature, (name, categories) in enumerate(zip(spec.features, spec.categories, strict=True)):
        texts = random.choice(np.array(categories, np.object_), batch)
        if spec.unknown_allowed:
            texts[random.random(batch) < _SOME] = _unlike({*categories, *absent})
        if name in spec.missing:
            texts = np.where(random.random(batch) < _SOME, random.choice(absent, batch), texts)
        drawn[:, feature] = texts
    return drawn


def _unlike(known: Set[str]) -> str:
    """Return a text that is not among those."""
    text = "unknown"
    while text in known:
        text += "?"
    return text
