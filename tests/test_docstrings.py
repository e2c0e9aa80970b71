"""The examples in docstrings are run as typed."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest


@pytest.mark.parametrize(
    "name",
    [
        "pipeline.artifact_key",
        "pipeline.config.fields",
        "pipeline.errors",
        "pipeline.orders",
        "pipeline.topology",
        "pipeline.data.columns",
        "pipeline.data.kinds",
        "pipeline.heads.links",
        "pipeline.heads.parametric",
        "pipeline.heads.stepwise",
        "pipeline.losses.brier",
        "pipeline.losses.by_distance",
        "pipeline.losses.cross_entropy",
        "pipeline.losses.cumulative",
        "pipeline.losses.expected_cost",
        "pipeline.losses.expected_value",
        "pipeline.losses.kappa",
        "pipeline.losses.soft_cross_entropy",
        "pipeline.losses.soft_labels",
        "pipeline.losses.unimodality",
        "pipeline.metrics",
        "pipeline.metrics.agreement",
        "pipeline.metrics.arrays",
        "pipeline.metrics.calibration",
        "pipeline.metrics.circular",
        "pipeline.metrics.decision_costs",
        "pipeline.metrics.decisions",
        "pipeline.metrics.intervals",
        "pipeline.metrics.probabilities",
        "pipeline.metrics.scores",
    ],
)
def test_examples_print_what_they_say(name: str) -> None:
    """Each module listed has examples, and all of them hold."""
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
