"""Oracle = Keras = ONNX for each method alone on a ring, and for each class of losses on each head."""

from __future__ import annotations

import numpy as np
import pytest
from parity import answers
from parity.cases import Workshop
from parity.plans import MORE_PLANS, Plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A folder for all of them."""
    return Workshop(tmp_path_factory.mktemp("products"))


@pytest.mark.parametrize("plan", MORE_PLANS, ids=lambda plan: plan.name)
def test_one_answer_three_ways(plan: Plan, workshop: Workshop) -> None:
    """Two policies: the oracle's from Keras and from the file, which gives each row alone the same."""
    case = workshop.make(plan)
    random = np.random.default_rng(0)
    classes = len(case.manifest.labels)
    costs = {
        "absolute": np.array(case.manifest.profiles["absolute"].cost, np.float32),
        "triage": random.integers(0, 9, (classes, 3)).astype(np.float32),
    }
    rows = case.rows[:100]
    wanted = case.wanted(rows, costs, 0.8)
    answers.check(case.keras(rows, costs, 0.8), wanted)
    answers.check(case.onnx(rows, costs, 0.8), wanted)
    for row in range(3):
        alone = slice(row, row + 1)
        answers.check(case.onnx(rows[alone], costs, 0.8), wanted.of(alone))
    case.exported.path.unlink()
