"""Intervals of labels: scores against the oracle, sets that are intervals, and their coverage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import oracle
import pytest
import strategies
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config import IntervalKind
from pipeline.conformal import Conformal, scores
from pipeline.topology import Topology

Floats = NDArray[np.floating]
KINDS: tuple[IntervalKind, ...] = ("central", "greedy")
kinds = pytest.mark.parametrize("kind", KINDS)
rings = pytest.mark.parametrize("ring", [False, True], ids=["line", "ring"])


def _even(classes: int, ring: bool) -> Topology:
    return Topology.of(range(classes), classes if ring else None)


def _scores(p: Floats, topology: Topology, kind: IntervalKind) -> NDArray[np.float32]:
    return np.asarray(scores(tf.constant(p, tf.float32), topology, kind))


def _interval(
    conformal: Conformal, p: Floats, coverage: list[float], topology: Topology
) -> NDArray[np.int64]:
    return np.asarray(conformal.interval(tf.constant(p, tf.float32), tf.constant(coverage), topology))


def _conformal(kind: IntervalKind, calibration: list[float] | Floats) -> Conformal:
    return Conformal(kind, np.sort(np.asarray(calibration, np.float32)))


def _holds(interval: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """`(batch, K)`: which labels one meets on the way upwards from the first to the last."""
    first, last = interval[:, :1], interval[:, 1:]
    return (np.arange(classes) - first) % classes <= (last - first) % classes


def _as_float32(p: Floats) -> list[list[float]]:
    """The numbers that the graph sees, so that equal ones are equal for the oracle too."""
    return p.astype(np.float32).astype(float).tolist()


def _clearly_cut(q: list[float], topology: Topology) -> bool:
    """Whether rounding cannot move the cut of a ring to another label."""
    assert topology.period is not None
    mean, length = oracle.circular_mean(q, topology.values, topology.period)
    further = (np.array(topology.values) - mean) / topology.period % 1
    return length > 0.01 and bool(np.abs(further - 0.5).min() > 1e-4)


def _wanted(q: list[float], topology: Topology, kind: IntervalKind) -> list[float]:
    if kind == "greedy":
        return oracle.greedy_scores(q, topology.period is not None)
    if topology.period is None:
        return oracle.central_scores(q)
    return oracle.unrolled_scores(q, topology.values, topology.period)


@st.composite
def topologies(draw: st.DrawFn, *, ring: bool) -> Topology:
    """Labels with unequal steps, on a line or with any gap between the last and the first one."""
    values = draw(strategies.label_values(draw(st.integers(3, 11) if ring else strategies.classes)))
    return Topology.of(values, values[-1] - values[0] + draw(st.floats(0.25, 3)) if ring else None)


@kinds
@rings
@given(data=st.data())
def test_scores_equal_the_oracle(ring: bool, kind: IntervalKind, data: st.DataObject) -> None:
    """Even and odd K, unequal values: as the formula on a line, unrolled on a ring, grown step by step."""
    topology = data.draw(topologies(ring=ring))
    p = data.draw(strategies.simplex_rows(count=topology.classes))
    rows = _as_float32(p)
    assume(kind == "greedy" or not ring or all(_clearly_cut(q, topology) for q in rows))
    actual = _scores(p, topology, kind)
    np.testing.assert_allclose(actual, [_wanted(q, topology, kind) for q in rows], atol=2e-6)
    assert ((actual >= 0) & (actual <= 1)).all()


@rings
@given(st.integers(3, 9), st.data())
def test_equal_neighbours_are_taken_as_the_oracle_takes_them(
    ring: bool, classes: int, data: st.DataObject
) -> None:
    """Multiples of 1/64, where float32 sums are exact: greedy scores are the oracle's to the last bit."""
    p = data.draw(strategies.dyadic_rows(classes))
    assert _scores(p, _even(classes, ring), "greedy").tolist() == [
        oracle.greedy_scores(p[0].tolist(), ring)
    ]


def test_scores_written_out() -> None:
    """On a line, and round the ring where the mode is next to the end; the lower of equals comes first."""
    p = np.array([[0.125, 0.25, 0.375, 0.25, 0]])
    assert _scores(p, _even(5, False), "central").tolist() == [[0.75, 0.25, 0, 0.5, 1]]
    assert _scores(p, _even(5, False), "greedy").tolist() == [[0.875, 0.375, 0, 0.625, 1]]
    turned = np.array([[0.375, 0.25, 0, 0.125, 0.25]])  # the same, two labels further down
    assert _scores(turned, _even(5, True), "greedy").tolist() == [[0, 0.625, 1, 0.875, 0.375]]
    np.testing.assert_allclose(
        _scores(turned, _even(5, True), "central"), [[0, 0.5, 1, 0.75, 0.25]], atol=1e-6
    )
    assert _scores(turned, _even(5, False), "greedy").tolist() == [[0, 0.375, 0.625, 0.625, 0.75]]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60), st.floats(0.0625, 0.9375, width=32))
