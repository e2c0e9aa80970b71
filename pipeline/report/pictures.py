"""What the page of a candidate shows beside the figures of `figures.py`, as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluate import Coverage
from pipeline.report.figures import AFTER, BEFORE, GUIDE, placed, titled
from pipeline.report.slices import Column, Slice
from pipeline.sweep.tried import Tried

_LANE, _MOST, _BAND = 0.27, 60, "#d7e2f1"  # inches of a lane, lanes of a picture
_LETTER = 0.072  # inches
_LONGEST = 36  # letters of a name


def trials(tried: Sequence[Tried], chosen: Sequence[Tried], title: str) -> Figure:
    """Return the realised validation cost of all trials, a line for each loss and head, the cheapest first.

    Args:
        tried: All that ended well.
        chosen: Those that were exported, filled.
        title: Which run.
    """
    exported = {one.trial.number for one in chosen}
    lanes: dict[str, list[Tried]] = {}
    for one in sorted(tried, key=lambda one: one.metrics["realised_cost"]):
        lanes.setdefault(str(one.trial.pair), []).append(one)
    shown = dict(list(lanes.items())[:_MOST])
    figure, axes = _lanes(_and_more(title, len(lanes)), list(shown), "realised cost, validation")
    for place, own in enumerate(shown.values()):
        costs = np.array([one.metrics["realised_cost"] for one in own])
        filled = np.array([one.trial.number in exported for one in own])
        axes.scatter(costs[~filled], np.full(np.sum(~filled), place), s=26, color="white", edgecolors=AFTER)
        axes.scatter(costs[filled], np.full(np.sum(filled), place), s=34, color=AFTER)
    return figure


def slices(columns: Sequence[Column], whole: float, title: str) -> Figure:
    """Return the realised cost of each slice with two standard errors, those held back by the gate marked.

    Of more than there is room for, those are shown, and then the dearest.

    Args:
        columns: What parts the rows, of `pipeline.report.slices`.
        whole: Mean cost of all rows, a line across.
        title: Which rows.
    """
    every = [(column.name, one) for column in columns for one in column.slices]
    found = every
    if len(every) > _MOST:
        found = sorted(every, key=lambda each: (not _failed(each[1]), -each[1].cost))[:_MOST]
    names = [f"{name} {one.name}" for name, one in found]
    figure, axes = _lanes(_and_more(title, len(every)), names, "realised cost")
    axes.axvline(whole, color=GUIDE, linewidth=1, zorder=0)
    for place, (_, one) in enumerate(found):
        axes.errorbar(
            one.cost, place, xerr=2 * np.nan_to_num(one.standard_error), fmt="o", markersize=5,
            color=BEFORE if _failed(one) else AFTER, ecolor=GUIDE, elinewidth=2,
        )  # fmt: skip
    axes.set_xlim(left=0)
    return figure


def intervals(
    coverages: Sequence[Coverage], bands: Sequence[tuple[float, float] | None], title: str
) -> Figure:
    """Return the reached coverage of each wanted one, beside where 95 % of such samples lie by chance.

    Args:
        coverages: Of `Evaluation`.
        bands: Of each, see `pipeline.report.bands`.
        title: Which rows.
    """
    names = [f"{100 * one.wanted:g} %, width {one.width:.2f}" for one in coverages]
    figure, axes = _lanes(title, names, "share of labels in their interval")
    for place, (one, own) in enumerate(zip(coverages, bands, strict=True)):
        if own is not None:
            axes.barh(place, own[1] - own[0], left=own[0], height=0.45, color=_BAND, zorder=0)
        outside = own is not None and one.coverage < own[0]
        axes.plot([one.wanted] * 2, [place - 0.34, place + 0.34], color="#1b2a41", linewidth=1.5)
        axes.plot(one.coverage, place, "o", markersize=5.5, color=BEFORE if outside else AFTER)
    axes.set_xlim(right=1.005)
    return figure


def _failed(one: Slice) -> bool:
    """Return whether the gate held a slice back."""
    return one.check is not None and one.check.passed is False


def _and_more(title: str, lanes: int) -> str:
    """Return a title that says how many lanes there is no room for."""
    return f"{title} (and {lanes - _MOST} more)" if lanes > _MOST else title


def _lanes(title: str, names: Sequence[str], across: str) -> tuple[Figure, Axes]:
    """Return axes with a lane for each name, the first on top."""
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    left, below = 0.35 + _LETTER * max(map(len, shown)), 0.5
    height = max(_LANE * len(shown), 0.4)
    figure = titled(title, left + 4.6, below + height + 0.4)
    axes = placed(figure, left, below, (4.3, height))
    axes.set_yticks(range(len(shown)), shown, parse_math=False, fontsize=8.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(across, fontsize=9)
    axes.tick_params(labelsize=8.5, left=False)
    axes.grid(axis="y", color=GUIDE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    axes.use_sticky_edges = False  # a bar at the edge needs room as well
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes
