"""All metrics of one part of the data: as a whole, label by label, and slice by slice (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.costs import decide
from pipeline.metrics import agreement, calibration, circular, decision_costs, decisions
from pipeline.metrics import probabilities as of_probabilities
from pipeline.metrics.arrays import Costs, Indices, Probabilities, mean
from pipeline.topology import Topology


def score(
    y: Indices,
    probabilities: Probabilities,
    cost: Costs,
    topology: Topology,
    *,
    own_actions: bool = False,
    decision: Indices | None = None,
) -> dict[str, float]:
    """Return every scalar metric of one part, by its name.

    Three decisions are scored:

    - the action, that of least expected cost under `cost` unless it is given: `realised_cost`,
      `expected_cost`, `regret`
    - the mode: `accuracy`, `ece`
    - a label: `mae`, `amae`, `mmae`, `one_off_accuracy`, `qwk`, `linear_kappa`, `minimum_sensitivity`, on a
      line `spearman`, `kendall`, `gmsec`, on a ring `circular_correlation`. It is the action where
      the actions are the labels, else the label of least expected distance, which is the median on a line.

    Of the probabilities alone are `rps` (normalised), `nll`, `brier`, `threshold_ece` (the mean over
    thresholds), `unimodality`, on a line `calibration_slope` and `calibration_intercept`, and on a ring
    `mean_resultant_length`.

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        cost: `(K, A)`, of [true label, action]. The actions are not the labels where A ≠ K.
        topology: Of the K labels.
        own_actions: The actions are not the labels, even if there are K of them.
        decision: `(rows,)`, index of the action that was decided; left out, that of least expected cost.

    Returns:
        Which names there are depends on the topology alone; NaN for what these rows cannot tell.

    Raises:
        ValueError: An index is not that of a label.

    >>> p = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    >>> line = Topology.of(range(3))
    >>> scores = score(np.array([1, 2]), p, line.distances(), line)
    >>> scores["mae"], scores["accuracy"], scores["amae"]  # no row has label 0
    (0.5, 0.5, nan)
    """
    action, label = _decided(probabilities, cost, topology, own_actions, decision)
    scores = {
        "realised_cost": decision_costs.realised_cost(y, action, cost),
        "expected_cost": decision_costs.expected_cost(probabilities, action, cost),
        "regret": decision_costs.regret(y, action, cost),
        "accuracy": decisions.accuracy(y, np.argmax(probabilities, axis=1)),
        "one_off_accuracy": decisions.one_off_accuracy(y, label, topology),
        "mae": decisions.mean_absolute_error(y, label, topology),
        "amae": decisions.average_mean_absolute_error(y, label, topology),
        "mmae": decisions.maximum_mean_absolute_error(y, label, topology),
        "minimum_sensitivity": decisions.minimum_sensitivity(y, label, topology),
        "qwk": agreement.weighted_kappa(y, label, topology, "quadratic"),
        "linear_kappa": agreement.weighted_kappa(y, label, topology, "linear"),
        "rps": of_probabilities.ranked_probability_score(y, probabilities, topology),
        "nll": of_probabilities.negative_log_likelihood(y, probabilities),
        "brier": of_probabilities.brier_score(y, probabilities),
        "ece": calibration.expected_calibration_error(y, probabilities),
        "threshold_ece": calibration.mean_threshold_calibration_error(y, probabilities, topology),
        "unimodality": of_probabilities.unimodality_rate(probabilities, topology),
    }
    if topology.kind == "linear":
        scores["spearman"] = agreement.spearman(y, label, topology)
        scores["kendall"] = agreement.kendall_tau_b(y, label, topology)
        scores["gmsec"] = decisions.gmsec(y, label, topology)
        line = calibration.calibration_line(y, probabilities, topology)
        scores["calibration_slope"], scores["calibration_intercept"] = line
    else:
        scores["circular_correlation"] = circular.circular_correlation(y, label, topology)
        scores["mean_resultant_length"] = circular.mean_resultant_length(probabilities, topology)
    return scores


def by_class(
    y: Indices,
    probabilities: Probabilities,
    cost: Costs,
    topology: Topology,
    *,
    own_actions: bool = False,
    decision: Indices | None = None,
) -> list[dict[str, float]]:
    """Return what happens to the rows of each label, whether it occurs or not.

    - support, decided: rows with this true label, rows for which this label is decided
    - recall, precision, mae: of the decided label, as in `score`
    - realised_cost, regret: mean over the label's rows, of the action under `cost`
    - probability: mean over the label's rows of p_y
    - mean_probability: mean over all rows of p_k, to be compared with support / rows

    Args:
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        cost: `(K, A)`, of [true label, action]. The actions are not the labels where A ≠ K.
        topology: Of the K labels.
        own_actions: The actions are not the labels, even if there are K of them.
        decision: `(rows,)`, index of the action that was decided; left out, that of least expected cost.

    Returns:
        K dicts, in the order of the labels; NaN for what a label without rows cannot tell.

    Raises:
        ValueError: An index is not that of a label.

    >>> p = np.array([[0.75, 0.25], [0.25, 0.75]])
    >>> line = Topology.of(range(2))
    >>> first, second = by_class(np.array([0, 0]), p, line.distances(), line)
    >>> first["support"], first["recall"], first["probability"], second["recall"]
    (2.0, 0.5, 0.5, nan)
    """
    action, label = _decided(probabilities, cost, topology, own_actions, decision)
    recall = decisions.recalls(y, label, topology)
    precision = decisions.precisions(y, label, topology)
    errors = decisions.absolute_errors_by_class(y, label, topology)
    classes = []
    for k in range(topology.classes):
        of_k = y == k
        classes.append(
            {
                "support": float(np.sum(of_k)),
                "decided": float(np.sum(label == k)),
                "recall": float(recall[k]),
                "precision": float(precision[k]),
                "mae": float(errors[k]),
                "realised_cost": decision_costs.realised_cost(y[of_k], action[of_k], cost),
                "regret": decision_costs.regret(y[of_k], action[of_k], cost),
                "probability": mean(probabilities[of_k, k]),
                "mean_probability": mean(probabilities[:, k]),
            }
        )
    return classes


def by_slice(
    groups: NDArray[Any],
    y: Indices,
    probabilities: Probabilities,
    cost: Costs,
    topology: Topology,
    *,
    own_actions: bool = False,
) -> dict[Any, dict[str, float]]:
    """Return the rows and the `score` of each slice of the data, over the full label set.

    Args:
        groups: `(rows,)`, which slice each row is in; values of one type that can be sorted.
        y: `(rows,)`, index of the true label, 0 … K−1.
        probabilities: `(rows, K)`.
        cost: `(K, A)`, of [true label, action].
        topology: Of the K labels.
        own_actions: The actions are not the labels, even if there are K of them.

    Returns:
        `{group value: {"rows": n, **score(...)}}`, values sorted. A label that a slice lacks makes
        NaN of what needs it, such as `amae`.

    Raises:
        ValueError: There are not as many groups as rows, or an index is not that of a label.

    >>> p = np.array([[0.75, 0.25], [0.25, 0.75]])
    >>> line = Topology.of(range(2))
    >>> slices = by_slice(np.array(["north", "south"]), np.array([0, 0]), p, line.distances(), line)
    >>> slices["north"]["rows"], slices["north"]["mae"], slices["south"]["mae"]
    (1.0, 0.0, 1.0)
    """
    if groups.shape != y.shape:
        raise ValueError(f"groups must have one value for each of {len(y)} rows, got shape {groups.shape}")
    values, group = np.unique(groups, return_inverse=True)
    slices = {}
    for index, value in enumerate(values.tolist()):
        rows = group == index
        scores = score(y[rows], probabilities[rows], cost, topology, own_actions=own_actions)
        slices[value] = {"rows": float(np.sum(rows)), **scores}
    return slices


def _decided(
    probabilities: Probabilities,
    cost: Costs,
    topology: Topology,
    own_actions: bool,
    decision: Indices | None,
) -> tuple[Indices, Indices]:
    """Return the action and the label that are decided for each row, `(rows,)` each."""
    action = decide(probabilities, cost) if decision is None else decision
    if own_actions or cost.shape[1] != topology.classes:
        return action, decide(probabilities, topology.distances())
    return action, action
