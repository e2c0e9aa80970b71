"""What a run was given and what its trials reached, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.evaluate import Evaluation
from pipeline.metrics import CostForecast
from pipeline.sweep import Trial
from pipeline.sweep.tried import Tried
from serving.manifest import Calibration

if TYPE_CHECKING:
    import keras


def parameters(config: Config, data: Dataset) -> dict[str, Any]:
    """Return the parameters of a whole run: the config's keys, flat, and what the data is."""
    flat = {
        f"{section}.{key}": value
        for section, keys in config.model_dump(exclude={"name", "tracking"}).items()
        for key, value in keys.items()
    }
    flat["decision.profiles"] = list(config.decision.profiles)  # matrices may be longer than MLflow takes
    parts = {f"rows.{part}": len(rows) for part, rows in vars(data.parts).items()}
    return {**flat, **parts, "labels": list(data.labels.names), "data.fingerprint": data.fingerprint}


def trial_parameters(
    config: Config, data: Dataset, trial: Trial, built: keras.losses.Loss
) -> dict[str, Any]:
    """Return the parameters of one trial; those of its loss as `built` has them, defaults included."""
    loss = {
        f"loss.{key}": value
        for key, value in built.get_config().items()
        if key not in {"name", "reduction", "dtype", "values", "period", "cost"}
    }
    if trial.loss.name == "expected_cost":  # a matrix may be longer than what MLflow takes
        given = trial.loss.parameters.get("cost", config.decision.profile)
        loss["loss.cost"] = given if isinstance(given, str) else "a matrix of the config"
    if trial.loss.name == "expected_value":
        # Comparable between data sets: λ in units of the longest way, from end to end or across the circle.
        values, period = data.labels.topology.values, data.labels.topology.period
        span = values[-1] - values[0] if period is None else period / math.pi
        loss["loss.lam_scaled"] = loss["loss.lam"] * span**2
    return {
        "loss": trial.loss.name,
        **loss,
        "loss.proper": built.proper,
        "head": trial.head.name,
        **{f"head.{key}": value for key, value in trial.head.parameters.items()},
        "seed": trial.seed,
        **{f"model.{key}": value for key, value in config.model.model_dump().items()},
        **{
            f"search.{key}": getattr(config.search, key)
            for key in ("epochs", "patience", "batch_size", "learning_rate")
        },
    }


def comparison(trials: Sequence[tuple[str, dict[str, float], float, bool]]) -> str:
    """Return a Markdown table of trials, the cheapest first.

    Args:
        trials: Title, validation metrics, seconds, and whether it was chosen, of each.
    """
    names = ("realised_cost", "expected_cost", "accuracy", "mae", "qwk", "rps", "nll", "ece")
    lines = [
        f"| trial | {' | '.join(name.replace('_', ' ') for name in names)} | seconds |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for title, scores, seconds, chosen in sorted(trials, key=lambda trial: trial[1]["realised_cost"]):
        numbers = " | ".join(f"{scores[name]:.4f}" for name in names)
        lines.append(f"| {f'**{title}**' if chosen else title} | {numbers} | {seconds:.1f} |")
    chosen_ones = sum(chosen for *_, chosen in trials)
    which = "the trial in bold was exported" if chosen_ones == 1 else "those in bold were exported as one"
    return "\n".join([*lines, "", f"On the validation part, calibrated; {which}."])


def choice(tried: Sequence[Tried], chosen: Sequence[Tried], profile: str) -> str:
    """Return in one sentence which trials were exported, and why.

    Args:
        tried: All that ended well, the best first.
        chosen: Those that answer together, the best first.
        profile: Of the costs.
    """
    best = chosen[0]
    others = f", with the next {len(chosen) - 1} in an ensemble" if len(chosen) > 1 else ""
    return (
        f"lowest realised validation cost of {len(tried)} trials: "
        f"{best.metrics['realised_cost']:.4f} ({profile}), {best.trial.title}{others}"
    )


def trust(calibration: Calibration, evaluation: Evaluation) -> str:
    """Return in Markdown how far the artifact's probabilities, costs and intervals can be believed."""
    lines = ["### Calibration", "", _in_words(calibration), ""]
    if calibration.before and calibration.after:
        lines += ["| on validation rows | nll | rps | ece | threshold ece |", "|---|---:|---:|---:|---:|"]
        for name, quality in (("before", calibration.before), ("after", calibration.after)):
            numbers = " | ".join(f"{value:.4f}" for value in quality.model_dump().values())
            lines.append(f"| {name} | {numbers} |")
    lines += [
        "",
        "### Expected and realised cost",
        "",
        "| on test rows | expected | realised | realised − expected | standard error |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in cost_rows(evaluation.costs):
        lines.append(
            f"| {row['profile']} | {row['expected']:.4f} | {row['realised']:.4f} | "
            f"{row['difference']:+.4f} | {row['standard_error']:.4f} |"
        )
    lines += [
        "",
        "A difference of less than two standard errors may be chance.",
        "",
        *_abstentions(evaluation.abstained),
        "### Intervals",
        "",
        "| wanted coverage | coverage on test rows | mean width in labels |",
        "|---:|---:|---:|",
    ]
    lines += [
        f"| {100 * c.wanted:g} % | {100 * c.coverage:.1f} % | {c.width:.2f} |" for c in evaluation.coverages
    ]
    return "\n".join(lines)


def _abstentions(abstained: Mapping[str, float]) -> list[str]:
    lines = [
        f"Under `{name}` the decision is to abstain on {100 * share:.1f} % of test rows."
        for name, share in abstained.items()
    ]
    return [*lines, ""] if lines else []


def _in_words(calibration: Calibration) -> str:
    match calibration.method:
        case "none":
            return "Neither temperature nor vector scaling helped on rows that they were not fitted on."
        case "temperature":
            return f"Temperature {1 / calibration.slopes[0]:.3f}, fitted on {calibration.rows} rows."
        case "vector":
            return (
                f"Vector scaling, a slope and an offset for each label, fitted on {calibration.rows} rows."
            )


def confusion_rows(
    counts: NDArray[np.int64], labels: Sequence[str], actions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows of a table of how often each action was decided, one a true label.

    Args:
        counts: `(K, A)`, [true label, action].
        labels: K names in their order.
        actions: A names in their order.
    """
    columns = [f"decided {action}" for action in actions]
    return [
        {"true label": label, **dict(zip(columns, row, strict=True))}
        for label, row in zip(labels, counts.tolist(), strict=True)
    ]


def cost_rows(costs: Mapping[str, CostForecast]) -> list[dict[str, Any]]:
    """Return the rows of a table of expected and realised cost, one a profile."""
    return [
        {
            "profile": name,
            "expected": forecast.expected,
            "realised": forecast.realised,
            "difference": forecast.realised - forecast.expected,
            "standard_error": forecast.standard_error,
        }
        for name, forecast in costs.items()
    ]
