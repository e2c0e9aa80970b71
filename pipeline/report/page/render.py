"""The report of a candidate: one page that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.evaluate import Evaluation
from pipeline.gate import Verdict
from pipeline.report import slices
from pipeline.report.answered import Answered
from pipeline.report.data import column_rows, label_rows
from pipeline.report.page import explorer, parts, summary, wrong
from pipeline.sweep.tried import Calibration, Tried
from serving.artifact import Artifact

_HERE = Path(__file__).parent
_STYLES = ("style.css", "explorer.css", "media.css")
_SCRIPTS = ("page.js", "decide.js", "code.js", "grid.js", "results.js", "explorer.js")
_MOST_COLUMNS = 200  # of a table, in the list of them


def build(
    *,
    artifact: Artifact,
    evaluation: Evaluation,
    data: Dataset,
    config: Config,
    tried: Sequence[Tried],
    chosen: Sequence[Tried],
    calibration: Calibration,
    verdict: Verdict | None,
    version: int,
    champion: int | None,
    links: Mapping[str, str],
) -> str:
    """Return the report as HTML.

    Args:
        artifact: The candidate.
        evaluation: Of its test rows.
        data: What it was made from.
        config: What was asked for.
        tried: All trials that ended well.
        chosen: Those that answer together.
        calibration: What it made of the validation rows.
        verdict: The gate's; None where it has not been judged.
        version: Of the candidate.
        champion: The version that is the champion now.
        links: Text → URL, relative or absolute.
    """
    manifest, answered = artifact.manifest, Answered.of(artifact, data)
    columns = column_rows(data)
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
        "links": [(text, url) for text, url in links.items() if _harmless(url)],
        "checks": summary.checks(verdict),
        "confusion": parts.confusion(
            evaluation.confusion, manifest.labels, answered.profile.actions, answered.decides_labels
        ),
        "forecasts": parts.forecasts(evaluation, manifest.default_profile),
        "reliability": parts.reliabilities(data.y[data.parts.validation], calibration, data.labels),
        "intervals": parts.intervals(evaluation.coverages, len(answered.y), manifest.interval.rows),
        "slices": parts.slices(
            slices.of(answered, data, config, verdict),
            evaluation.metrics["realised_cost"],
            verdict is not None and verdict.champion is not None,
        ),
        "trials": parts.trials(tried, chosen),
        "wrong": wrong.rows(answered, data),
        "notes": data.notes,
        "label_rows": label_rows(data),
        "columns": columns[:_MOST_COLUMNS],
        "columns_left": len(columns) - _MOST_COLUMNS,
        "explorer": explorer.contents(answered, manifest, data.y[data.parts.train]),
        "style": Markup("\n".join(map(_asset, _STYLES))),
        "script": Markup("\n".join(map(_asset, _SCRIPTS))),
    }
    return _environment().get_template("page.html.j2").render(page)


def _harmless(url: str) -> bool:
    """Return whether a link leads to a page: one of another scheme could be a script."""
    scheme, colon, _ = url.strip().partition(":")
    return not colon or "/" in scheme or scheme.lower() in ("http", "https", "file")


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