def test_the_threshold_equals_the_oracle(calibration: list[float], coverage: float) -> None:
    """τ is the ⌈(n + 1)·coverage⌉-th smallest calibration score, or 1."""
    rank = (len(calibration) + 1) * coverage
    assume(abs(rank - round(rank)) > 1e-4)
    tau = _conformal("central", calibration).threshold(tf.constant([coverage]))
    assert tau.numpy().tolist() == [oracle.threshold(calibration, coverage)]


@pytest.mark.parametrize(
    ("rows", "coverage", "rank"),
    [(9, 0.9, 9), (10, 0.9, 10), (19, 0.95, 19), (99, 0.9, 90), (999, 0.9, 900), (4, 0.5, 3), (3, 0.5, 2)],
)
def test_a_level_that_is_met_exactly_takes_no_further_step(rows: int, coverage: float, rank: int) -> None:
    """Where (n + 1)·coverage is whole, that is the rank, though 0.9 is not 0.9 in float32."""
    calibration = np.arange(1, rows + 1) / 1024
    tau = _conformal("central", calibration).threshold(tf.constant([coverage]))
    assert tau.numpy().tolist() == [rank / 1024]


@kinds
@rings
@given(data=st.data())
def test_the_interval_equals_the_oracle(ring: bool, kind: IntervalKind, data: st.DataObject) -> None:
    """From probabilities to the first and the last label, wherever no score is as near as a tie to τ."""
    topology = data.draw(topologies(ring=ring))
    p = data.draw(strategies.simplex_rows(count=topology.classes))
    calibration = data.draw(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12))
    coverage = data.draw(st.floats(0.0625, 0.9375, width=32))
    rank = (len(calibration) + 1) * coverage
    assume(abs(rank - round(rank)) > 1e-4)
    actual = _interval(_conformal(kind, calibration), p, [coverage], topology)
    tau = oracle.threshold(calibration, coverage)
    for row, q in enumerate(_as_float32(p)):
        if kind == "central" and ring and not _clearly_cut(q, topology):
            continue
        of_labels = _wanted(q, topology, kind)
        if 1e-5 < tau < 1 and min(abs(score - tau) for score in of_labels) < 1e-5:
            continue
        # At 0 and at 1 rounding must not matter: there is always a label inside, and none outside.
        of_labels = [0.0 if score < 1e-5 else score for score in of_labels] if tau < 1e-5 else of_labels
        assert tuple(actual[row].tolist()) == oracle.interval(of_labels, tau, ring)


@kinds
@rings
@given(data=st.data())
def test_an_interval_holds_the_labels_up_to_the_threshold_and_no_others(
    ring: bool, kind: IntervalKind, data: st.DataObject
) -> None:
    """At every score as τ, down to 0, the labels between the ends are {y: score(y) ≤ τ}, and some are."""
    topology = data.draw(topologies(ring=ring))
    p = data.draw(strategies.simplex_rows(count=topology.classes, most=1))
    rows = np.repeat(p, topology.classes, axis=0)
    of_labels = _scores(rows, topology, kind)
    conformal = _conformal(kind, of_labels[0])
    levels = (np.arange(len(rows)) + 0.5) / (len(rows) + 1)  # each score of the row is τ once
    wanted = of_labels <= conformal.calibration[:, np.newaxis]
    assert (wanted.any(axis=1) & (of_labels.min(axis=1) == 0)).all()
    inside = _holds(_interval(conformal, rows, levels.tolist(), topology), topology.classes)
    np.testing.assert_array_equal(inside, wanted)


@kinds
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 8, 10, 12])
def test_half_the_mass_on_each_side_leaves_no_interval_empty(kind: IntervalKind, classes: int) -> None:
    """Where F is ½ but for rounding, the narrowest interval is one label beside that ½, or both."""
    random = np.random.default_rng(classes)
    for batch in (1, 3, 257, 1000):
        p = random.dirichlet(np.ones(classes), batch)
        low = random.integers(1, classes)
        p[:, :low] *= 0.5 / p[:, :low].sum(axis=1, keepdims=True)
        p[:, low:] *= 0.5 / p[:, low:].sum(axis=1, keepdims=True)
        interval = _interval(_conformal(kind, [0.0]), p, [0.5], _even(classes, False))
        assert set((interval[:, 1] - interval[:, 0]).tolist()) <= {0, 1}
        if kind == "central":
            assert ((interval == low) | (interval == low - 1)).all()


