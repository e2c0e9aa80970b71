"""Makes docs/mnist.md of its template and of what `benchmarks/mnist.py` measured, benchmarks/mnist.json."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "benchmarks" / "mnist.json"
TEMPLATE, PAGE = ROOT / "docs" / "mnist.template.md", ROOT / "docs" / "mnist.md"
COLUMNS = {
    "accuracy": ("accuracy", 4),
    "mae": ("MAE", 4),
    "rps": ("RPS", 5),
    "nll": ("NLL", 4),
    "cyclic_mae": ("cyclic MAE", 4),
}
BASELINE = ("cross_entropy", "linear", "{}")


def page() -> str:
    """Return the text of docs/mnist.md."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    text = TEMPLATE.read_text(encoding="utf-8")
    return text.replace("[figures]", _figures(measured)).replace("[differences]", _differences(measured))


def _key(result: dict[str, Any]) -> tuple[str, str, str]:
    return (result["loss"], result["topology"], json.dumps(result["parameters"]))


def _by_loss(measured: dict[str, Any]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Return the results of each loss, one a seed in their order; losses in the order they were tried."""
    first_seen = {_key(result): place for place, result in reversed(list(enumerate(measured["results"])))}
    results = sorted(measured["results"], key=lambda result: (first_seen[_key(result)], result["seed"]))
    return {key: list(group) for key, group in groupby(results, key=_key)}


def _title(key: tuple[str, str, str]) -> str:
    loss, topology, given = key
    parameters = json.loads(given)
    alone = parameters.pop("cross_entropy", 1.0) == 0
    if alone:
        parameters.pop("lam", None)
    shown = ", ".join(f"{name} {value}" for name, value in parameters.items())
    ring = "on a ring" if topology == "cyclic" else ""
    extra = ", ".join(part for part in (shown, "alone" if alone else "", ring) if part)
    return f"`{loss}`" + (f", {extra}" if extra else "")


def _figures(measured: dict[str, Any]) -> str:
    lines = [
        f"| loss | {' | '.join(title for title, _ in COLUMNS.values())} |",
        f"|---|{'---:|' * len(COLUMNS)}",
    ]
    for key, results in _by_loss(measured).items():
        cells = []
        for column, (_, digits) in COLUMNS.items():
            values = [result[column] for result in results]
            cells.append(f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}")
        lines.append(f"| {_title(key)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(measured: dict[str, Any]) -> str:
    lines = [
        f"| loss | {' | '.join(title for title, _ in COLUMNS.values())} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    by_loss = _by_loss(measured)
    baseline = by_loss[BASELINE]
    for key, results in by_loss.items():
        if key == BASELINE:
            continue
        cells = []
        for column in COLUMNS:
            sign = -1 if column == "accuracy" else 1
            better = [sign * (r[column] - b[column]) < 0 for r, b in zip(results, baseline, strict=True)]
            ratio = np.mean([r[column] for r in results]) / np.mean([b[column] for b in baseline])
            change = f"× {ratio:.0f}" if ratio > 2 else f"{100 * (ratio - 1):+.1f} %".replace("-", "−")
            cells.append(f"{change}, {sum(better)} of {len(better)}")
        lines.append(f"| {_title(key)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
