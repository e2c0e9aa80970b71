"""The report of a candidate: one page that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.data import Dataset
from pipeline.evaluate import Evaluation
from pipeline.gate import Verdict
from pipeline.report.data import column_rows, label_rows
from pipeline.report.page import explorer, parts, summary, wrong
from pipeline.report.tested import Tested
from pipeline.sweep.tried import Calibration, Tried
from serving.manifest import Manifest

_HERE = Path(__file__).parent
_STYLES = ("style.css", "explorer.css", "media.css")
_EXPLORER = ("decide.js", "code.js", "grid.js", "results.js", "explorer.js")
_MOST_COLUMNS = 200  # of a table, in the list of them


def build(
    *,
    manifest: Manifest,
    tested: Tested,
    evaluation: Evaluation,
    data: Dataset,
    tried: Sequence[Tried],
    chosen: Sequence[Tried],
    calibration: Calibration,
    verdict: Verdict | None,
    version: int,
    champion: int | None,
) -> str:
    """Return the report as HTML.

    Args:
        manifest: The candidate's.
        tested: What it answers to test rows.
        evaluation: Of the same rows.
        data: What it was made from.
        tried: All trials that ended well.
        chosen: Those that answer together.
        calibration: What it made of the validation rows.
        verdict: The gate's; None where it has not been judged.
        version: Of the candidate.
        champion: The version that is the champion now.
    """
    answered, columns = tested.answered, column_rows(data)
    explored = explorer.contents(answered, manifest, data.y[data.parts.train])
    page: dict[str, Any] = {
        "name": manifest.name,
        "version": version,
        "labels": manifest.labels,
        "profile": manifest.default_profile,
        "rows": len(answered.y),
        "badge": summary.badge(verdict, version, champion),
        "reasons": summary.reasons(verdict),
        "figures": summary.figures(evaluation, answered, manifest.default_profile, verdict),
        "facts": summary.facts(manifest, data),
        "checks": summary.checks(verdict),
        "confusion": parts.confusion(
            evaluation.confusion, manifest.labels, answered.profile.actions, answered.decides_labels
        ),
        "forecasts": parts.forecasts(evaluation, manifest.default_profile),
        "reliability": parts.reliabilities(data.y[data.parts.validation], calibration, data.labels),
        "intervals": parts.intervals(evaluation.coverages, tested.bands),
        "slices": parts.slices(
            tested.columns,
            evaluation.metrics["realised_cost"],
            verdict is not None and verdict.champion is not None,
            answered.decides_labels,
        ),
        "trials": parts.trials(tried, chosen),
        "wrong": wrong.rows(answered, data),
        "notes": data.notes,
        "label_rows": label_rows(data),
        "columns": columns[:_MOST_COLUMNS],
        "columns_left": len(columns) - _MOST_COLUMNS,
        "explorer": explored,
        "style": Markup("\n".join(map(_asset, _STYLES))),
        "script": Markup("\n".join(map(_asset, ("page.js", *(_EXPLORER if explored else ()))))),
    }
    return _environment().get_template("page.html.j2").render(page)


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,  # labels, columns and values are anybody's text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8")
