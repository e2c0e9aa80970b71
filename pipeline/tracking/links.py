"""Where things are in MLflow's UI, relative to its address, as Markdown in that UI may link to them."""

from __future__ import annotations

from urllib.parse import quote

REPORT = "report.html"
"""The report's page among the artifacts of a retraining's run."""

# Without it the UI opens in its mode for chats, which has no runs in view.
_MODE = "?workflowType=machine_learning"


def experiment(experiment_id: str) -> str:
    """Return the page of all runs of an experiment."""
    return f"#/experiments/{experiment_id}/runs{_MODE}"


def run(experiment_id: str, run_id: str) -> str:
    """Return the page of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{_MODE}"


def report(experiment_id: str, run_id: str) -> str:
    """Return the page that shows the report of a retraining."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{REPORT}{_MODE}"


def model(name: str) -> str:
    """Return the page of a registered model."""
    return f"#/models/{quote(name, safe='')}{_MODE}"


def version(name: str, number: int) -> str:
    """Return the page of one of its versions."""
    return f"#/models/{quote(name, safe='')}/versions/{number}{_MODE}"
