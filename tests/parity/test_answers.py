"""The comparison itself: it lets rounding and ties pass, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parity import answers
from parity.answers import Decided, Said, Wanted

from pipeline.conformal import Conformal
from pipeline.topology import Topology

LINE = Topology.of([0, 1, 3])
RING = Topology.of([0, 1, 3], period=4)
P = np.array([[[0.6, 0.3, 0.1]], [[0.2, 0.5, 0.3]]])
COSTS = {"own": np.array([[0, 1], [1, 0], [2, 0]], np.float32)}
CONFORMAL = Conformal("greedy", np.array([0.1, 0.4, 0.7], np.float32))


def _wanted(topology: Topology) -> Wanted:
    return answers.wanted(P, topology, CONFORMAL, COSTS, 0.5)


def _said(wanted: Wanted) -> Said:
    """The very answer that is wanted."""
    return Said(
        wanted.probabilities,
        wanted.value,
        None if wanted.topology.period is None else wanted.resultant,
        wanted.uncertainty,
        np.array([sorted(ends or set())[0] for ends in wanted.interval]),
        wanted.decisions,
    )


@pytest.mark.parametrize("topology", [LINE, RING])
def test_the_right_answer_passes(topology: Topology) -> None:
    """Also with noise of a millionth, and a circular mean once more round."""
    wanted = _wanted(topology)
    said = _said(wanted)
    answers.check(said, wanted)
    moved = said.value + 1e-6 + (0 if topology.period is None else topology.period)
    answers.check(replace(said, probabilities=said.probabilities + 1e-6, value=moved), wanted)


def test_what_the_oracle_says_written_out() -> None:
    """Value, costs, decision, margin and interval of the first row, by hand."""
    wanted = _wanted(LINE)
    own = wanted.decisions["own"]
    assert wanted.value[0] == pytest.approx(0.6)
    assert own.costs[0].tolist() == pytest.approx([0.5, 0.6])
    assert (own.action[0], own.margin[0]) == (0, pytest.approx(0.1))
    assert wanted.interval[0] == {(0, 0)}  # scores 0, 0.6, 0.9, of which the second is above 0.4
    assert wanted.interval[1] == {(1, 1)}


@pytest.mark.parametrize("topology", [LINE, RING])
@pytest.mark.parametrize(
    "wrong",
    [
        {"probabilities": 2e-5},
        {"uncertainty": 2e-5},
        {"value": 1e-3},
        {"interval": 1},
        {"resultant": 2e-5},
        {"action": 1},
        {"margin": 3e-5},
        {"costs": 3e-5},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_answer_fails(topology: Topology, wrong: dict[str, Any]) -> None:
    """One number of one row that is too far off is enough."""
    wanted = _wanted(topology)
    said = _said(wanted)
    ((name, error),) = wrong.items()
    if name == "resultant" and topology.period is None:
        error, said = 0, replace(said, resultant=wanted.resultant)  # which a line has not
    one = said.decisions["own"] if hasattr(said.decisions["own"], name) else said
    numbers = getattr(one, name).copy()
    numbers[1] = 1 - numbers[1] if name == "action" else numbers[1] + error
    if isinstance(one, Decided):
        said = replace(said, decisions={"own": replace(one, **{name: numbers})})
    else:
        said = replace(said, **{name: numbers})
    with pytest.raises(AssertionError):
        answers.check(said, wanted)


def test_ties_may_fall_either_way() -> None:
    """A decision whose margin is below 1e-5, and an interval with a score as near to τ as that."""
    tied = {"own": np.array([[0, 1], [1, 0], [2, 2 - 5e-6]], np.float32)}
    p = np.array([[[0.5, 0.5, 0.0]]])
    wanted = answers.wanted(p, LINE, CONFORMAL, tied, 0.5)
    assert wanted.interval == [None]  # of two equal labels either may be the mode
    other = {"own": replace(wanted.decisions["own"], action=1 - wanted.decisions["own"].action)}
    said = replace(_said(replace(wanted, interval=[{(0, 0)}])), decisions=other)
    answers.check(said, wanted)
    assert answers.interval([0.6, 0.4, 0.0], LINE, CONFORMAL, 0.5) == {(0, 0)}
    assert answers.interval([0.4, 0.35, 0.25], LINE, CONFORMAL, 0.5) is None  # the second has the score τ
    assert answers.interval([0.4, 0.35, 0.25], LINE, CONFORMAL, 0.99) == {(0, 2)}
