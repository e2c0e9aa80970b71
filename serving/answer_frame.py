"""A prediction as a data frame of polars, which only this file and frames.py know of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars

    from serving.answers import Prediction


def answer_frame(answer: Prediction) -> polars.DataFrame:
    """Return a row for each row; `Prediction.to_polars` tells of the columns.

    Raises ImportError where polars is not installed.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError("to_polars needs polars, which is not installed: pip install polars") from error

    def named(indices: NDArray[np.int32], names: Sequence[str]) -> Any:
        return pl.Series(names, dtype=pl.Enum(names)).gather(indices)

    columns: dict[str, Any] = {
        f"p_{label}": one for label, one in zip(answer.labels, answer.probabilities.T, strict=True)
    }
    columns["expected_value"] = answer.expected_value
    columns["resultant"] = answer.resultant
    for name, decision in answer.decisions.items():
        columns[f"decision_{name}"] = named(decision.action, decision.actions)
        columns[f"expected_cost_{name}"] = decision.expected_cost
        columns[f"margin_{name}"] = decision.margin
        columns[f"action_costs_{name}"] = decision.action_costs
    if answer.interval is not None:
        columns["lower"] = named(answer.interval.lower, answer.labels)
        columns["upper"] = named(answer.interval.upper, answer.labels)
    if answer.uncertainty is not None:
        columns["aleatoric"] = answer.uncertainty.aleatoric
        columns["epistemic"] = answer.uncertainty.epistemic
    # What was left out of the answer is None, or has no rows.
    return pl.DataFrame({name: one for name, one in columns.items() if one is not None and len(one)})
