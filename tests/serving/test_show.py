"""A prediction as text."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from serving.answers import Decision, Prediction
from serving.show import as_json, as_table

LINE = Prediction(
    probabilities=np.array([[0.5, 0.0, 0.5]], np.float32),
    expected_value=np.array([2.5], np.float32),
    decisions={
        "cyclic": Decision(
            policy="cyclic",
            actions=("0", "1", "2"),
            action=np.array([0], np.int32),
            expected_cost=np.array([0.5], np.float32),
            margin=np.array([0.0], np.float32),
        )
    },
    labels=("0", "1", "2"),
    model="dial",
    version="3",
    provider="CPUExecutionProvider",
    request_id="",
    rows=1,
)


def test_cyclic_labels_are_shown_with_how_sure_their_mean_is() -> None:
    """Table and JSON have the resultant length beside the expected value."""
    ring = replace(LINE, resultant=np.array([0.5], np.float32))
    assert "resultant" in as_table(ring)
    assert "0.500" in as_table(ring)
    assert json.loads(as_json(ring))["resultant"] == [0.5]


def test_linear_labels_are_shown_without() -> None:
    """Neither has a column or key for what there is not."""
    assert "resultant" not in as_table(LINE)
    assert "resultant" not in json.loads(as_json(LINE))
