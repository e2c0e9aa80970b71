"""Which calibration is kept: what harms neither NLL nor RPS on rows that it was not fitted on (NumPy)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.calibration.scaling import Floats, Scaling, fit_temperature, fit_vector
from pipeline.calibration.undo import MOST_CONDITION, Distortion
from pipeline.topology import Topology

FOLDS = 5
Fit = Callable[[Floats, NDArray[np.integer]], Scaling]


@dataclass(frozen=True)
class Scaled:
    """A scaling that was chosen, and what it makes of the rows that it was chosen on.

    Attributes:
        scaling: Fitted on all rows.
        probabilities: `(rows, K)`, mean over passes, each row by a scaling fitted without it.
    """

    scaling: Scaling
    probabilities: Floats


def choose_scaling(log_p: NDArray[np.floating], y: NDArray[np.integer], topology: Topology) -> Scaled:
    """Return no scaling, temperature or vector scaling: each kept only where it does no harm.

    What comes next takes the place of what there is where, cross-fitted in 5 folds, neither NLL nor RPS
    get worse.

    Args:
        log_p: `(rows, S, K)`, log-probabilities of each pass, without what training distorted.
        y: `(rows,)`, index of the true label.
        topology: Of the labels.
    """
    best = Scaled(Scaling.none(topology.classes), mean_probabilities(log_p))
    for fit in (fit_temperature, fit_vector):
        tried = _cross_fitted(fit, log_p, y)
        if _harmless(tried, best.probabilities, y, topology):
            best = Scaled(fit(np.asarray(log_p, dtype=float), y), tried)
    return best


def choose_undone(
    log_p: NDArray[np.floating], y: NDArray[np.integer], distortion: Distortion, topology: Topology
) -> Distortion:
    """Return those parts of what training distorted that are to be undone, as they do no harm.

    With and without a part are compared after cross-fitted temperature scaling of both, since undoing
    changes how sure probabilities are, and a temperature mends that.

    Args:
        log_p: `(rows, S, K)`, log-probabilities of each pass.
        y: `(rows,)`, index of the true label.
        distortion: What training has done; soft labels above a condition number of 50 are left alone.
        topology: Of the labels.
    """
    kept = Distortion()
    best = _cross_fitted(fit_temperature, log_p, y)
    for part in distortion.parts:
        candidate = distortion.only((*kept.parts, part))
        if candidate.condition > MOST_CONDITION:
            continue
        tried = _cross_fitted(fit_temperature, np.asarray(candidate.undo(log_p)), y)
        if _harmless(tried, best, y, topology):
            kept, best = candidate, tried
    return kept


def _cross_fitted(fit: Fit, log_p: NDArray[np.floating], y: NDArray[np.integer]) -> Floats:
    """Return `(rows, K)` probabilities, those of each fold by a scaling fitted on the others."""
    log_p = np.asarray(log_p, dtype=float)
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    p = np.empty((len(y), log_p.shape[2]))
    for held in range(FOLDS):
        inside = fold == held
        # Of fewer rows than folds all but one are there, and a single row has nothing to be fitted on.
        others = ~inside if not inside.all() else inside
        p[inside] = mean_probabilities(fit(log_p[others], y[others])(log_p[inside]))
    return p


def mean_probabilities(log_p: NDArray[np.floating]) -> Floats:
    """Return the probabilities `(rows, K)` of `(rows, S, K)` log-probabilities, averaged over passes.

    The mean is one of probabilities, not of their logarithms, and is brought to sum 1 after rounding.
    """
    p = np.mean(np.exp(log_p.astype(float)), axis=1)
    return np.asarray(p / np.sum(p, axis=1, keepdims=True))


def _harmless(new: Floats, old: Floats, y: NDArray[np.integer], topology: Topology) -> bool:
    def scores(p: Floats) -> Floats:
        nll = metrics.negative_log_likelihood(y, p)
        return np.array([nll, metrics.ranked_probability_score(y, p, topology)])

    return bool(np.all(scores(new) <= scores(old)))
