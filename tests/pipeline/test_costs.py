"""Cost profiles and the decisions that they lead to."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import strategies
from hypothesis import assume, given
from numpy.typing import NDArray

from pipeline.config import Decision
from pipeline.costs import cost_matrix, decide, profiles
from pipeline.errors import InputError
from pipeline.topology import Topology

STEPS = Topology.of(range(4)).offsets()


def _matrices(decision: Decision, topology: Topology) -> dict[str, NDArray[np.float64]]:
    names = tuple(map(str, topology.values))
    return {name: profile.cost for name, profile in profiles(decision, topology, names).items()}


def _steps(classes: int) -> NDArray[np.float64]:
    return Topology.of(range(classes)).offsets()


def test_the_profiles_written_out() -> None:
    """cost[true, action] of each profile, for three labels."""
    three = _steps(3)
    assert cost_matrix("zero_one", three, 1, 1).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert cost_matrix("absolute", three, 1, 1).tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    assert cost_matrix("quadratic", three, 1, 1).tolist() == [[0, 1, 4], [1, 0, 1], [4, 1, 0]]
    assert cost_matrix("asymmetric", three, 1, 3).tolist() == [[0, 3, 6], [1, 0, 3], [2, 1, 0]]


def test_distances_can_be_in_label_values() -> None:
    """With values as positions the distance is theirs, not the steps'."""
    assert cost_matrix("absolute", Topology.of([0, 1, 10]).offsets("values"), 1, 1)[0].tolist() == [
        0,
        1,
        10,
    ]


@given(strategies.simplex_rows())
def test_zero_one_decides_for_the_mode(p: NDArray[np.float64]) -> None:
    """Under zero-one costs the most probable label costs least."""
    first, second = np.sort(p, axis=1)[:, -1], np.sort(p, axis=1)[:, -2]
    assume((first - second).min() > 1e-9)
    assert (
        decide(p, cost_matrix("zero_one", _steps(p.shape[1]), 1, 1)).tolist() == p.argmax(axis=1).tolist()
    )


@given(strategies.simplex_rows(most=1))
def test_absolute_decides_for_the_median(p: NDArray[np.float64]) -> None:
    """Under absolute costs the median costs least."""
    assume(
        np.abs(np.cumsum(p[0]) - 0.5).min() > 1e-9
    )  # with mass of exactly one half, two labels are medians
    assert decide(p, cost_matrix("absolute", _steps(p.shape[1]), 1, 1)).tolist() == [oracle.median(p[0])]


@given(strategies.simplex_rows(most=1))
def test_quadratic_decides_for_the_rounded_mean(p: NDArray[np.float64]) -> None:
    """Under squared costs the label nearest to the expected value costs least."""
    mean = oracle.expected_value(p[0], np.arange(float(p.shape[1])))
    assume(abs(mean % 1 - 0.5) > 1e-9)
    assert decide(p, cost_matrix("quadratic", _steps(p.shape[1]), 1, 1)).tolist() == [round(mean)]


def test_asymmetric_costs_shift_the_decision() -> None:
    """If deciding too high costs three times as much, the decision is the lower quartile."""
    p = np.array([[0.3, 0.3, 0.2, 0.2]])
    assert decide(p, cost_matrix("asymmetric", STEPS, 1, 1)).tolist() == [1]
    assert decide(p, cost_matrix("asymmetric", STEPS, 1, 3)).tolist() == [0]
    assert decide(p, cost_matrix("asymmetric", STEPS, 3, 1)).tolist() == [2]


def test_a_tie_goes_to_the_lowest_index() -> None:
    """Of equal costs the first action wins."""
    assert decide(np.array([[0.5, 0, 0, 0.5]]), cost_matrix("zero_one", STEPS, 1, 1)).tolist() == [0]


@given(strategies.simplex_rows(count=5), strategies.cost_matrices(5, 3))
def test_decisions_equal_the_oracle(p: NDArray[np.float64], cost: NDArray[np.float64]) -> None:
    """With any costs, and actions that are not labels, the decision is the slow twin's."""
    for row, decided in zip(p, decide(p, cost), strict=True):
        wanted, margin = oracle.decision(row, cost)
        assert decided == wanted or margin < 1e-9


def test_costs_are_those_of_the_true_label() -> None:
    """Orientation: rows are true labels, columns what is decided."""
    assert cost_matrix("asymmetric", STEPS, 1, 3)[3, 0] == pytest.approx(3)  # true 3, decided 0: too low
    assert cost_matrix("asymmetric", STEPS, 1, 3)[0, 3] == pytest.approx(9)  # true 0, decided 3: too high


def test_a_cost_beyond_all_measure_is_refused() -> None:
    """Costs stay below what pads a narrower policy, or the padding would win."""
    far = Topology.of([0.0, 1e200])
    with pytest.raises(InputError, match=r"a cost of profile 'absolute' is 1e\+200, must be below 1e\+30"):
        _matrices(Decision(scale="values"), far)


def test_profiles_of_a_ring_go_the_shorter_way() -> None:
    """Every profile has its cyclic twin; deciding 0 for a true 4 of five is one step too high."""
    ring = Topology.of(range(5), period=5)
    matrices = _matrices(Decision(profile="cyclic", under=1, over=3), ring)
    assert list(matrices) == ["zero_one", "absolute", "quadratic", "asymmetric", "cyclic"]
    assert matrices["cyclic"][4].tolist() == [1, 2, 2, 1, 0]
    assert matrices["absolute"].tolist() == matrices["cyclic"].tolist()
    assert matrices["quadratic"][4].tolist() == [1, 4, 4, 1, 0]
    assert matrices["asymmetric"][4].tolist() == [3, 6, 2, 1, 0]


def test_distances_round_a_ring_can_be_in_label_values() -> None:
    """The gap that closes the ring counts as the period says."""
    ring = Topology.of([0, 10, 100], period=110)
    assert _matrices(Decision(scale="values"), ring)["absolute"][0].tolist() == [0, 10, 10]


def test_the_cyclic_profile_is_refused_on_a_line() -> None:
    """The error says what it is for, and which profiles there are."""
    assert "cyclic" not in _matrices(Decision(), Topology.of(range(3)))
    with pytest.raises(InputError, match=r"'cyclic' is for labels on a ring .*allowed: zero_one, absolute"):
        _matrices(Decision(profile="cyclic"), Topology.of(range(3)))
