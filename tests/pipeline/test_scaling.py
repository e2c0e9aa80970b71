"""Temperature and vector scaling: planted ones are found, grids and numerical minima agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from pipeline.calibration import Scale, Scaling, fit_temperature, fit_vector, mean_probabilities

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Fit = Callable[[Floats, Labels], Scaling]
FITS: list[Fit] = [fit_temperature, fit_vector]

SLOPES = np.array([0.5, 1.5, 1.0, 2.0, 0.8])
OFFSETS = np.array([1.0, -1.0, 0.5, 0.0, -0.5])
"""With a sum of 0, as those that are fitted."""


def _draw(q: Floats, random: np.random.Generator) -> Labels:
    """A label of each row of q."""
    above = random.random((len(q), 1)) > np.cumsum(q, axis=1)[:, :-1]
    return above.sum(axis=1)


def _loss(log_p: Floats, y: Labels) -> float:
    """Mean −log of the mean over passes, of `(rows, S, K)`."""
    return float(np.mean([-np.log(np.mean(np.exp(row[:, i]))) for row, i in zip(log_p, y, strict=True)]))


def _on_grid(log_p: Floats, y: Labels) -> tuple[float, float]:
    """The least loss of any temperature from 0.14 to 7 in steps of 1 %, and that temperature."""
    return min((_loss(log_softmax(log_p / t, axis=-1), y), t) for t in np.exp(np.arange(-2, 2, 0.01)))


def _passes(seed: int, rows: int = 300) -> tuple[Floats, Labels]:
    """Three passes that disagree, too sure, with a bias towards the first labels; and true labels."""
    random = np.random.default_rng(seed)
    q = random.dirichlet(np.ones(4), rows)
    noise = random.normal(0, 1, (rows, 3, 4))
    log_p = 2 * np.log(q)[:, np.newaxis] + np.array([1, 0.5, 0, -0.5]) + noise
    return log_softmax(log_p, axis=-1), _draw(q, random)


def _planted(seed: int, rows: int = 5000) -> tuple[Floats, Labels, Floats]:
    """Log-probabilities `(rows, 1, 5)`, labels, and the q that SLOPES and OFFSETS make of them."""
    random = np.random.default_rng(seed)
    log_p = log_softmax(random.normal(0, 1.5, (rows, 5)), axis=-1)
    q = np.exp(log_softmax(log_p * SLOPES + OFFSETS, axis=-1))
    return log_p[:, np.newaxis], _draw(q, random), q


@pytest.mark.parametrize("planted", [0.3, 0.7, 1.0, 1.6, 3.0])
def test_the_planted_temperature_is_found(planted: float) -> None:
    """Log-probabilities T times as far apart as the truth's have the temperature T, within 3 %."""
    random = np.random.default_rng(1)
    q = random.dirichlet(np.ones(5), 20_000)
    y = _draw(q, random)
    log_p = log_softmax(planted * np.log(q), axis=-1)[:, np.newaxis]
    scaling = fit_temperature(log_p, y)
    assert scaling.method == "temperature"
    assert scaling.temperature == pytest.approx(planted, rel=0.03)
    np.testing.assert_allclose(np.exp(scaling(log_p))[:, 0], q, atol=0.02)
    assert scaling.slopes.tolist() == [scaling.slopes[0]] * 5
    assert scaling.offsets.tolist() == [0] * 5


@given(strategies.simplex_rows(count=3, most=4), st.data())
def test_no_temperature_of_a_grid_is_better(p: Floats, data: st.DataObject) -> None:
    """For any few rows of a single pass, whose likelihood has one maximum."""
    y = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(p), max_size=len(p))))
    log_p = np.log(p)[:, np.newaxis]
    scaling = fit_temperature(log_p, y)
    assert np.exp(-4) <= scaling.temperature <= np.exp(5)
    betas = np.exp(np.linspace(-5, 4, 300))[:, np.newaxis, np.newaxis]
    scaled = log_softmax(betas * log_p[:, 0], axis=-1)  # (300, rows, K)
    of_truth = scaled[:, np.arange(len(y)), y]
    assert _loss(scaling(log_p), y) <= -of_truth.mean(axis=1).max() + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_with_passes_the_loss_of_their_scaled_mean_is_least(seed: int) -> None:
    """The best of a grid is found, which is not what would be best for the mean scaled afterwards."""
    log_p, y = _passes(seed)
    scaling = fit_temperature(log_p, y)
    least, at = _on_grid(log_p, y)
    assert scaling.temperature == pytest.approx(at, rel=0.01)
    assert least - 1e-4 < _loss(scaling(log_p), y) <= least + 1e-9
    of_mean = fit_temperature(np.log(mean_probabilities(log_p))[:, np.newaxis], y)
    assert of_mean.temperature < 0.95 * scaling.temperature
    assert _loss(of_mean(log_p), y) > least + 1e-4


