"""What the decision explorer is given: probabilities and labels of test rows, and costs to begin with."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pipeline.report.answered import Answered
from pipeline.report.page.parts import MOST_CELLS
from pipeline.report.page.summary import label_shares
from serving.manifest import ABSTAIN, Manifest, Profile

MOST_ROWS = 5_000
MOST_NUMBERS = 300_000
"""Probabilities in a page: 1.6 MB of base64, so that the page stays below 2 MB."""
_SEED = 0  # the same rows, the same page


def contents(
    answered: Answered, manifest: Manifest, training: np.typing.NDArray[np.int64]
) -> dict[str, Any] | None:
    """Return what the page embeds as JSON; None where a profile has more costs than anybody edits.

    Args:
        answered: The test rows; of many a sample.
        manifest: Whose profiles are there to begin with.
        training: `(rows,)`, labels of the training part: the best constant action is chosen by them, as the
            gate does.
    """
    rows, classes = answered.probabilities.shape
    if classes * max(len(one.actions) for one in manifest.profiles.values()) > MOST_CELLS:
        return None
    shown = np.arange(rows)
    most = min(MOST_ROWS, MOST_NUMBERS // classes)
    if rows > most:
        shown = np.sort(np.random.default_rng(_SEED).choice(rows, most, replace=False))
    return {
        "labels": list(manifest.labels),
        "ring": manifest.topology.kind == "cyclic",
        "profile": manifest.default_profile,
        "profiles": [_profile(name, one, manifest) for name, one in manifest.profiles.items()],
        "rows": len(shown),
        "of": rows,
        "shares": label_shares(training, classes),
        "probabilities": _base64(answered.probabilities[shown].astype("<f4")),
        "truths": _base64(answered.y[shown].astype("<u2")),
    }


def _profile(name: str, profile: Profile, manifest: Manifest) -> dict[str, Any]:
    """Return a profile, its abstention apart from the other actions."""
    actions, cost = list(profile.actions), [list(row) for row in profile.cost]
    last = {row[-1] for row in cost}
    abstain = None
    if (
        actions[-1] == ABSTAIN
        and profile.actions != manifest.labels
        and len(last) == 1
        and len(actions) > 1
    ):
        abstain, actions, cost = last.pop(), actions[:-1], [row[:-1] for row in cost]
    return {"name": name, "actions": actions, "cost": cost, "abstain": abstain}


def _base64(array: np.typing.NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
