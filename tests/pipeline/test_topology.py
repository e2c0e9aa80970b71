"""Labels on a line and round a ring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.topology import Topology


def test_distances_written_out() -> None:
    """On a line |i − y|; on a ring the shorter way round."""
    assert Topology.of(range(4)).distances()[0].tolist() == [0, 1, 2, 3]
    assert Topology.of(range(4), period=4).distances()[0].tolist() == [0, 1, 2, 1]
    assert Topology.of(range(10), period=10).distances()[9].tolist() == [1, 2, 3, 4, 5, 4, 3, 2, 1, 0]


def test_distances_can_be_in_label_values() -> None:
    """Unequal values are as far apart as they say, also across the gap that closes the ring."""
    assert Topology.of([0, 1, 10]).distances("values")[0].tolist() == [0, 1, 10]
    assert Topology.of([0, 1, 10], period=12).distances("values")[0].tolist() == [0, 1, 2]


@given(st.integers(3, 13))
def test_offsets_of_a_ring_lead_the_shorter_way(classes: int) -> None:
    """Going by the offset arrives, never by more than half the ring, and of two equal ways upwards."""
    offsets = Topology.of(range(classes), period=classes).offsets()
    for true in range(classes):
        for other in range(classes):
            assert (true + offsets[true, other]) % classes == other
            assert -classes / 2 < offsets[true, other] <= classes / 2


def test_sets_of_a_line_make_the_cumulative_distribution() -> None:
    """Probabilities times sets are F_0 … F_{K−2}."""
    p = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(p @ Topology.of(range(4)).sets(), [0.1, 0.3, 0.6])


@given(st.integers(3, 9))
def test_sets_of_a_ring_are_all_arcs_once(classes: int) -> None:
    """K(K−1)/2 arcs, and with their complements every contiguous set that is neither empty nor all."""
    sets = Topology.of(range(classes), period=classes).sets()
    both = {tuple(column) for column in np.concatenate([sets, 1 - sets], axis=1).T.astype(int)}
    wanted = set()
    for start in range(classes):
        for length in range(1, classes):
            arc = np.zeros(classes, int)
            arc[[(start + step) % classes for step in range(length)]] = 1
            wanted.add(tuple(arc))
    assert sets.shape == (classes, classes * (classes - 1) // 2)
    assert both == wanted


def test_edges_are_differences_between_neighbours() -> None:
    """Probabilities times edges are p_{k+1} − p_k; a ring has one more, from the last to the first."""
    p = np.array([0.5, 0.2, 0.3])
    np.testing.assert_allclose(p @ Topology.of(range(3)).edges(), [-0.3, 0.1])
    np.testing.assert_allclose(p @ Topology.of(range(3), period=3).edges(), [-0.3, 0.1, 0.2])


def test_a_small_step_on_the_circle_is_as_long_as_on_the_line() -> None:
    """Positions of a ring have radius period/2π; opposite labels are a diameter apart."""
    at = Topology.of([0, 0.001, 180], period=360).positions()
    assert np.linalg.norm(at[1] - at[0]) == pytest.approx(0.001, rel=1e-6)
    assert np.linalg.norm(at[2] - at[0]) == pytest.approx(360 / np.pi)
    assert Topology.of([0, 1, 10]).positions().tolist() == [[0], [1], [10]]