@pytest.mark.parametrize("fit", FITS)
def test_passes_that_agree_are_as_one(fit: Fit) -> None:
    """The same answer four times over is scaled as it would be once."""
    log_p, y, _ = _planted(0, rows=400)
    once, often = fit(log_p, y), fit(np.repeat(log_p, 4, axis=1), y)
    np.testing.assert_allclose(often.slopes, once.slopes, rtol=1e-4)
    np.testing.assert_allclose(often.offsets, once.offsets, atol=1e-4)


def _penalised(parameters: Floats, log_p: Floats, y: Labels) -> float:
    """The loss, and what leaving the best temperature costs: ½·Σ (relative change)² / rows."""
    slope, k = fit_temperature(log_p, y).slopes[0], log_p.shape[2]
    slopes, offsets = parameters[:k], parameters[k:]
    leaving = np.sum((slopes / slope - 1) ** 2) + np.sum(offsets**2)
    rows = np.arange(len(y))
    mean = np.mean(np.exp(log_softmax(log_p * slopes + offsets, axis=-1)[rows, :, y]), axis=1)
    return float(-np.mean(np.log(mean)) + leaving / (2 * len(y)))


@pytest.mark.parametrize("seed", range(4))
def test_planted_slopes_and_offsets_are_undone(seed: int) -> None:
    """The fitted rows are likelier than under the truth itself, and probabilities come close to q."""
    log_p, y, q = _planted(seed)
    scaling = fit_vector(log_p, y)
    assert scaling.method == "vector"
    assert _loss(scaling(log_p), y) <= _loss(np.log(q)[:, np.newaxis], y)
    found = _penalised(np.concatenate([scaling.slopes, scaling.offsets]), log_p, y)
    assert found <= _penalised(np.concatenate([SLOPES, OFFSETS]), log_p, y)
    assert _loss(fit_temperature(log_p, y)(log_p), y) > _loss(scaling(log_p), y) + 0.3
    wrong = np.abs(np.exp(scaling(log_p))[:, 0] - q)
    assert wrong.max() < 0.08
    assert wrong.mean() < 0.01
    np.testing.assert_allclose(scaling.slopes, SLOPES, rtol=0.2)
    np.testing.assert_allclose(scaling.offsets, OFFSETS, atol=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_the_vector_is_where_a_search_without_gradients_ends(seed: int) -> None:
    """The penalised loss of three passes, minimised with numerical gradients, is least there too."""
    log_p, y = _passes(seed)
    scaling = fit_vector(log_p, y)
    slope = fit_temperature(log_p, y).slopes[0]
    start = np.concatenate([np.full(4, slope), np.zeros(4)])
    searched = minimize(_penalised, start, (log_p, y), method="BFGS", options={"gtol": 1e-6})
    found = np.concatenate([scaling.slopes, scaling.offsets])
    np.testing.assert_allclose(found, searched.x, atol=2e-3)
    assert _penalised(found, log_p, y) == pytest.approx(searched.fun, abs=1e-7)
    assert _penalised(found, log_p, y) < _penalised(start, log_p, y) - 0.01


@pytest.mark.parametrize("seed", range(3))
def test_no_step_from_the_vector_is_better(seed: int) -> None:
    """Small changes in random directions improve the penalised loss by no more than rounding."""
    log_p, y = _passes(seed)
    scaling = fit_vector(log_p, y)
    found = np.concatenate([scaling.slopes, scaling.offsets])
    least, random = _penalised(found, log_p, y), np.random.default_rng(seed)
    for step in (1e-3, 1e-2, 1e-1):
        for direction in random.normal(size=(20, 8)):
            assert _penalised(found + step * direction, log_p, y) > least - 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_label_without_rows_stays_near_the_temperature(seed: int) -> None:
    """Of a label that was not expected anyway, its absence from a hundred rows says little."""
    random = np.random.default_rng(seed)
    q = random.dirichlet([3, 3, 3, 0.03], 100)
    y = _draw(q[:, :3] / q[:, :3].sum(axis=1, keepdims=True), random)
    log_p = log_softmax(1.7 * np.log(np.maximum(q, 1e-12)), axis=-1)[:, np.newaxis]
    slope, scaling = fit_temperature(log_p, y).slopes[0], fit_vector(log_p, y)
    assert scaling.slopes[3] == pytest.approx(slope, rel=0.5)
    assert abs(scaling.offsets[3]) < 0.4
    np.testing.assert_allclose(np.exp(scaling(log_p))[..., 3].mean(), 0, atol=0.02)


def test_an_expected_label_without_rows_does_not_run_away() -> None:
    """A quarter is promised to a label that never comes: it sinks, as far as a hundred rows can say."""
    random = np.random.default_rng(0)
    q = random.dirichlet(np.ones(4), 100)
    y = _draw(q[:, :3] / q[:, :3].sum(axis=1, keepdims=True), random)
    scaling = fit_vector(np.log(q)[:, np.newaxis], y)
    assert -4 < scaling.offsets[3] < -1
    p = np.exp(scaling(np.log(q)))
    assert 1e-3 < p[:, 3].mean() < 0.05
    assert p.min() > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("turned", [False, True], ids=["any order", "turned"])
def test_the_order_of_labels_does_not_matter(seed: int, turned: bool) -> None:
    """Labels in another order have the same slopes, offsets and probabilities, in that order."""
    log_p, y = _passes(seed)
    order = np.roll(np.arange(4), 1) if turned else np.random.default_rng(seed).permutation(4)
    renamed = np.argsort(order)[y]
    one, other = fit_vector(log_p, y), fit_vector(log_p[:, :, order], renamed)
    np.testing.assert_allclose(other.slopes, one.slopes[order], atol=1e-3)
    np.testing.assert_allclose(other.offsets, one.offsets[order], atol=1e-3)
    np.testing.assert_allclose(
        np.exp(other(log_p[:, :, order])), np.exp(one(log_p))[:, :, order], atol=1e-3
    )
    assert np.ptp(one.offsets) > 0.3  # there is something to be in another order
    alike = fit_temperature(log_p[:, :, order], renamed).temperature
    assert alike == pytest.approx(fit_temperature(log_p, y).temperature)


@pytest.mark.parametrize("fit", FITS)
def test_offsets_sum_to_zero(fit: Fit) -> None:
    """What all offsets have in common changes no probability, and is left out."""
    assert fit(*_passes(0)).offsets.sum() == pytest.approx(0, abs=1e-12)


@given(strategies.simplex_rows(), st.data())
def test_a_scaling_is_the_softmax_of_what_it_says(p: Floats, data: st.DataObject) -> None:
    """Pass for pass exp(slope·log p + offset) over the sum of those; none of them leaves p as it was."""
    k = p.shape[1]
    slopes = np.array(data.draw(st.lists(st.floats(0.1, 5), min_size=k, max_size=k)))
    offsets = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=k, max_size=k)))
    powers = p**slopes * np.exp(offsets)
    wanted = powers / powers.sum(axis=1, keepdims=True)
    scaling = Scaling("vector", slopes, offsets)
    np.testing.assert_allclose(np.exp(scaling(np.log(p))), wanted, rtol=1e-9)
    np.testing.assert_allclose(np.exp(scaling(np.log(p)[:, np.newaxis]))[:, 0], wanted, rtol=1e-9)
    assert scaling.temperature == pytest.approx(k / slopes.sum())
    np.testing.assert_allclose(np.exp(Scaling.none(k)(np.log(p))), p, rtol=1e-12)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("right", [True, False], ids=["always right", "always wrong"])
