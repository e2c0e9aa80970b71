"""The statistics of the gate: against other code, by counting, and how often chance alone deceives them."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pipeline import metrics
from pipeline.config import Gate
from pipeline.gate import calibration, coverage, resampling, slices
from pipeline.gate.calibration import Forecast
from pipeline.gate.cost import Difference, check, rows_that_must_differ
from pipeline.gate.resampling import Kinds, bootstrapped, exchanged, holm
from pipeline.gate.slices import Column
from pipeline.topology import Topology

Floats = NDArray[np.float64]


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is repeated hundreds of times draws less."""
    monkeypatch.setattr(resampling, "DRAWS", 500)


def _difference(d: Floats) -> Difference:
    return Difference.of(d, np.zeros(len(d)), 0.95)


@pytest.mark.parametrize("rows", [20, 400])
def test_the_interval_is_that_of_scipy(rows: int) -> None:
    """Drawing how often each value occurs is drawing rows: the percentile interval of scipy's bootstrap."""
    d = np.random.default_rng(rows).choice([-2.0, -1.0, 0.0, 1.0, 3.0], rows)
    oracle = stats.bootstrap(
        (d,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    error = 0.06 * d.std() / np.sqrt(rows)  # of the quantiles of so many draws
    assert _difference(d).interval == pytest.approx((oracle.low, oracle.high), abs=error + 1 / rows)


def test_many_values_are_as_good_as_all_of_them() -> None:
    """Neighbours that share their mean leave the mean as it is, and the interval to a thousandth of it."""
    d = np.random.default_rng(0).exponential(size=5000) - 1
    kinds = Kinds.of(d)
    assert len(kinds.counts) == resampling.MOST_KINDS
    assert kinds.counts.sum() == 5000
    assert _difference(d).mean == pytest.approx(d.mean())
    spread = np.sqrt(kinds.values**2 @ kinds.counts / 5000 - d.mean() ** 2)
    assert spread == pytest.approx(d.std(), rel=2e-3)


def test_draws_in_blocks_are_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded memory takes nothing away: as many draws, none of them twice."""
    kinds = Kinds.of(np.arange(50.0))
    monkeypatch.setattr(resampling, "_BLOCK", 50 * 300)
    drawn = bootstrapped(kinds)
    assert drawn.shape == (resampling.DRAWS,)
    assert not np.array_equal(drawn[:300], drawn[300:600])
    assert drawn.mean() == pytest.approx(24.5, abs=0.1)


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0]), min_size=1, max_size=9))
def test_exchanging_answers_counts_signs(d: list[float]) -> None:
    """The p-value is the share of all choices of signs whose sum is as large, counted one by one."""
    signs = itertools.product([1, -1], repeat=len(d))
    as_large = np.mean([np.dot(sign, d) >= sum(d) for sign in signs])
    assert exchanged(Kinds.of(np.array(d))) == pytest.approx(as_large, abs=0.025)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_step_down_procedure(chances: list[float]) -> None:
    """What is adjusted to at most α is what is rejected one by one, the smallest p-value first."""
    adjusted = holm(np.array(chances))
    for alpha in (0.05, 0.2, 0.5):
        rejected = set()
        for tried, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
            if chances[place] * (len(chances) - tried) > alpha:
                break
            rejected.add(place)
        assert set(np.flatnonzero(adjusted <= alpha)) == rejected


SYMMETRIC = {"few": [0.03, 0.94, 0.03], "some": [0.1, 0.8, 0.1], "many": [0.3, 0.4, 0.3]}


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("rows", [30, 100, 500])
@pytest.mark.parametrize("shape", SYMMETRIC)
def test_chance_is_promoted_as_seldom_as_said(shape: str, rows: int) -> None:
    """Of candidates that are as good as the champion at most 2.5 % win at a confidence of 95 %."""
    draws = np.random.default_rng(rows).choice([-1.0, 0.0, 1.0], (600, rows), p=SYMMETRIC[shape])
    gate = Gate()
    won = np.mean([check(_difference(d), gate, "absolute", "").passed for d in draws])
    assert won <= 0.025 + 2.6 * np.sqrt(0.025 * 0.975 / len(draws))


@pytest.mark.usefixtures("few_draws")
def test_the_interval_holds_the_mean_as_often_as_said() -> None:
    """On 400 rows, also where the candidate is rarely much worse and often a little better."""
    random = np.random.default_rng(3)
    for values, shares in (([-1, 0, 1], [0.2, 0.65, 0.15]), ([-1, 0, 4], [0.2, 0.75, 0.05])):
        mean, held = np.dot(values, shares), 0
        for d in random.choice(np.array(values, float), (400, 400), p=shares):
            lower, upper = _difference(d).interval
            held += lower <= mean <= upper
        assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_a_win_needs_rows_that_differ() -> None:
    """Six rows that are all won are the fewest that are no chance at 95 %, whatever the interval says."""
    assert [rows_that_must_differ(confidence) for confidence in (0.5, 0.9, 0.95, 0.99)] == [2, 5, 6, 8]
    for rows, passed in ((5, False), (6, True)):
        found = check(_difference(np.full(rows, -1.0)), Gate(), "absolute", "")
        assert found.passed is passed
    assert not check(_difference(np.zeros(100)), Gate(), "absolute", "").passed
    assert not check(_difference(np.full(100, 1.0)), Gate(), "absolute", "").passed


def _sliced(d: Floats, size: int) -> list[bool | None]:
    """Return which of slices of so many rows pass."""
    groups = np.arange(len(d)) // size
    column = Column("column", "column =", [str(value) for value in range(len(d) // size)], groups)
    return [one.passed for one in slices.check(d, np.zeros(len(d)), [column], Gate(), told_only=False)]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("count", "size"), [(4, 50), (12, 100), (12, 400), pytest.param(60, 50, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("shape", SYMMETRIC)
def test_slices_hold_a_good_candidate_back_as_seldom_as_said(shape: str, count: int, size: int) -> None:
    """A candidate that is worse on no slice fails one of them in at most 5 % of all cases."""
    draws = np.random.default_rng(count).choice([-1.0, 0.0, 1.0], (300, count * size), p=SYMMETRIC[shape])
    failed = np.mean([False in _sliced(d, size) for d in draws])
    assert failed <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / len(draws))


def test_many_slices_ask_for_more_of_each() -> None:
    """Six rows that are all lost, as chance does once in 64 times, are enough alone, not among 60."""
    d = np.zeros(60 * 60)
    d[:60:10] = 9.0
    assert _sliced(d[:60], 60) == [False]
    assert _sliced(d, 60) == [True] * 60
    column = Column("column", "column =", [str(value) for value in range(60)], np.arange(len(d)) // 60)
    first, *_ = slices.check(d, np.zeros(len(d)), [column], Gate(), told_only=False)
    assert first.numbers["chance"] == pytest.approx(60 / 64, rel=0.1)
    told = f"(p = {first.numbers['chance']:.2g} on one of 60 slices)"
    assert first.words.endswith(f"more than slice_margin = 0.05, but maybe by chance {told}")


def test_harm_is_found_among_thousands_of_slices() -> None:
    """Rows that are nearly all lost fail their slice, however few of all slices it is."""
    d = np.zeros(5000 * 50)
    d[:48] = 1.0
    assert _sliced(d, 50) == [False, *[True] * 4999]


@pytest.mark.parametrize("rows", [30, 60])
def test_small_chances_are_bounded_and_not_below_the_truth(rows: int) -> None:
    """2⁻ᵐ of m rows that are all lost: less than one draw of many, and no more than exp(−m / 2)."""
    assert 2.0**-rows <= exchanged(Kinds.of(np.ones(rows))) <= np.exp(-rows / 2)


def test_a_difference_within_the_margin_does_not_fail() -> None:
    """Worse beyond chance by less than `slice_margin` is allowed; by more, if chance may be why, too."""
    certain = (np.arange(2000) % 25 == 0).astype(float)  # 0.04 more a row, always
    assert _sliced(certain, 2000) == [True]
    maybe = np.zeros(50)
    maybe[:3] = 1.0
    assert _sliced(maybe, 50) == [True]


def _drawn(rows: int, sharper: float = 1.0, seed: int = 0) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return labels, the distribution that they were drawn from, and that made sharper."""
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(4, 0.7), rows)
    y = np.minimum((p.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1), 3)
    sharp = p**sharper
    return y, p, sharp / sharp.sum(axis=1, keepdims=True)


def test_the_calibration_error_is_that_of_the_metrics() -> None:
    """What the gate takes apart by bins is the ECE that reports show."""
    y, p, _ = _drawn(500)
    p[:50] = np.eye(4)[0]
    assert Forecast.of(y, p).error == pytest.approx(metrics.expected_calibration_error(y, p))


@pytest.mark.parametrize("rows", [40, 400])
def test_what_chance_makes_of_a_calibrated_forecast(rows: int) -> None:
    """The expected ECE in closed form is the mean over labels that are drawn from the forecast."""
    _, p, _ = _drawn(rows)
    random = np.random.default_rng(1)
    drawn = [
        Forecast.of((p.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1).clip(0, 3), p).error
        for _ in range(800)
    ]
    assert Forecast.of(np.zeros(rows, np.int64), p).by_chance == pytest.approx(np.mean(drawn), rel=0.03)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("rows", [60, 300, 1000])
def test_a_calibrated_candidate_passes_and_an_overconfident_one_does_not(rows: int) -> None:
    """Against nothing and against a champion as good, on few rows and on many."""
    held_back = {"alone": 0, "beside": 0}
    for seed in range(80):
        y, p, _ = _drawn(rows, seed=seed)
        less = np.repeat((p[:, ::2] + p[:, 1::2]) / 2, 2, axis=1)  # as calibrated, since labels are alike
        mine, theirs = Forecast.of(y, p), Forecast.of(y, less)
        held_back["alone"] += not calibration.check(mine, None, Gate()).passed
        held_back["beside"] += not calibration.check(mine, theirs, Gate()).passed
    assert max(held_back.values()) <= 0.075 * 80
    y, p, sharp = _drawn(rows, sharper=5)
    if rows >= 300:
        assert not calibration.check(Forecast.of(y, sharp), Forecast.of(y, p), Gate()).passed
        assert not calibration.check(Forecast.of(y, sharp), None, Gate()).passed
    assert calibration.check(Forecast.of(y, sharp), Forecast.of(y, sharp), Gate()).passed
    assert calibration.check(Forecast.of(y, p), Forecast.of(y, sharp), Gate()).passed


def test_one_certain_row_is_a_forecast() -> None:
    """One row, and a forecast that is always sure and right, give numbers and no warnings."""
    sure = Forecast.of(np.array([1]), np.eye(4)[[1]])
    assert (sure.error, sure.by_chance) == (0, 0)
    assert calibration.check(sure, sure, Gate()).passed


def test_so_few_labels_are_covered_as_seldom_as_said() -> None:
    """P(K ≤ k) is how often split conformal intervals of continuous scores hold at most k labels."""
    random, rows, calibration_rows = np.random.default_rng(0), 50, 39
    scores = random.random((20_000, calibration_rows))
    threshold = np.sort(scores, axis=1)[:, 36 - 1]  # ⌈40 · 0.9⌉
    covered = np.sum(random.random((20_000, rows)) <= threshold[:, np.newaxis], axis=1)
    for k in (35, 40, 44, 49):
        wanted = coverage.chance_of(k, rows, calibration_rows, 0.9)
        assert np.mean(covered <= k) == pytest.approx(wanted, abs=0.01)


def test_coverage_is_checked_on_a_ring() -> None:
    """An interval that wraps holds the labels on both of its ends."""
    ring = Topology.of(range(4), 4)
    y = np.repeat([0, 3], 50)
    wrapped = np.tile([3, 0], (100, 1))
    assert coverage.check(y, wrapped, ring, 99, 0.9, 0.95).passed
    missed = coverage.check(y, np.tile([1, 2], (100, 1)), ring, 99, 0.9, 0.95)
    assert not missed.passed
    assert missed.words.startswith("0 % of 100 labels are in their interval, where 90 % are wanted: so few")


def test_a_million_rows_take_seconds() -> None:
    """Nothing is drawn row by row."""
    random = np.random.default_rng(0)
    y, first, second = random.integers(0, 10, (3, 1_000_000))
    candidate, champion = (np.abs(y - other).astype(float) for other in (first, second))
    forecasts = [
        Forecast(random.integers(7, 15, 1_000_000), np.full(1_000_000, 0.7), random.random(1_000_000) < 0.7)
        for _ in range(2)
    ]
    start = time.perf_counter()
    check(Difference.of(candidate, champion, 0.95), Gate(), "absolute", "")
    labels = Column("label", "label", [str(label) for label in range(10)], y)
    slices.check(candidate, champion, [labels], Gate(), told_only=False)
    assert calibration.check(*forecasts, Gate()).passed
    assert time.perf_counter() - start < 10
