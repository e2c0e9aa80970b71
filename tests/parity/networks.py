"""Networks written out in float64 from the formulas: rows → probabilities of each pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import expit, ndtr

from pipeline.calibration import Scaling
from pipeline.calibration.undo import LEAST
from pipeline.config import Named
from pipeline.ensemble import Member

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Written:
    """A network of an artifact, and the head that is on it."""

    member: Member
    head: Named


def passes(members: Sequence[Written], scaling: Scaling, rows: NDArray[np.generic]) -> Floats:
    """Return the calibrated probabilities of each pass of each member, `(rows, S, K)`."""
    answers = [
        _scaled(_undone(_answer(one, rows, number), one.member), scaling)
        for one in members
        for number in range(one.member.passes)
    ]
    return np.stack(answers, axis=1)


def _answer(written: Written, rows: NDArray[np.generic], number: int) -> Floats:
    """Return what a member says in its pass of that number, `(rows, K)`."""
    x = rows.astype(np.float64)
    place = 0  # of a dropout among those of the network
    of_head: dict[str, keras.layers.Layer] = {}
    for layer in written.member.model.layers:
        if of_head or layer.name in ("logits", "score", "log_odds", "steps"):
            of_head[layer.name] = layer
            continue
        match layer:
            case keras.layers.InputLayer():
                pass
            case keras.layers.Rescaling():
                x = x * np.array(layer.scale) + np.array(layer.offset)
            case keras.layers.Flatten():
                x = x.reshape(len(x), -1)
            case keras.layers.Dense():
                x = np.maximum(_dense(layer, x), 0)
            case keras.layers.Conv2D():
                x = np.maximum(_convolved(layer, x), 0)
            case keras.layers.MaxPooling2D():
                x = _pooled(x)
            case keras.layers.Dropout():
                if written.member.passes > 1:
                    x = x * _mask(written.member, layer.rate, place, x.shape[1:])[number]
                    place += 1
            case _:
                raise AssertionError(f"nobody has written out {layer}")
    return _head(written.head, of_head, x)


def _weights(layer: keras.layers.Layer) -> list[Floats]:
    return [weight.astype(np.float64) for weight in layer.get_weights()]


def _dense(layer: keras.layers.Layer, x: Floats) -> Floats:
    kernel, *bias = _weights(layer)
    return np.asarray(x @ kernel + (bias[0] if bias else 0.0))


def _convolved(layer: keras.layers.Layer, x: Floats) -> Floats:
    """Return Σ over the 3 × 3 pixels round each one, those beyond the border being 0."""
    kernel, bias = _weights(layer)
    _, height, width, _ = x.shape
    wide = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    total = np.zeros((*x.shape[:3], len(bias))) + bias
    for down in range(3):
        for right in range(3):
            total += wide[:, down : down + height, right : right + width] @ kernel[down, right]
    return total


def _pooled(x: Floats) -> Floats:
    """Return the largest of each 2 × 2 pixels, of fewer at an odd border."""
    rows, height, width, channels = x.shape
    down, right = -(-height // 2), -(-width // 2)
    whole = np.full((rows, 2 * down, 2 * right, channels), -np.inf)
    whole[:, :height, :width] = x
    return np.asarray(whole.reshape(rows, down, 2, right, 2, channels).max(axis=(2, 4)))


def _mask(member: Member, rate: float, place: int, units: tuple[int, ...]) -> Floats:
    """Return what each pass multiplies units by, `(S, …)`: 0 for a share of `rate`, else 1/(1 − rate)."""
    kept = np.random.default_rng([member.seed, place]).random((member.passes, *units)) >= rate
    return kept / (1 - rate)


def _head(head: Named, layers: Mapping[str, keras.layers.Layer], h: Floats) -> Floats:
    """Return the probabilities `(rows, K)` of features h, `(rows, units)`."""
    first, *others = layers.values()
    z = _dense(first, h)
    match head.name:
        case "softmax":
            return _softmax(z)
        case "cumulative" | "coral":
            start, gaps = _weights(others[0])
            return _cumulative(z, start, gaps, head.parameters.get("link", "logit"))
        case "conditional":
            return _steps(expit(z))
        case "stick_breaking":
            return _steps(1 - expit(z))
        case "binomial":
            return _binomial(expit(z[:, 0]), others[0].classes)
        case "poisson":
            (raw,) = _weights(others[0])
            return _poisson(np.log1p(np.exp(z[:, 0])), math.log1p(math.exp(raw)), others[0].classes)
        case "unimodal":
            r = np.cumsum(np.concatenate([z[:, :1], np.abs(z[:, 1:])], axis=1), axis=1)
            return _softmax(-np.abs(r))
        case _:
            raise AssertionError(f"nobody has written out {head}")


def _softmax(z: Floats) -> Floats:
    weight = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _cumulative(score: Floats, start: Floats, gaps: Floats, link: str) -> Floats:
    """Return p_k = F_k − F_{k−1}, F_k = g⁻¹(θ_k − f), θ_k = θ_{k−1} + softplus(a_k)."""
    theta = np.concatenate([start, start + np.cumsum(np.log1p(np.exp(gaps)), axis=1)], axis=1)
    inverse: dict[str, Any] = {"logit": expit, "probit": ndtr, "cloglog": lambda s: 1 - np.exp(-np.exp(s))}
    below = inverse[link](theta - score)  # (rows, K−1)
    return np.diff(below, axis=1, prepend=0, append=1)


def _steps(further: Floats) -> Floats:
    """Return the probabilities of P(y > k) = Π_{j≤k} further_j."""
    above = np.cumprod(further, axis=1)
    return np.asarray(-np.diff(above, axis=1, prepend=1, append=0))


def _binomial(s: Floats, classes: int) -> Floats:
    n = classes - 1
    columns = [math.comb(n, k) * s**k * (1 - s) ** (n - k) for k in range(classes)]
    return np.stack(columns, axis=1)


def _poisson(rate: Floats, temperature: float, classes: int) -> Floats:
    columns = [(k * np.log(rate) - rate - math.lgamma(k + 1)) / temperature for k in range(classes)]
    return _softmax(np.stack(columns, axis=1))


def _undone(p: Floats, member: Member) -> Floats:
    """Return p without soft labels, by least squares with q ≥ 0, and then without class weights."""
    if member.undone.soft_labels is not None:
        q = np.array([nnls(member.undone.soft_labels.T, row)[0] for row in p])
        p = (1 - LEAST) * q / q.sum(axis=1, keepdims=True) + LEAST / p.shape[1]
    if member.undone.class_weights is not None:
        q = p / member.undone.class_weights
        p = q / q.sum(axis=1, keepdims=True)
    return p


def _scaled(p: Floats, scaling: Scaling) -> Floats:
    """Return p^slope · e^offset, brought to sum 1."""
    weight = p**scaling.slopes * np.exp(scaling.offsets)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))