def test_extreme_log_probabilities_stay_finite(fit: Fit, right: bool) -> None:
    """Of answers as sure as 0 against −200, whether they are right or not."""
    log_p = np.full((30, 2, 4), -200.0)
    log_p[:, :, 0] = 0
    y = np.full(30, 0 if right else 2)
    scaling = fit(log_p, y)
    scaled = scaling(log_p)
    assert np.isfinite(scaled).all()
    assert np.isfinite(scaling.slopes).all()
    assert np.isfinite(scaling.offsets).all()
    assert (scaling.slopes > 0).all()
    assert _loss(scaled, y) < (1e-9 if right else 2)  # uniform would be log 4 = 1.39
    assert np.isfinite(Scale(scaling.slopes.tolist(), scaling.offsets.tolist())(log_p)).all()


@pytest.mark.parametrize("fit", FITS)
def test_one_row_is_enough_not_to_fail(fit: Fit) -> None:
    """However little a single row can say, it says nothing that is not a number."""
    log_p = np.log(np.array([[[0.6, 0.3, 0.1]]]))
    for label in range(3):
        assert np.isfinite(fit(log_p, np.array([label]))(log_p)).all()


@pytest.mark.parametrize("fit", FITS)
def test_the_layer_is_the_scaling_and_survives_saving(fit: Fit, tmp_path: Path) -> None:
    """On passes of float32, and after a round trip through a .keras file."""
    log_p, y = _passes(0)
    scaling = fit(log_p, y)
    rows = keras.Input(shape=(None, 4))
    network = keras.Model(rows, Scale(scaling.slopes.tolist(), scaling.offsets.tolist())(rows))
    passes = log_p.astype(np.float32)
    np.testing.assert_allclose(network(passes), scaling(passes), atol=1e-5)
    network.save(tmp_path / "scale.keras")
    loaded = keras.saving.load_model(tmp_path / "scale.keras")
    assert loaded(passes).numpy().tolist() == network(passes).numpy().tolist()
