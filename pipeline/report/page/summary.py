"""What the head of the page says: which candidate, what became of it, how good it is; and the checks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.data import Dataset
from pipeline.evaluate import Evaluation
from pipeline.gate import Check, Verdict
from pipeline.gate.words import places
from pipeline.report.answered import Answered, standard_error
from serving.manifest import Manifest

_STATES = {True: "pass", False: "fail", None: "told"}
_SLICE = "slice: "
_BEGIN = frozenset(("an", "calibration", "costs", "intervals", "it", "label", "one", "so", "the", "there"))
_FIGURES = (
    ("accuracy", "Accuracy", "share whose most probable label is true"),
    ("mae", "MAE", "mean steps between {label} and truth"),
    ("qwk", "QWK", "quadratic weighted kappa{of}; 1 is perfect"),
    ("rps", "RPS", "ranked probability score; 0 is perfect"),
    ("ece", "ECE", "calibration error; 0 is honest"),
)


def number(value: float, digits: int | None = None) -> str:
    """Return a number for reading, as a verdict says it unless digits are given; a dash for none.

    >>> number(0.25), number(-0.01234, 4), number(float("nan"))
    ('0.250', '−0.0123', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:.{places(abs(value)) if digits is None else digits}f}".replace("-", "−")


def badge(verdict: Verdict | None, version: int, champion: int | None) -> dict[str, str]:
    """Return what became of the candidate: its kind, the word on the badge, and a sentence beside it."""
    rival = f"version {champion} is the champion" if champion is not None else "there is no champion"
    if champion == version:
        return {"kind": "pass", "word": "Promoted", "told": "It is the champion."}
    if verdict is None:
        return {"kind": "told", "word": "Not judged", "told": f"The gate has not seen it; {rival}."}
    if verdict.passed:
        return {"kind": "told", "word": "Passed, not promoted", "told": f"The gate let it pass; {rival}."}
    return {"kind": "fail", "word": "Not promoted", "told": f"The gate held it back; {rival}."}


def reasons(verdict: Verdict | None) -> list[str]:
    """Return why, in short: all that failed, or that it costs less; the checks have the rest."""
    if verdict is None:
        return []
    return [sentence(words) for words in (verdict.reasons[:1] if verdict.passed else verdict.reasons)]


def sentence(words: str) -> str:
    """Return what a check says as a sentence; the name of a column or a model keeps its first letter.

    >>> sentence("costs more"), sentence("quality '3' costs more")
    ('Costs more.', "quality '3' costs more.")
    """
    first = words.partition(" ")[0]
    return f"{words[:1].upper() if first in _BEGIN else words[:1]}{words[1:]}."


def figures(
    evaluation: Evaluation, answered: Answered, profile: str, verdict: Verdict | None
) -> list[dict[str, str]]:
    """Return the key figures on test rows; the realised cost comes first, with what it is compared with."""
    cost = evaluation.metrics["realised_cost"]
    error = number(standard_error(answered.paid), places(cost))
    note = f"a row under {profile}, ± {error} standard error"
    versus = ""
    check = {one.name: one for one in verdict.checks}.get("cost") if verdict else None
    if verdict and check and "champion" in check.numbers:
        other = "the base rate" if verdict.champion is None else f"version {verdict.champion}"
        versus = f"{other}: {number(check.numbers['champion'])}"
    words = {"label": "decision", "of": ""}
    if not answered.decides_labels:
        words = {"label": "the label of least expected distance", "of": " of the same label"}
    return [
        {"name": "Realised cost", "value": number(cost), "note": note, "versus": versus},
        *(
            {
                "name": name,
                "value": number(evaluation.metrics[key], 3),
                "note": note.format(**words),
                "versus": "",
            }
            for key, name, note in _FIGURES
        ),
    ]


def facts(manifest: Manifest, data: Dataset) -> list[tuple[str, str]]:
    """Return what the candidate is, as terms and texts."""
    parts = " · ".join(f"{len(rows):,} {part}" for part, rows in vars(data.parts).items())
    provenance = manifest.provenance
    found = [
        ("Labels", manifest.order),
        ("Trained with", _members(manifest)),
        ("Decides by", f"{manifest.default_profile} cost"),
        ("Calibration", _calibration(manifest)),
        ("Rows", parts),
        ("Made", f"{provenance.created:%Y-%m-%d %H:%M} UTC"),
        ("Code", provenance.git_commit[:12]),
        ("Data", provenance.data_fingerprint[:12]),
    ]
    if provenance.refitted:
        found.insert(2, ("Refitted", "once more, on the rows of training and validation"))
    return found


def _members(manifest: Manifest) -> str:
    counts = Counter(
        f"{_with(one.loss.name, one.loss.parameters)} on {_with(one.head.name, one.head.parameters)}"
        for one in manifest.members
    )
    told = ", ".join(f"{n} × {what}" if n > 1 else what for what, n in counts.items())
    return f"{told}; {manifest.passes} answers averaged" if manifest.passes > 1 else told


def _with(name: str, parameters: Mapping[str, Any]) -> str:
    given = ", ".join(
        f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in parameters.items()
        if not isinstance(value, (list, tuple, dict))  # a matrix is no title
    )
    return f"{name} ({given})" if given else name


def _calibration(manifest: Manifest) -> str:
    calibration = manifest.calibration
    match calibration.method:
        case "none":
            return "none: no scaling helped"
        case "temperature":
            return f"temperature {1 / calibration.slopes[0]:.3f}"
        case "vector":
            return "vector scaling"


def checks(verdict: Verdict | None) -> dict[str, Any]:
    """Return the checks of the gate, those of slices apart, the failed ones of them first."""
    if verdict is None:
        return {"main": [], "slices": [], "told": ""}
    main = [check for check in verdict.checks if not check.name.startswith(_SLICE)]
    slices = [check for check in verdict.checks if check.name.startswith(_SLICE)]
    other = "the base-rate forecast" if verdict.champion is None else f"version {verdict.champion}"
    out = f", {verdict.left_out} left out that it was trained on" if verdict.left_out else ""
    failed = sum(check.passed is False for check in slices)
    told = f"Compared with {other} on {verdict.rows:,} test rows{out}."
    if not verdict.rows or any(check.name == "champion" for check in main):
        told = f"It could not be compared with {other}{out}."
    return {
        "main": [_check(check) for check in main],
        "slices": [_check(check) for check in sorted(slices, key=lambda one: one.passed is not False)],
        "failed": failed,
        "judged": sum(check.passed is not None for check in slices),
        "told": told,
    }


def _check(check: Check) -> dict[str, str]:
    return {
        "name": check.name.removeprefix(_SLICE),
        "words": check.words,
        "state": _STATES[check.passed],
    }


def label_shares(y: np.typing.NDArray[np.int64], classes: int) -> Sequence[float]:
    """Return how frequent each label is, `(K,)`."""
    counts = np.bincount(y, minlength=classes)
    shares: list[float] = (counts / max(int(counts.sum()), 1)).tolist()
    return shares
