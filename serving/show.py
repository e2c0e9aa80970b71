"""A prediction as text for a terminal."""

from __future__ import annotations

import io
import json
import shutil
import sys
from typing import Any

from serving.answers import Interval, Prediction, Uncertainty


def as_table(answer: Prediction) -> str:
    """Return a table, one line a row, one column for each policy."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=f"{answer.model} version {answer.version}, {answer.provider}")
    table.add_column("row", justify="right")
    table.add_column("most probable")
    table.add_column("probability", justify="right")
    table.add_column("expected value", justify="right")
    if answer.resultant is not None:
        table.add_column("resultant", justify="right")
    if answer.interval is not None:
        table.add_column(f"interval of {answer.interval.coverage:g}")
    if answer.uncertainty is not None:
        table.add_column("aleatoric + epistemic")
    for name in answer.decisions:
        table.add_column(f"{name}: decision (expected cost, margin)")
    for row, label in enumerate(answer.most_probable):
        decided = [
            f"{one.actions[one.action[row]]} ({one.expected_cost[row]:.4g}, {one.margin[row]:.4g})"
            for one in answer.decisions.values()
        ]
        table.add_row(
            str(row),
            label,
            f"{answer.probabilities[row].max():.3f}",
            f"{answer.expected_value[row]:.4g}",
            *([] if answer.resultant is None else [f"{answer.resultant[row]:.3f}"]),
            *([] if answer.interval is None else [" … ".join(answer.interval.ends[row])]),
            *([] if answer.uncertainty is None else [_parts(answer.uncertainty, row)]),
            *decided,
        )
    text = io.StringIO()
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else 200  # a pipe has no width to keep to
    Console(file=text, width=width, force_terminal=terminal, markup=False).print(table)
    return text.getvalue()


def _parts(uncertainty: Uncertainty, row: int) -> str:
    return f"{uncertainty.aleatoric[row]:.3f} + {uncertainty.epistemic[row]:.3f}"


def _interval(interval: Interval) -> dict[str, Any]:
    ends = interval.ends
    return {
        "coverage": interval.coverage,
        "lower": [lower for lower, _ in ends],
        "upper": [upper for _, upper in ends],
    }


def _uncertainty(uncertainty: Uncertainty) -> dict[str, Any]:
    return {
        "aleatoric": uncertainty.aleatoric.tolist(),
        "epistemic": uncertainty.epistemic.tolist(),
    }


def as_json(answer: Prediction) -> str:
    """Return one JSON object on one line; floats are those of the reply."""
    content = {
        "model": answer.model,
        "version": answer.version,
        "provider": answer.provider,
        "labels": answer.labels,
        "probabilities": answer.probabilities.tolist(),
        "expected_value": answer.expected_value.tolist(),
        **({} if answer.resultant is None else {"resultant": answer.resultant.tolist()}),
        "interval": None if answer.interval is None else _interval(answer.interval),
        "uncertainty": None if answer.uncertainty is None else _uncertainty(answer.uncertainty),
        "decisions": {
            name: {
                "actions": one.actions,
                "chosen": one.chosen,
                "expected_cost": one.expected_cost.tolist(),
                "margin": one.margin.tolist(),
            }
            for name, one in answer.decisions.items()
        },
    }
    return json.dumps(content) + "\n"
