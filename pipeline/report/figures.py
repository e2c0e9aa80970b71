"""Figures, made without pyplot so that no global state is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def confusion(counts: NDArray[np.int64], labels: Sequence[str], title: str) -> Figure:
    """Return the confusion matrix: shade by share of the true label, number by count.

    Args:
        counts: `(K, K)`, [true label, decision].
        labels: K names in their order.
        title: What was decided, and by which rule.
    """
    classes = len(labels)
    figure = Figure(figsize=(1.9 + 0.46 * classes, 1.5 + 0.46 * classes), layout="constrained", dpi=120)
    axes = figure.subplots()
    rows = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, decided in np.argwhere(counts):
        shade = "white" if shares[true, decided] > 0.5 else "#1b2a41"
        axes.text(decided, true, counts[true, decided], ha="center", va="center", color=shade, fontsize=9)
    rotation = 45 if max(map(len, labels)) > 3 else 0
    axes.set_xticks(range(classes), labels, rotation=rotation, parse_math=False)  # a label may have a $
    axes.set_yticks(range(classes), labels, parse_math=False)
    axes.set(xlabel="decision", ylabel="true label")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true label")
    bar.outline.set_visible(False)
    return figure


def curves(history: dict[str, list[float]], best_epoch: int, title: str) -> Figure:
    """Return training and validation loss over epochs, with the epoch that was kept.

    Args:
        history: Keras' history: one number an epoch under "loss" and "val_loss".
        best_epoch: Counted from 0.
        title: Which trial.
    """
    figure = Figure(figsize=(5.6, 3.4), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot(history["loss"], color="#8aa4c8", label="training")
    axes.plot(history["val_loss"], color="#1f4e8c", label="validation")
    axes.axvline(best_epoch, color="#c05621", linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
    positive = min(history["loss"] + history["val_loss"]) > 0
    axes.set(xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
