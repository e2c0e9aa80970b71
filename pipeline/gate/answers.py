"""What an artifact says about rows of a data set, though it may have been made from other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Dataset
from pipeline.errors import PipelineError
from serving.artifact import Artifact
from serving.manifest import Input

_HOLDS = {"numeric": "numbers", "categorical": "texts", "image": "images"}


class Unanswered(PipelineError):
    """An artifact cannot answer these rows; the message says why."""


@dataclass(frozen=True)
class Answers:
    """Answers to rows, under one cost matrix and one coverage.

    Attributes:
        probabilities: `(rows, K)`.
        decision: `(rows,)`, index of the action, 0 … A−1.
        interval: `(rows, 2)`, index of the first and of the last label.
    """

    probabilities: NDArray[np.float32]
    decision: NDArray[np.int64]
    interval: NDArray[np.int64]


def ask(
    artifact: Artifact,
    data: Dataset,
    rows: NDArray[np.int64],
    cost: NDArray[np.floating],
    coverage: float,
) -> Answers:
    """Return an artifact's answers to some rows of a data set.

    Args:
        artifact: Whose features may be some of the data's, in another order.
        data: Whose labels it must know, in the same order.
        rows: `(rows,)`, at least one.
        cost: `(K, A)`, of [true label, action]: both sides of a comparison decide under the same costs.
        coverage: Of the intervals, in (0, 1).

    Raises:
        Unanswered: It has other labels, needs columns that the rows lack, or fails on them.
    """
    theirs = artifact.manifest.labels
    if theirs != data.labels.names:
        raise Unanswered(f"its labels are {_listed(theirs)}, these rows have {_listed(data.labels.names)}")
    feed = _feed(artifact.manifest.inputs, data.inputs, data.raw(rows))
    try:
        answer = artifact.run(
            feed, np.asarray(cost, np.float32)[np.newaxis, np.newaxis], np.array([coverage], np.float32)
        )
    except Exception as error:  # onnxruntime raises bare classes of its own for each failure
        raise Unanswered(f"it fails on these rows: {str(error).strip()}") from error
    bad = ~np.isfinite(answer.probabilities).all(axis=1)
    if bad.any():
        raise Unanswered(
            f"its probabilities are no numbers for {np.sum(bad)} of {len(rows)} rows, "
            "as where a value is missing that it needs"
        )
    return Answers(answer.probabilities, answer.decision[:, 0], answer.interval)


def _feed(
    wanted: Sequence[Input], there: Sequence[Input], raw: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays that an artifact wants, picked by name from those that there are."""
    holder = {feature: spec.name for spec in there for feature in spec.features}
    feed: dict[str, NDArray[np.generic]] = {}
    for spec in wanted:
        for feature in spec.features:
            if feature not in holder:
                raise Unanswered(f"it needs the column {feature!r}, which these rows lack")
            if holder[feature] != spec.name:
                raise Unanswered(
                    f"it takes column {feature!r} as {_HOLDS[spec.name]}, "
                    f"and these rows hold {_HOLDS[holder[feature]]}"
                )
        found = {one.name: one for one in there}.get(spec.name)
        if found is None:
            raise Unanswered(f"it takes {_HOLDS[spec.name]}, and these rows hold none")
        if spec.name == "image":
            if (spec.shape, spec.dtype) != (found.shape, found.dtype):
                raise Unanswered(
                    f"it takes {spec.dtype} images of shape {list(spec.shape)}, "
                    f"these are {found.dtype} of {list(found.shape)}"
                )
            feed[spec.name] = raw[spec.name]
            continue
        places = [found.features.index(feature) for feature in spec.features]
        feed[spec.name] = np.ascontiguousarray(raw[spec.name][:, places])
    return feed


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return f"[{shown}, … {len(names) - 12} more]" if len(names) > 12 else f"[{shown}]"
