"""A candidate against the champion, or against what the base rate alone would decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import costs
from pipeline.config import Config
from pipeline.costs import Profile
from pipeline.data import Dataset
from pipeline.gate import calibration, cost, coverage
from pipeline.gate import slices as by_slice
from pipeline.gate.answers import Unanswered, ask
from pipeline.gate.calibration import Forecast
from pipeline.gate.cost import Difference
from pipeline.gate.slices import Column
from pipeline.gate.verdict import Check, Verdict
from serving.artifact import Artifact


def judge(
    config: Config,
    data: Dataset,
    candidate: Artifact,
    champion: Artifact | None,
    *,
    champion_version: int | None,
    left_out: NDArray[np.bool_] | None,
    slices: Mapping[str, NDArray[np.str_]],
    measured: Sequence[Check] = (),
) -> Verdict:
    """Return whether a candidate may become the champion, and why.

    Both answer the test rows under the costs and with the coverage of the config. Without a champion the
    candidate must cost less than the one decision that is best by the labels' shares in the training part.

    Args:
        config: The candidate's.
        data: The candidate's.
        candidate: Made from them.
        champion: Made from any data with the same labels; None where there is none.
        champion_version: Its version.
        left_out: `(test rows,)`, True where the champion was trained on the row; None: not known.
        slices: Of each column of `gate.slices` `(test rows,)`, the text of its value.
        measured: Checks that were made elsewhere; they come last.

    Returns:
        The verdict. A champion that cannot answer these rows is a check that fails.

    Raises:
        Unanswered: The candidate cannot answer its own rows.
        ValueError: `left_out` or a slice has not as many entries as there are test rows.
    """
    test = data.parts.test
    for name, array in (("left_out", left_out), *slices.items()):
        if array is not None and array.shape != test.shape:
            raise ValueError(
                f"{name} must have one entry for each of {len(test)} test rows, got {array.shape}"
            )
    known = champion is not None and left_out is not None
    kept = ~left_out if known and left_out is not None else np.ones(len(test), bool)
    checks = [*_rows(kept, champion, left_out)]
    if kept.any():
        checks += _compared(
            config, data, candidate, champion, test[kept], {name: of[kept] for name, of in slices.items()}
        )
    return Verdict(
        champion_version if champion is not None else None,
        int(np.sum(kept)),
        int(np.sum(~kept)),
        (*checks, *measured),
    )


def uncompared(config: Config, champion: int, error: Exception, measured: Sequence[Check]) -> Verdict:
    """Return the verdict on a candidate whose champion cannot be loaded.

    Args:
        config: The candidate's.
        champion: The version that cannot be loaded.
        error: Says why.
        measured: Checks that were made elsewhere; they come last.
    """
    return Verdict(champion, 0, 0, (_incomparable(config, error), *measured))


def _incomparable(config: Config, error: Exception) -> Check:
    """Return the failed check of a champion that cannot answer."""
    words = (
        f"the champion cannot be compared: {error}; "
        f"`ordinal-pipeline promote {config.name} VERSION --why TEXT` promotes by hand"
    )
    return Check("champion", False, words)


def _rows(
    kept: NDArray[np.bool_], champion: Artifact | None, left_out: NDArray[np.bool_] | None
) -> Sequence[Check]:
    """Return what is to be told of the rows that are compared."""
    total, out = len(kept), int(np.sum(~kept))
    numbers = {"rows": float(total - out), "left_out": float(out)}
    if total == out:
        words = (
            "there is no test row" if not total else f"the champion was trained on all {total} test rows"
        )
        return [Check("rows", False, f"{words}: nothing can be compared", numbers)]
    if champion is not None and left_out is None:
        words = (
            f"it is not known which of the {total} test rows the champion was trained on: "
            "all of them count, which favours the champion"
        )
        return [Check("rows", None, words, numbers)]
    if out:
        words = f"{out} of {total} test rows are left out, since the champion was trained on them"
        return [Check("rows", None, words, numbers)]
    return []


def _compared(
    config: Config,
    data: Dataset,
    candidate: Artifact,
    champion: Artifact | None,
    rows: NDArray[np.int64],
    slices: Mapping[str, NDArray[np.str_]],
) -> list[Check]:
    """Return all checks of one row or more."""
    gate, name, wanted = config.gate, config.decision.profile, config.decision.coverage
    profile = costs.profiles(config.decision, data.labels.topology, data.labels.names)[name]
    y = data.y[rows]
    mine = ask(candidate, data, rows, profile.cost, wanted)
    theirs = None
    if champion is None:
        action = _base_rate(data, profile)
        decision = np.full(len(rows), action)
        other = f" of always {profile.actions[action]!r}, the best decision by base rates,"
    else:
        try:
            theirs = ask(champion, data, rows, profile.cost, wanted)
        except Unanswered as error:
            return [_incomparable(config, error)]
        decision, other = theirs.decision, ""
    paid, before = profile.cost[y, mine.decision], profile.cost[y, decision]
    columns = [
        Column(config.data.label or "label", "label", data.labels.names, y),
        *(Column.of(column, values) for column, values in slices.items()),
    ]
    return [
        cost.check(Difference.of(paid, before, gate.confidence), gate, name, other),
        *by_slice.check(
            paid,
            before,
            columns,
            gate,
            # On the label that it names a constant decision costs nothing, and nobody does better there.
            told_only=theirs is None,
        ),
        calibration.check(
            Forecast.of(y, mine.probabilities),
            None if theirs is None else Forecast.of(y, theirs.probabilities),
            gate,
        ),
        coverage.check(
            y,
            mine.interval,
            data.labels.topology,
            candidate.manifest.interval.rows,
            wanted,
            gate.confidence,
        ),
    ]


def _base_rate(data: Dataset, profile: Profile) -> int:
    """Return the action that costs least where nothing is known but how frequent labels are in training."""
    counts = np.bincount(data.y[data.parts.train], minlength=data.labels.count)
    return int(costs.decide(counts[np.newaxis] / counts.sum(), profile.cost)[0])