@kinds
@rings
@given(data=st.data())
def test_intervals_grow_with_the_coverage(ring: bool, kind: IntervalKind, data: st.DataObject) -> None:
    """What is inside at one level is inside at every higher one."""
    topology = data.draw(topologies(ring=ring))
    p = data.draw(strategies.simplex_rows(count=topology.classes, most=1))
    conformal = _conformal(kind, np.linspace(0, 1, 40))
    levels = np.linspace(0.02, 0.99, 12)
    interval = _interval(conformal, np.repeat(p, 12, axis=0), levels.tolist(), topology)
    inside = _holds(interval, topology.classes)
    assert (inside[1:] | ~inside[:-1]).all()
    assert inside[-1].all()  # 0.99 of 41 is the 1 that was appended


@kinds
@rings
def test_a_level_out_of_reach_gives_every_label(ring: bool, kind: IntervalKind) -> None:
    """Of 8 rows none is the 90 % one, so all labels are inside, from 0 to K−1; 9 rows are enough."""
    p = np.array(
        [[0.97, 0.01, 0.01, 0.01], [0.01, 0.01, 0.97, 0.01], [0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0]]
    )
    narrow = np.zeros(9)
    out_of_reach = _interval(_conformal(kind, narrow[:8]), p, [0.9], _even(4, ring))
    assert out_of_reach.tolist() == [[0, 3]] * 4
    assert _interval(_conformal(kind, narrow), p[:2], [0.9], _even(4, ring)).tolist() == [[0, 0], [2, 2]]


@kinds
def test_an_arc_leads_from_the_last_label_on_to_the_first(kind: IntervalKind) -> None:
    """Round the ring the first may come after the last; on a line everything between is inside."""
    p = np.array([[0.4, 0.1, 0, 0, 0.1, 0.4]])
    conformal = _conformal(kind, [0.55])
    assert _interval(conformal, p, [0.5], _even(6, True)).tolist() == [[5, 0]]
    ends = _interval(conformal, p, [0.5], _even(6, False))[0]
    assert ends.tolist() == ([0, 5] if kind == "central" else [0, 4])


@kinds
@rings
def test_a_coverage_for_each_row(ring: bool, kind: IntervalKind) -> None:
    """Each row gets the interval that it would have got alone."""
    random = np.random.default_rng(0)
    p, levels = random.dirichlet(np.ones(7), 40), random.uniform(0.02, 0.999, 40)
    conformal = _conformal(kind, random.uniform(0, 1, 30))
    together = _interval(conformal, p, levels.tolist(), _even(7, ring))
    alone = [
        _interval(conformal, p[[i]], [level], _even(7, ring))[0].tolist() for i, level in enumerate(levels)
    ]
    assert together.tolist() == alone
    assert len({(last - first) % 7 for first, last in alone}) > 3


@kinds
@rings
def test_fitting_keeps_the_scores_of_the_true_labels_in_order(ring: bool, kind: IntervalKind) -> None:
    """One score a row, rising, of the label that the row had."""
    random = np.random.default_rng(0)
    p, y = random.dirichlet(np.ones(6), 50), random.integers(0, 6, 50)
    conformal = Conformal.fit(p, y, _even(6, ring), kind)
    wanted = sorted(
        _wanted(q, _even(6, ring), kind)[label] for q, label in zip(_as_float32(p), y, strict=True)
    )
    assert (conformal.kind, conformal.calibration.dtype) == (kind, np.float32)
    np.testing.assert_allclose(conformal.calibration, wanted, atol=2e-6)


@kinds
@pytest.mark.parametrize("classes", [5, 6])
def test_turning_the_ring_turns_the_intervals(kind: IntervalKind, classes: int) -> None:
    """Probabilities two labels further give intervals two further; an interval of all labels stays one."""
    random = np.random.default_rng(0)
    ring = _even(classes, True)
    p = random.dirichlet(np.ones(classes), 400)
    conformal = _conformal(kind, random.uniform(0, 1, 20))
    levels = random.uniform(0.05, 0.99, 400).tolist()
    before, after = (_interval(conformal, q, levels, ring) for q in (p, np.roll(p, 2, axis=1)))
    all_inside = _holds(before, classes).all(axis=1)
    assert 10 < all_inside.sum() < 200
    np.testing.assert_array_equal(after[~all_inside], (before[~all_inside] + 2) % classes)
    np.testing.assert_array_equal(after[all_inside], before[all_inside])


# What intervals are for: the wanted share of new rows, whatever the model.

POOL, SPLITS, ROWS = 20_000, 200, 500


def _flat(random: np.random.Generator, topology: Topology) -> Floats:
    return random.dirichlet(np.ones(topology.classes), POOL)


def _sparse(random: np.random.Generator, topology: Topology) -> Floats:
    """A few labels have nearly all, wherever they lie: often two humps."""
    return random.dirichlet(np.full(topology.classes, 0.35), POOL)


