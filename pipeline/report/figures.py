"""Figures, made without pyplot so that no global state is kept."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.metrics import CostForecast, Reliability

BEFORE, AFTER, GUIDE = "#c05621", "#1f4e8c", "#b8c0cc"
PANELS = 12
_DIAGONAL = np.array([[0, 0], [1, 1]])
_LETTERS, _LINE = 10.5, 0.17  # of a title: letters to an inch, inches of a line


def confusion(
    counts: NDArray[np.int64], labels: Sequence[str], actions: Sequence[str], title: str
) -> Figure:
    """Return the confusion matrix: shade by share of the true label, number by count.

    Args:
        counts: `(K, A)`, [true label, action].
        labels: K names in their order.
        actions: A names in their order.
        title: What was decided, and by which rule.
    """
    # Of hundreds of labels the picture would take gigabytes, and no number could be read.
    side = min(0.46, 30 / max(len(labels), len(actions)))  # inches
    longest = [0.085 * max(map(len, names)) for names in (labels, actions)]  # inches
    rotated = max(map(len, actions)) > 3
    left, below = 0.55 + longest[0], 0.5 + (0.75 * longest[1] if rotated else 0.1)
    cells = (max(side * len(actions), 2.2), side * len(labels))
    figure = titled(title, max(left + cells[0] + 1.2, 5.4), below + cells[1] + 0.45)
    axes = placed(figure, left, below, cells)
    rows = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, decided in np.argwhere(counts) if side > 0.3 else ():
        shade = "white" if shares[true, decided] > 0.5 else "#1b2a41"
        axes.text(decided, true, counts[true, decided], ha="center", va="center", color=shade, fontsize=9)
    rotation = 45 if rotated else 0
    axes.set_xticks(range(len(actions)), actions, rotation=rotation, parse_math=False)  # one may have a $
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set(xlabel="decision", ylabel="true label")
    axes.spines[:].set_visible(False)
    scale = placed(figure, left + cells[0] + 0.15, below + 0.1 * cells[1], (0.12, 0.8 * cells[1]))
    bar = figure.colorbar(picture, cax=scale, label="share of the true label")
    bar.outline.set_visible(False)
    return figure


def curves(history: dict[str, list[float]], best_epoch: int, title: str) -> Figure:
    """Return training and validation loss over epochs, with the epoch that was kept.

    Args:
        history: Keras' history: one number an epoch under "loss" and "val_loss".
        best_epoch: Counted from 0.
        title: Which trial.
    """
    figure = titled(title, 5.6, 3.4)
    axes = placed(figure, 0.95, 0.5, (4.5, 2.55))
    axes.plot(history["loss"], color="#8aa4c8", label="training")
    axes.plot(history["val_loss"], color="#1f4e8c", label="validation")
    axes.axvline(best_epoch, color="#c05621", linewidth=1, linestyle=":", label=f"kept: epoch {best_epoch}")
    positive = min(history["loss"] + history["val_loss"]) > 0
    axes.set(xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def reliability(
    before: Sequence[Reliability], after: Sequence[Reliability], names: Sequence[str], title: str
) -> Figure:
    """Return, for each event, how often it happened over how often it was said to, before and after.

    Points on the diagonal are honest; the larger a point, the more rows. Of more events than there is room
    for, some are shown, evenly chosen.

    Args:
        before: Of each event, before calibration.
        after: Of each event, after it.
        names: What happens, such as "≤ 3".
        title: Which rows.
    """
    shown = np.unique(np.linspace(0, len(names) - 1, PANELS).round().astype(int))
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    side, gap, left, below = 1.35, 0.5, 0.75, 0.65  # inches
    size = (columns * (side + gap) - gap, rows * (side + gap) - gap)
    figure = titled(title, max(left + size[0] + 0.25, 5.4), below + size[1] + 0.7, beside=1.8)
    # All panels in one system of axes, whose unit is an inch: axes for each take twice the time.
    axes = placed(figure, left, below, size)
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    axes.set_axis_off()
    corners = [
        np.array([column * (side + gap), (rows - 1 - row) * (side + gap)])
        for row, column in (divmod(place, columns) for place in range(len(shown)))
    ]
    frame = side * np.array([[0, 1], [0, 0], [1, 0]])
    axes.add_collection(_lines([corner + frame for corner in corners], "black", 0.8))
    axes.add_collection(_lines([corner + side * _DIAGONAL for corner in corners], GUIDE, 1))
    for each, color, label in ((before, BEFORE, "before"), (after, AFTER, "after")):
        points, sizes = [], []
        for corner, event in zip(corners, shown, strict=True):
            curve = each[event]
            seen = curve.rows > 0
            points.append(corner + side * np.stack([curve.forecast[seen], curve.frequency[seen]], axis=1))
            sizes.append(8 + 90 * curve.rows[seen] / max(curve.rows.sum(), 1))
        axes.add_collection(_lines(points, color, 0.8))
        x, y = np.concatenate(points).T
        axes.scatter(x, y, s=np.concatenate(sizes), color=color, label=label, linewidths=0, clip_on=False)
    for corner, event in zip(corners, shown, strict=True):
        axes.text(corner[0], corner[1] + side + 0.06, names[event], fontsize=9, parse_math=False)
        for at in (0, 0.5, 1):
            axes.text(corner[0] + at * side, corner[1] - 0.06, f"{at:g}", fontsize=8, ha="center", va="top")
            axes.text(
                corner[0] - 0.06, corner[1] + at * side, f"{at:g}", fontsize=8, ha="right", va="center"
            )
    figure.supxlabel("said probability", fontsize=9, y=0.02)
    figure.supylabel("share that happened", fontsize=9, x=0.01)
    figure.legend(*axes.get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False, fontsize=9)
    return figure


def _lines(points: Sequence[NDArray[np.floating]], color: str, width: float) -> LineCollection:
    """Return a line through the points, `(points, 2)`, of each panel."""
    return LineCollection(points, colors=color, linewidths=width, zorder=0.5, clip_on=False)


def costs(forecasts: Mapping[str, CostForecast], title: str) -> Figure:
    """Return, for each profile, what decisions cost over what the model expected, in groups of rows.

    Bars are two standard errors. Points below the diagonal: the model feared more than came; above it: it
    was too sure of itself.

    Args:
        forecasts: Of each profile, by name.
        title: Which rows.
    """
    figure, panels = _panels(len(forecasts), title, size=2.5)
    for axes, (name, forecast) in zip(panels, forecasts.items(), strict=True):
        far = float(max(forecast.group_expected.max(), forecast.group_realised.max(), 1e-9)) * 1.08
        axes.plot([0, far], [0, far], color=GUIDE, linewidth=1, zorder=0)
        axes.errorbar(
            forecast.group_expected,
            forecast.group_realised,
            yerr=2 * np.nan_to_num(forecast.group_standard_error),
            fmt="o", markersize=4, color=AFTER, ecolor=GUIDE, elinewidth=1.5,
        )  # fmt: skip
        axes.set(xlim=(-0.03 * far, far), ylim=(-0.03 * far, far))
        axes.set_title(
            f"{name}\nexpected {forecast.expected:.3f}, realised {forecast.realised:.3f}",
            fontsize=9, loc="left", parse_math=False,
        )  # fmt: skip
    figure.supxlabel("expected cost, a tenth of the rows each", fontsize=9, y=0.02)
    figure.supylabel("realised cost", fontsize=9, x=0.01)
    return figure


def _panels(count: int, title: str, size: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels, four in a row."""
    columns = min(count, 4)
    rows = -(-count // columns)
    width, height = max(size * columns, 5) + 0.4, size * rows + 0.9
    figure = titled(title, width, height)
    left, below, gap = 0.7, 0.6, 0.45
    cell = ((width - left) / columns - gap, (height - below - 0.3) / rows - gap)
    panels = []
    for place in range(count):
        row, column = divmod(place, columns)
        at = (left + column * (cell[0] + gap), below + (rows - 1 - row) * (cell[1] + gap))
        axes = placed(figure, *at, cell)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        panels.append(axes)
    return figure, panels


def titled(title: str, width: float, height: float, beside: float = 0.0) -> Figure:
    """Return a figure of so many inches, higher by the lines that its title has after the first.

    Args:
        title: Is wrapped by its letters, since to measure it means drawing it.
        width: In inches.
        height: In inches, with room for one line above what is drawn.
        beside: Inches to the right of the title that are left free.
    """
    lines = textwrap.wrap(title, int(_LETTERS * (width - beside)))
    height += _LINE * (len(lines) - 1)
    figure = Figure(figsize=(width, height), dpi=120)
    top = 1 - 0.06 / height
    figure.suptitle("\n".join(lines), fontsize=10, x=0.01, y=top, ha="left", va="top", parse_math=False)
    return figure


def placed(figure: Figure, left: float, below: float, size: tuple[float, float]) -> Axes:
    """Return axes with a place in inches: to find one by what is in it means drawing all of it twice."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, below / height, size[0] / width, size[1] / height))
