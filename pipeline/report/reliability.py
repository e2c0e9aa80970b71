"""Reliability of the cumulative probabilities before and after calibration, as a picture and as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.data import Labels
from pipeline.report import figures


def picture(
    y: NDArray[np.int64],
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    labels: Labels,
    title: str,
) -> Figure:
    """Return the reliability of P(y ≤ k) for each threshold; on a ring of each half of it.

    Args:
        y: `(rows,)`, index of the true label.
        before: `(rows, K)`, probabilities before calibration.
        after: `(rows, K)`, after it.
        labels: Their names and arrangement.
        title: Which rows.
    """
    topology, names = labels.topology, events(labels)
    shown = np.arange(len(names))
    if topology.kind == "cyclic":  # its arcs are too many, and halves are what thresholds are on a line
        shown = np.flatnonzero(topology.sets().sum(axis=0) == topology.classes // 2)
    curves = [metrics.threshold_reliability(y, p, topology) for p in (before, after)]
    before_it, after_it = ([curve[event] for event in shown] for curve in curves)
    return figures.reliability(before_it, after_it, [names[event] for event in shown], title)


def rows(
    y: NDArray[np.int64], before: NDArray[np.floating], after: NDArray[np.floating], labels: Labels
) -> list[dict[str, Any]]:
    """Return the rows of a table: one for each event, before or after, and bin that is not empty."""
    curves = {
        "before": metrics.threshold_reliability(y, before, labels.topology),
        "after": metrics.threshold_reliability(y, after, labels.topology),
    }
    return [
        {
            "event": name,
            "calibration": when,
            "rows": int(curve[event].rows[b]),
            "forecast": float(curve[event].forecast[b]),
            "frequency": float(curve[event].frequency[b]),
        }
        for event, name in enumerate(events(labels))
        for when, curve in curves.items()
        for b in np.flatnonzero(curve[event].rows)
    ]


def events(labels: Labels) -> list[str]:
    """Return the name of each of `Topology.sets`: "≤ 3" on a line, "2 … 5" of an arc."""
    if labels.topology.kind == "linear":
        return [f"≤ {name}" for name in labels.names[:-1]]
    arcs = [np.flatnonzero(inside) for inside in labels.topology.sets().T]
    return [
        labels.names[arc[0]] if len(arc) == 1 else f"{labels.names[arc[0]]} … {labels.names[arc[-1]]}"
        for arc in arcs
    ]
