"""How good probabilities and decisions are, over the full label set (NumPy, no I/O).

Labels are indices `0 … K−1`; every matrix is `[true label, decision]`; the topology makes the cyclic twin
of a metric. What rows cannot tell is NaN, never another number under the same name: the error of a
label that does not occur, a correlation with decisions that do not vary.

>>> from pipeline.topology import Topology
>>> y, decision = np.array([0, 0]), np.array([1, 3])
>>> mean_absolute_error(y, decision, Topology.of(range(4)))
2.0
>>> mean_absolute_error(y, decision, Topology.of(range(4), period=4))
1.0
"""

from pipeline.metrics.agreement import kendall_tau_b, spearman, weighted_kappa
from pipeline.metrics.calibration import (
    Reliability,
    calibration_line,
    expected_calibration_error,
    mean_threshold_calibration_error,
    threshold_calibration_errors,
    threshold_reliability,
)
from pipeline.metrics.circular import circular_correlation, mean_resultant_length
from pipeline.metrics.decision_costs import (
    CostForecast,
    cost_forecast,
    expected_cost,
    realised_cost,
    regret,
)
from pipeline.metrics.decisions import (
    accuracy,
    average_mean_absolute_error,
    confusion_matrix,
    gmsec,
    maximum_mean_absolute_error,
    mean_absolute_error,
    minimum_sensitivity,
    one_off_accuracy,
)
from pipeline.metrics.intervals import interval_coverage, mean_interval_width
from pipeline.metrics.probabilities import (
    brier_score,
    negative_log_likelihood,
    ranked_probability_score,
    unimodality_rate,
)
from pipeline.metrics.scores import by_class, by_slice, score

__all__ = [
    "CostForecast",
    "Reliability",
    "accuracy",
    "average_mean_absolute_error",
    "brier_score",
    "by_class",
    "by_slice",
    "calibration_line",
    "circular_correlation",
    "confusion_matrix",
    "cost_forecast",
    "expected_calibration_error",
    "expected_cost",
    "gmsec",
    "interval_coverage",
    "kendall_tau_b",
    "maximum_mean_absolute_error",
    "mean_absolute_error",
    "mean_interval_width",
    "mean_resultant_length",
    "mean_threshold_calibration_error",
    "minimum_sensitivity",
    "negative_log_likelihood",
    "one_off_accuracy",
    "ranked_probability_score",
    "realised_cost",
    "regret",
    "score",
    "spearman",
    "threshold_calibration_errors",
    "threshold_reliability",
    "unimodality_rate",
    "weighted_kappa",
]
