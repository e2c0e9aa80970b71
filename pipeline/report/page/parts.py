"""The parts of the page below its head, as plain values and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.data import Labels
from pipeline.evaluate import Coverage, Evaluation
from pipeline.gate.words import places
from pipeline.report import figures, reliability
from pipeline.report.page import charts
from pipeline.report.page.charts import Dot
from pipeline.report.page.summary import number
from pipeline.report.page.svg import Scale
from pipeline.report.slices import Column
from pipeline.report.tables import cost_rows
from pipeline.sweep.tried import Calibration, Tried

MOST_CELLS = 4_000
"""Of a matrix that is shown: those of some sixty labels."""
SCORES = ("realised_cost", "expected_cost", "accuracy", "mae", "qwk", "rps", "nll", "ece")


def confusion(
    counts: NDArray[np.int64], labels: Sequence[str], actions: Sequence[str], decides_labels: bool
) -> dict[str, Any]:
    """Return the rows of the confusion matrix, `[true label, action]`: count, share of the label, shade.

    There are none where they would have more cells than anybody reads.
    """
    if counts.size > MOST_CELLS:
        return {"rows": [], "labels": len(labels), "actions": list(actions)}
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = []
    for k, label in enumerate(labels):
        cells = [
            {
                "count": int(counts[k, a]),
                "share": _percent(float(shares[k, a])) if counts[k, a] else "",
                "heat": round(float(np.sqrt(shares[k, a])), 3),  # few errors must be seen too
                "kind": "" if not decides_labels else "right" if k == a else "wrong",
            }
            for a in range(len(actions))
        ]
        rows.append({"label": label, "cells": cells, "rows": int(counts[k].sum())})
    return {"rows": rows, "actions": list(actions), "totals": counts.sum(axis=0).tolist()}


def forecasts(evaluation: Evaluation, default: str) -> dict[str, Any]:
    """Return realised against expected cost of each profile, as a table and as panels."""
    n = places(max(one.realised for one in evaluation.costs.values()))
    rows = [
        {
            "name": row["profile"],
            "default": row["profile"] == default,
            "realised": number(row["realised"], n),
            "expected": number(row["expected"], n),
            "difference": _signed(row["difference"], n),
            "error": number(row["standard_error"], n),
            "far": abs(row["difference"]) > 2 * row["standard_error"],
            "abstained": _percent(evaluation.abstained[row["profile"]])
            if row["profile"] in evaluation.abstained
            else "",
        }
        for row in cost_rows(evaluation.costs)
    ]
    panels = [
        {"name": name, "chart": charts.forecast(one, f"realised over expected cost under {name}")}
        for name, one in evaluation.costs.items()
    ]
    return {"rows": rows, "panels": panels, "abstains": bool(evaluation.abstained)}


def reliabilities(y: NDArray[np.int64], calibration: Calibration, labels: Labels) -> dict[str, Any]:
    """Return a panel for each threshold, on a ring for each half: before and after calibration."""
    topology, names = labels.topology, reliability.events(labels)
    events = np.arange(len(names))
    if topology.kind == "cyclic":
        events = np.flatnonzero(topology.sets().sum(axis=0) == topology.classes // 2)
    shown = events[np.unique(np.linspace(0, len(events) - 1, figures.PANELS).round().astype(int))]
    curves, errors = [], []
    for p in (calibration.before, calibration.after):
        curves.append(metrics.threshold_reliability(y, p, topology))
        errors.append(metrics.threshold_calibration_errors(y, p, topology))
    panels = [
        {
            "name": names[event],
            "before": number(errors[0][event], 3),
            "after": number(errors[1][event], 3),
            "chart": charts.reliability(
                curves[0][event], curves[1][event], f"reliability of {names[event]} before and after"
            ),
        }
        for event in shown.tolist()
    ]
    return {"panels": panels, "of": len(events), "rows": len(y), "ring": topology.kind == "cyclic"}


def trials(tried: Sequence[Tried], chosen: Sequence[Tried]) -> dict[str, Any]:
    """Return the trials, the cheapest first: a lane of dots for each loss on a head, and a table."""
    exported = {one.trial.number for one in chosen}
    scale = Scale.around(one.metrics["realised_cost"] for one in tried)
    ordered = sorted(tried, key=lambda one: (one.metrics["realised_cost"], one.trial.number))
    lanes: dict[str, list[Dot]] = {}
    for one in reversed(ordered):
        cost = one.metrics["realised_cost"]
        kind = "strong" if one.trial.number in exported else "plain"
        lanes.setdefault(str(one.trial.pair), []).append(
            Dot(cost, f"{one.trial.title}: {number(cost)}", kind)
        )
    best_first = sorted(lanes.items(), key=lambda item: min(dot.value for dot in item[1]))
    return {
        "lanes": [{"name": name, "chart": charts.lane(scale, dots)} for name, dots in best_first],
        "axis": charts.axis(scale),
        "scores": [name.replace("_", " ") for name in SCORES],
        "rows": [
            {
                "title": one.trial.title,
                "chosen": one.trial.number in exported,
                "scores": [(one.metrics[name], number(one.metrics[name], 4)) for name in SCORES],
                "seconds": (one.seconds, f"{one.seconds:.1f}"),
            }
            for one in ordered
        ],
    }


def slices(columns: Sequence[Column], whole: float, compared: bool, decides_labels: bool) -> dict[str, Any]:
    """Return what each slice costs, as a lane and in numbers.

    Args:
        columns: What parts the rows.
        whole: Mean cost of all rows.
        compared: Whether there is a champion to differ from.
        decides_labels: Whether the actions are the labels, whose distance the errors then are.
    """
    every = [one for column in columns for one in column.slices]
    spread = [2 * np.nan_to_num(one.standard_error) for one in every]
    ends = [one.cost + by for one, by in zip(every, spread, strict=True)]
    scale = Scale.around([whole, *ends], zero=True)
    tables, n = [], places(whole)
    for column in columns:
        rows = []
        for one in column.slices:
            bar = 2 * float(np.nan_to_num(one.standard_error))
            check = one.check if compared else None
            failed = check is not None and check.passed is False
            told = f"{column.name} {one.name}: {number(one.cost, n)} ± {number(bar, n)}"
            dot = Dot(
                one.cost, told, "warn" if failed else "strong", max(one.cost - bar, 0), one.cost + bar
            )
            rows.append(
                {
                    "name": one.name,
                    "rows": f"{one.rows:,}",
                    "cost": number(one.cost, n),
                    "accuracy": _percent(one.accuracy),
                    "mae": number(one.mae, 3),
                    "difference": _signed(check.numbers["difference"], n) if check else "–",
                    "failed": failed,
                    "chart": charts.lane(scale, [dot], marks=[whole]),
                }
            )
        tables.append({"name": column.name, "rows": rows})
    return {
        "tables": tables,
        "axis": charts.axis(scale),
        "whole": number(whole),
        "compared": compared,
        "decides_labels": decides_labels,
    }


def intervals(coverages: Sequence[Coverage], bands: Sequence[tuple[float, float] | None]) -> dict[str, Any]:
    """Return wanted and reached coverage of each level, with what chance makes of it, and the width."""
    lows = [min(one.coverage, one.wanted, *(own or ())) for one, own in zip(coverages, bands, strict=True)]
    scale = Scale(max(0.0, min(lows) - 0.03), 1.0)
    found = []
    for one, own in zip(coverages, bands, strict=True):
        outside = own is not None and one.coverage < own[0]
        told = f"wanted {_percent(one.wanted)}, reached {_percent(one.coverage)}"
        dot = Dot(one.coverage, told, "warn" if outside else "strong")
        found.append(
            {
                "wanted": f"{100 * one.wanted:g} %",
                "reached": _percent(one.coverage),
                "band": f"{_percent(own[0])} to {_percent(own[1])}" if own else "too few rows",
                "outside": outside,
                "width": number(one.width, 2),
                "chart": charts.lane(scale, [dot], marks=[one.wanted], band=own),
            }
        )
    return {"rows": found, "axis": charts.axis(scale, percent=True)}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if np.isfinite(share) else "–"


def _signed(value: float, digits: int) -> str:
    text = number(value, digits)
    return f"+{text}" if value > 0 else text
