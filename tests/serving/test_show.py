"""A prediction as text."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from serving.answers import Decision, Interval, Prediction, Uncertainty
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


WITH_PARTS = replace(
    LINE,
    interval=Interval(0.75, np.array([2], np.int32), np.array([0], np.int32), LINE.labels),
    uncertainty=Uncertainty(np.array([0.125], np.float32), np.array([0.0625], np.float32)),
)


def test_intervals_and_uncertainty_are_shown() -> None:
    """The table has a column for each, with the names of the labels; JSON has their numbers."""
    table = as_table(WITH_PARTS)
    assert "interval of 0.75" in table
    assert "2 … 0" in table
    assert "aleatoric + epistemic" in table
    assert "0.125 + 0.062" in table
    content = json.loads(as_json(WITH_PARTS))
    assert content["interval"] == {"coverage": 0.75, "lower": ["2"], "upper": ["0"]}
    assert content["uncertainty"] == {"aleatoric": [0.125], "epistemic": [0.0625]}


def test_what_was_left_out_is_not_shown() -> None:
    """Without interval and uncertainty the table has no column for them, and JSON says null."""
    table = as_table(LINE)
    assert "interval" not in table
    assert "aleatoric" not in table
    content = json.loads(as_json(LINE))
    assert content["interval"] is content["uncertainty"] is None


def test_an_abstention_is_shown_as_any_action() -> None:
    """Its name stands where the decision does."""
    abstaining = replace(
        LINE.decisions["cyclic"], actions=("0", "1", "2", "abstain"), action=np.array([3], np.int32)
    )
    answer = replace(LINE, decisions={"careful": abstaining})
    assert "abstain (0.5, 0)" in as_table(answer)
    assert json.loads(as_json(answer))["decisions"]["careful"]["chosen"] == ["abstain"]