def _bells(random: np.random.Generator, topology: Topology) -> Floats:
    """One hump a row, of any place and width."""
    return _bell(random.uniform(0, topology.classes - 1, POOL), random.uniform(0.7, 2, POOL), topology)


def _bell(place: Floats, width: Floats, topology: Topology) -> Floats:
    way = np.abs(np.arange(topology.classes) - place[:, np.newaxis])
    if topology.period is not None:
        way = np.minimum(way, topology.classes - way)
    weights = np.exp(-(way**2) / (2 * width[:, np.newaxis] ** 2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


PLANTED = {"flat": _flat, "sparse": _sparse, "bells": _bells}


def _labels(random: np.random.Generator, p: Floats) -> NDArray[np.int64]:
    """A label for each row, drawn from its probabilities."""
    drawn = (random.random((len(p), 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    return np.minimum(drawn, p.shape[1] - 1)


def _splits(random: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Calibration rows and new rows, 200 times."""
    for _ in range(SPLITS):
        drawn = random.choice(POOL, 2 * ROWS, replace=False)
        yield drawn[:ROWS], drawn[ROWS:]


def _coverage_and_width(
    random: np.random.Generator, of_labels: NDArray[np.float32], y: NDArray[np.int64], kind: IntervalKind
) -> tuple[float, float]:
    """Return the means over the splits: of new rows inside their 90 % interval, and of labels inside it."""
    covered, width = [], []
    of_truth = of_labels[np.arange(POOL), y]
    for calibration, new in _splits(random):
        tau = _conformal(kind, of_truth[calibration]).threshold(tf.constant([0.9])).numpy()
        covered.append(np.mean(of_truth[new] <= tau))
        width.append(np.mean(np.sum(of_labels[new] <= tau, axis=1)))
    return float(np.mean(covered)), float(np.mean(width))


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("classes", [5, 6, 10])
@kinds
@rings
def test_coverage_is_what_was_asked_for(ring: bool, kind: IntervalKind, classes: int, planted: str) -> None:
    """A mean of 90 % over 200 splits where the narrowest interval holds less than 80 % of labels."""
    topology, random = _even(classes, ring), np.random.default_rng(classes)
    p = PLANTED[planted](random, topology)
    y = _labels(random, p)
    of_labels = _scores(p, topology, kind)
    assert np.mean(of_labels[np.arange(POOL), y] == 0) < 0.8
    covered, width = _coverage_and_width(random, of_labels, y, kind)
    assert 0.895 <= covered <= 0.91
    assert 1 < width < classes - 0.3


@pytest.mark.parametrize(("ring", "kind"), [(False, "greedy"), (True, "central"), (True, "greedy")])
@pytest.mark.slow
def test_coverage_from_fitting_to_the_interval(ring: bool, kind: IntervalKind) -> None:
    """The same with the labels between the ends counted, as one who asks for an interval would."""
    topology, random = _even(6, ring), np.random.default_rng(0)
    p = _bells(random, topology)
    y = _labels(random, p)
    covered = []
    for calibration, new in _splits(random):
        conformal = Conformal.fit(p[calibration], y[calibration], topology, kind)
        inside = _holds(_interval(conformal, p[new], [0.9], topology), 6)
        covered.append(np.mean(inside[np.arange(ROWS), y[new]]))
    assert 0.895 <= np.mean(covered) <= 0.91


@kinds
@rings
@pytest.mark.parametrize("classes", [5, 6])
def test_easy_rows_have_intervals_of_one_label(ring: bool, kind: IntervalKind, classes: int) -> None:
    """Where the median label alone is right more often than asked, there is little to add to it."""
    topology, random = _even(classes, ring), np.random.default_rng(0)
    p = _bell(random.integers(0, classes, POOL).astype(float), np.full(POOL, 0.4), topology)
    y = _labels(random, p)
    of_labels = _scores(p, topology, kind)
    assert np.mean(of_labels[np.arange(POOL), y] == 0) > 0.9
    covered, width = _coverage_and_width(random, of_labels, y, kind)
    assert covered >= 0.88
    assert width < 1.25


@kinds
@rings
def test_coverage_does_not_take_right_probabilities(ring: bool, kind: IntervalKind) -> None:
    """A model three times too sure: labels with 90 % of its mass cover less, conformal intervals do not."""
    topology, random = _even(6, ring), np.random.default_rng(0)
    p = _bells(random, topology)
    y = _labels(random, p)
    too_sure = p**3 / np.sum(p**3, axis=1, keepdims=True)
    of_labels = _scores(too_sure, topology, kind)
    assert np.mean(of_labels[np.arange(POOL), y] <= 0.9) < 0.87
    covered, _ = _coverage_and_width(random, of_labels, y, kind)
    assert 0.895 <= covered <= 0.91
