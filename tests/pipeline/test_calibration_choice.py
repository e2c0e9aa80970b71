"""Which calibration is kept, on planted distortions and on a trained network; the calibration part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import losses as keras_losses
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_class_weight

from pipeline import calibrate, ensemble, losses, metrics, train
from pipeline.calibrate import Calibrated
from pipeline.calibration import (
    Distortion,
    Scaling,
    choose,
    choose_scaling,
    choose_undone,
    fit_temperature,
    fit_vector,
    mean_probabilities,
)
from pipeline.config import Config, Named
from pipeline.conformal import Conformal
from pipeline.data import Dataset, Labels
from pipeline.data.columns import Column
from pipeline.data.splits import Parts
from pipeline.ensemble import Member
from pipeline.losses import soft_labels
from pipeline.topology import Topology
from pipeline.train import Fitted

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
K = 5
LINE, RING = Topology.of(range(K)), Topology.of(range(K), period=K)
BOTH = pytest.mark.parametrize("topology", [LINE, RING], ids=["line", "ring"])
SEEDS = pytest.mark.parametrize("seed", range(2))
WEIGHTS = np.array([3.0, 1.0, 0.4, 1.0, 2.0])
BIAS = np.array([1.0, 0.0, -1.0, 0.5, -0.5])


def _truth(seed: int, rows: int = 400, classes: int = K) -> tuple[Floats, Indices]:
    """True distributions of rows, and a label drawn from each."""
    random = np.random.default_rng(seed)
    q = random.dirichlet(np.ones(classes), rows)
    return q, (random.random((rows, 1)) > np.cumsum(q, axis=1)[:, :-1]).sum(axis=1)


def _passes(p: Floats) -> Floats:
    """Log-probabilities `(rows, 1, K)` of a single pass."""
    return np.log(p)[:, np.newaxis]


def _too_sure(q: Floats) -> Floats:
    return log_softmax(2 * _passes(q), axis=-1)


def _biased(q: Floats) -> Floats:
    return log_softmax(_passes(q) + BIAS, axis=-1)


def _noisy(q: Floats) -> Floats:
    """Three passes that are too sure, biased, and not of one mind."""
    noise = np.random.default_rng(0).normal(0, 0.7, (len(q), 3, q.shape[1]))
    return log_softmax(1.5 * _passes(q) + BIAS / 2 + noise, axis=-1)


Made = Callable[[Floats], Floats]
MADE = pytest.mark.parametrize("made", [_passes, _too_sure, _biased, _noisy])


def _scores(p: Floats, y: Indices, topology: Topology) -> tuple[float, float]:
    return (
        metrics.negative_log_likelihood(y, p),
        metrics.ranked_probability_score(y, p, topology),
    )


@BOTH
@SEEDS
@MADE
def test_cross_fitted_scores_never_get_worse(made: Made, seed: int, topology: Topology) -> None:
    """Neither NLL nor RPS, whether the input was calibrated before or not."""
    q, y = _truth(seed)
    chosen = choose_scaling(made(q), y, topology)
    after = _scores(chosen.probabilities, y, topology)
    before = _scores(np.exp(made(q)).mean(axis=1), y, topology)
    assert after[0] <= before[0] + 1e-12
    assert after[1] <= before[1] + 1e-12
    np.testing.assert_allclose(chosen.probabilities.sum(axis=1), 1, atol=1e-12)
    if chosen.scaling.method == "none":
        np.testing.assert_allclose(chosen.probabilities, mean_probabilities(made(q)))


@BOTH
@settings(max_examples=10)
@given(strategies.simplex_rows(count=K, most=8), st.data())
def test_few_rows_are_not_made_worse_either(topology: Topology, p: Floats, data: st.DataObject) -> None:
    """Of one row to eight, fewer than there are folds, all is finite and nothing is lost."""
    y = np.array(data.draw(st.lists(st.integers(0, K - 1), min_size=len(p), max_size=len(p))))
    chosen = choose_scaling(_passes(p), y, topology)
    assert chosen.probabilities.shape == p.shape
    assert np.isfinite(chosen.scaling(_passes(p))).all()
    for after, before in zip(
        _scores(chosen.probabilities, y, topology), _scores(p, y, topology), strict=True
    ):
        assert after <= before + 1e-12


@BOTH
@SEEDS
def test_calibrated_probabilities_are_hardly_changed(seed: int, topology: Topology) -> None:
    """What is chosen on 400 calibrated rows costs others, of which there are many, next to nothing."""
    scaling = choose_scaling(_passes((truth := _truth(seed))[0]), truth[1], topology).scaling
    q, y = _truth(seed + 100, rows=20_000)
    before, after = (_scores(p, y, topology) for p in (q, np.exp(scaling(np.log(q)))))
    assert after[0] < before[0] + 0.015
    assert after[1] < before[1] + 0.005
    assert scaling.temperature == pytest.approx(1, abs=0.25)


@BOTH
@SEEDS
def test_too_sure_probabilities_get_a_temperature_above_1(seed: int, topology: Topology) -> None:
    """Twice as sure as the truth: cooled to about that, on other rows too."""
    q, y = _truth(seed)
    chosen = choose_scaling(_too_sure(q), y, topology)
    assert chosen.scaling.method in ("temperature", "vector")
    assert 1.5 < chosen.scaling.temperature < 2.6
    before = _scores(np.exp(_too_sure(q))[:, 0], y, topology)
    assert _scores(chosen.probabilities, y, topology)[0] < before[0] - 0.1
    fresh, labels = _truth(seed + 100, rows=5000)
    raw, cooled = np.exp(_too_sure(fresh))[:, 0], np.exp(chosen.scaling(_too_sure(fresh)))[:, 0]
    assert _scores(cooled, labels, topology)[0] < _scores(raw, labels, topology)[0] - 0.1


@BOTH
@SEEDS
def test_biased_labels_get_an_offset_each(seed: int, topology: Topology) -> None:
    """No temperature mends a bias towards some labels; vector scaling takes it back."""
    q, y = _truth(seed, rows=1000)
    scaling = choose_scaling(_biased(q), y, topology).scaling
    assert scaling.method == "vector"
    fresh, _ = _truth(seed + 100)
    wrong = np.abs(np.exp(scaling(_biased(fresh)))[:, 0] - fresh).sum(axis=1).mean() / 2
    assert wrong < 0.05
    assert np.abs(np.exp(_biased(fresh))[:, 0] - fresh).sum(axis=1).mean() / 2 > 0.15


def test_what_mends_one_score_and_spoils_the_other_is_not_kept() -> None:
    """A better NLL with more mass far away is no gain on a line; round a ring of three nothing is far."""
    y, old, new = np.array([0]), np.array([[0.4, 0.6, 0.0]]), np.array([[0.45, 0.1, 0.45]])
    assert not choose._harmless(new, old, y, Topology.of(range(3)))
    assert choose._harmless(new, old, y, Topology.of(range(3), period=3))
    for topology in (Topology.of(range(3)), Topology.of(range(3), period=3)):
        assert choose._harmless(old, old, y, topology)
        assert not choose._harmless(np.array([[0.39, 0.61, 0.0]]), old, y, topology)


@SEEDS
@MADE
def test_a_turned_ring_has_the_turned_result(made: Made, seed: int) -> None:
    """Where the labels of a ring are counted from changes nothing but their numbers."""
    q, y = _truth(seed)
    here, there = (
        choose_scaling(np.roll(made(q), steps, axis=-1), (y + steps) % K, RING) for steps in (0, 2)
    )
    assert there.scaling.method == here.scaling.method
    np.testing.assert_allclose(there.scaling.slopes, np.roll(here.scaling.slopes, 2), atol=1e-3)
    np.testing.assert_allclose(there.scaling.offsets, np.roll(here.scaling.offsets, 2), atol=1e-3)
    np.testing.assert_allclose(there.probabilities, np.roll(here.probabilities, 2, axis=1), atol=1e-3)


@pytest.mark.parametrize("fit", [fit_temperature, fit_vector])
@pytest.mark.parametrize("row", [0, 17, 99])
def test_a_rows_own_label_has_no_say_in_its_probabilities(fit: choose.Fit, row: int) -> None:
    """They are the very same with another label; so are those of its fold, and no others."""
    q, y = _truth(0, rows=100)
    other = y.copy()
    other[row] = (y[row] + 2) % K
    log_p = _noisy(q)
    one, changed = choose._cross_fitted(fit, log_p, y), choose._cross_fitted(fit, log_p, other)
    same = (one == changed).all(axis=1)
    assert same[row]
    assert same.sum() == 100 / choose.FOLDS


@given(strategies.simplex_rows(), st.data())
def test_mean_probabilities_are_those_of_the_passes(p: Floats, data: st.DataObject) -> None:
    """The arithmetic mean over passes; it sums to 1, also where the passes are rounded to float32."""
    order = data.draw(st.permutations(range(p.shape[1])))
    passes = np.stack([np.log(p), np.log(p[:, order])], axis=1)
    np.testing.assert_allclose(mean_probabilities(passes), (p + p[:, order]) / 2, rtol=1e-9)
    rounded = mean_probabilities(passes.astype(np.float32))
    np.testing.assert_allclose(rounded.sum(axis=1), 1, atol=1e-15)
    np.testing.assert_allclose(rounded, (p + p[:, order]) / 2, rtol=1e-5)


def _weighted(q: Floats) -> Floats:
    return WEIGHTS * q / (q @ WEIGHTS)[:, np.newaxis]


@BOTH
@SEEDS
def test_what_training_really_did_is_undone_and_what_it_did_not_is_left(
    seed: int, topology: Topology
) -> None:
    """Of class weights and soft labels, both said to have been there, exactly those that were are kept."""
    q, y = _truth(seed)
    soft = soft_labels.exponential(topology)
    claimed = Distortion(soft, WEIGHTS)
    done: dict[tuple[str, ...], Floats] = {
        (): q,
        ("class_weights",): _weighted(q),
        ("soft_labels",): q @ soft,
        ("soft_labels", "class_weights"): _weighted(q) @ soft,
    }
    for parts, p in done.items():
        kept = choose_undone(_passes(p), y, claimed, topology)
        assert kept.parts == parts
        if kept.soft_labels is not None:
            assert kept.soft_labels.tolist() == soft.tolist()
        if kept.class_weights is not None:
            assert kept.class_weights.tolist() == WEIGHTS.tolist()


@SEEDS
def test_undoing_is_judged_after_a_temperature(seed: int) -> None:
    """A network that is too sure besides has its weights undone all the same."""
    q, y = _truth(seed)
    too_sure = log_softmax(2.5 * _passes(_weighted(q)), axis=-1)
    claimed = Distortion(class_weights=WEIGHTS)
    assert choose_undone(too_sure, y, claimed, LINE).parts == ("class_weights",)


@SEEDS
def test_soft_labels_beyond_undoing_are_passed_over(seed: int) -> None:
    """Above a condition number of 50 they are left alone, and class weights are undone nonetheless."""
    q, y = _truth(seed)
    beyond = soft_labels.poisson(K)  # condition number 1050
    p = _passes(_weighted(q))
    assert choose_undone(p, y, Distortion(beyond, WEIGHTS), LINE).parts == ("class_weights",)
    assert choose_undone(p, y, Distortion(beyond), LINE).parts == ()
    assert choose_undone(p, y, Distortion(), LINE).parts == ()


# On a trained network.

COUNTS = (900, 400, 200, 100)  # of each label


@pytest.fixture(scope="module")
def config() -> Config:
    """A small network with dropout, rows weighted by class."""
    return Config.model_validate(
        {
            "name": "grades",
            "data": {"source": "digits"},  # not read: the rows are made here
            "model": {"hidden": [16], "class_weight": "balanced"},
            "search": {"epochs": 12, "learning_rate": 0.01, "patience": 4},
        }
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    """1,600 rows of three columns, of which two tell something of four labels of unequal frequency."""
    random = np.random.default_rng(0)
    y = random.permutation(np.repeat(np.arange(4), COUNTS))
    x = random.normal(0, 1, (1600, 3))
    x[:, 0] += y
    x[:, 1] += (y - 1.5) ** 2
    train_rows, validation, calibration, test = np.split(np.arange(1600), [700, 1150, 1400])
    names = ("poor", "fair", "good", "best")
    return Dataset(
        x.astype(np.float32), y, Labels(names, Topology.of(range(4))),
        Parts(train_rows, validation, calibration, test), tuple(map(Column, "abc")),
    )  # fmt: skip


@pytest.fixture(scope="module")
def loss(data: Dataset) -> keras_losses.Loss:
    """The log score."""
    return losses.build("cross_entropy", {}, data.labels.topology)


def _fit(data: Dataset, loss: keras_losses.Loss, config: Config) -> Fitted:
    return train.fit(data, loss, Named(name="softmax"), config.model, config.search, seed=3)


@pytest.fixture(scope="module")
def fitted(data: Dataset, loss: keras_losses.Loss, config: Config) -> Fitted:
    """The network."""
    return _fit(data, loss, config)


@dataclass(frozen=True)
class _Finished:
    """All that comes of a data set."""

    fitted: Fitted
    member: Member
    calibrated: Calibrated
    conformal: Conformal


def _finish(fitted: Fitted, loss: keras_losses.Loss, data: Dataset, passes: int = 1) -> _Finished:
    member = calibrate.member(fitted, loss, passes, 7, data)
    calibrated = calibrate.calibrate([member], data)
    return _Finished(fitted, member, calibrated, calibrate.conformal(calibrated.model, "central", data))


@pytest.fixture(scope="module")
def finished(fitted: Fitted, loss: keras_losses.Loss, data: Dataset) -> _Finished:
    """The network with its calibration and its intervals."""
    return _finish(fitted, loss, data)


def _answers(fitted: Fitted, data: Dataset, passes: int = 1, seed: int = 0) -> Floats:
    """What the network says of all rows, `(rows, passes, 4)` log-probabilities, before any calibration."""
    network = ensemble.assemble([Member(fitted.model, passes, seed)], Scaling.none(4))
    return ensemble.answer(network, data.features).astype(float)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8))
def test_balanced_weights_are_scikit_learns(counts: list[int]) -> None:
    """Rows of each label weigh as much as those of any other, and a row 1 in the mean."""
    y = np.repeat(np.arange(len(counts)), counts)
    weights = train.balanced(y, len(counts))
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.unique(y), y=y))
    np.testing.assert_allclose(weights * counts, len(y) / len(counts))
    assert weights[y].mean() == pytest.approx(1)


def test_balanced_weights_written_out() -> None:
    """All rows over K times the rows of the label."""
    assert train.balanced(np.array([0, 0, 0, 0, 1, 2, 2, 2]), 3).tolist() == [8 / 12, 8 / 3, 8 / 9]


def test_training_with_weights_keeps_the_epoch_with_the_best_undone_loss(
    fitted: Fitted, data: Dataset
) -> None:
    """Validation is by the plain loss of answers from which the weights are divided out."""
    rows = data.parts.train
    assert fitted.class_weights is not None
    np.testing.assert_allclose(fitted.class_weights, train.balanced(data.y[rows], 4))
    validation = fitted.curves["val_undone_loss"]
    assert fitted.best_epoch == int(np.argmin(validation))
    y = data.y[data.parts.validation]
    p = np.exp(_answers(fitted, data)[data.parts.validation, 0]) / fitted.class_weights
    undone = p / p.sum(axis=1, keepdims=True)
    plain = -np.log(undone[np.arange(len(y)), y]).mean()
    assert min(validation) == pytest.approx(plain, abs=1e-5)
    assert fitted.curves["val_loss"][fitted.best_epoch] != pytest.approx(plain, abs=0.02)


def test_what_the_rarest_label_says_does_not_choose_the_epoch(
    loss: keras_losses.Loss, data: Dataset, config: Config
) -> None:
    """Some rows mislabelled as the rarest weigh so much that by them an earlier one would be kept."""
    rows = data.parts.validation
    y = data.y.copy()
    y[rows[y[rows] == 0][:30]] = 3
    fitted = _fit(replace(data, y=y), loss, config)
    assert fitted.best_epoch == int(np.argmin(fitted.curves["val_undone_loss"]))
    assert fitted.best_epoch > int(np.argmin(fitted.curves["val_loss"]))


def test_training_without_weights_validates_by_the_loss(
    loss: keras_losses.Loss, data: Dataset, config: Config
) -> None:
    """There is nothing to undo and no curve of it."""
    unweighted = config.model_copy(
        update={
            "model": config.model.model_copy(update={"class_weight": "none"}),
            "search": config.search.model_copy(update={"epochs": 2}),
        }
    )
    fitted = _fit(data, loss, unweighted)
    assert fitted.class_weights is None
    assert "val_undone_loss" not in fitted.curves
    assert fitted.best_epoch == int(np.argmin(fitted.curves["val_loss"]))
    assert calibrate.member(fitted, loss, 1, 0, data).undone.parts == ()


def test_class_weights_of_a_network_are_undone(finished: _Finished, data: Dataset) -> None:
    """They took it from the frequencies of labels, and undone it is back at them."""
    assert finished.member.undone.parts == ("class_weights",)
    undone = finished.member.undone.class_weights
    assert undone is not None
    assert undone.tolist() == train.balanced(data.y[data.parts.train], 4).tolist()
    y = data.y[data.parts.validation]
    frequency = np.bincount(y, minlength=4) / len(y)
    before = np.abs(finished.calibrated.before.mean(axis=0) - frequency).sum()
    after = np.abs(finished.calibrated.after.mean(axis=0) - frequency).sum()
    assert before > 0.15
    assert after < before / 2
    topology = data.labels.topology
    nll, rps = _scores(finished.calibrated.after, y, topology)
    nll_before, rps_before = _scores(finished.calibrated.before, y, topology)
    assert nll < nll_before - 0.05
    assert rps < rps_before


def test_soft_labels_that_were_never_there_are_not_undone(fitted: Fitted, data: Dataset) -> None:
    """A network of hard labels, said to have had soft ones, keeps what it says."""
    claimed = losses.build("sord", {}, data.labels.topology)
    assert calibrate.member(fitted, claimed, 1, 0, data).undone.parts == ("class_weights",)


def _by_hand(log_p: Floats, weights: Floats, scaling: Scaling) -> Floats:
    """Scaling of answers `(rows, …, 4)` from which class weights are divided out."""
    undone = np.exp(log_p) / weights
    powers = undone / undone.sum(axis=-1, keepdims=True)
    powers = powers**scaling.slopes * np.exp(scaling.offsets)
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("passes", [1, 3])
def test_the_calibrated_network_scales_undone_answers(
    passes: int, fitted: Fitted, loss: keras_losses.Loss, data: Dataset
) -> None:
    """Pass for pass: weights divided out, then slopes and offsets; the mean over passes comes last."""
    made = _finish(fitted, loss, data, passes)
    weights = made.member.undone.class_weights
    assert weights is not None
    raw = _answers(fitted, data, passes, 7)
    wanted = _by_hand(raw, weights, made.calibrated.scaling)
    answered = ensemble.answer(made.calibrated.model, data.features)
    assert answered.shape == (1600, passes, 4)
    np.testing.assert_allclose(np.exp(answered), wanted, atol=1e-5)
    rows = data.parts.validation
    np.testing.assert_allclose(made.calibrated.before, np.exp(raw[rows]).mean(axis=1), atol=1e-5)
    # What was fitted without a row says nearly what was fitted with it.
    np.testing.assert_allclose(made.calibrated.after, wanted[rows].mean(axis=1), atol=0.05)
    scores = made.conformal.calibration
    assert len(scores) == len(data.parts.calibration)
    p, y = wanted[data.parts.calibration].mean(axis=1), data.y[data.parts.calibration]
    upto = np.cumsum(p, axis=1)[np.arange(len(y)), y]
    below = upto - p[np.arange(len(y)), y]
    by_hand = np.sort(np.maximum(np.maximum(1 - 2 * upto, 2 * below - 1), 0))
    np.testing.assert_allclose(scores, by_hand, atol=1e-5)


def test_members_are_undone_each_and_scaled_together(
    fitted: Fitted, finished: _Finished, data: Dataset
) -> None:
    """Of two members only the first had weights; one scaling fits the mean of both."""
    weights = finished.member.undone.class_weights
    assert weights is not None
    plain = Member(fitted.model, passes=2, seed=1)
    calibrated = calibrate.calibrate([finished.member, plain], data)
    answered = np.exp(ensemble.answer(calibrated.model, data.features))
    first, others = _answers(fitted, data), _answers(fitted, data, 2, 1)
    np.testing.assert_allclose(answered[:, :1], _by_hand(first, weights, calibrated.scaling), atol=1e-5)
    np.testing.assert_allclose(answered[:, 1:], _by_hand(others, np.ones(4), calibrated.scaling), atol=1e-5)


def _relabelled(data: Dataset, rows: Indices) -> Dataset:
    """The same with the labels of some rows in reverse order."""
    y = data.y.copy()
    y[rows] = 3 - y[rows]
    return replace(data, y=y)


def test_the_calibration_part_serves_intervals_and_nothing_else(
    finished: _Finished, loss: keras_losses.Loss, data: Dataset, config: Config
) -> None:
    """Its labels, all turned about, change neither training nor undoing nor scaling, only the scores."""
    other = _relabelled(data, data.parts.calibration)
    again = _finish(_fit(other, loss, config), loss, other)
    assert again.fitted.best_epoch == finished.fitted.best_epoch
    assert again.fitted.curves.keys() == finished.fitted.curves.keys()
    for name, curve in finished.fitted.curves.items():
        np.testing.assert_allclose(again.fitted.curves[name], curve, rtol=1e-5, err_msg=name)
    for mine, its in zip(
        finished.fitted.model.get_weights(), again.fitted.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(its, mine, atol=1e-5)
    assert again.member.undone.parts == finished.member.undone.parts
    assert again.fitted.class_weights is not None
    assert finished.fitted.class_weights is not None
    assert again.fitted.class_weights.tolist() == finished.fitted.class_weights.tolist()
    assert again.calibrated.scaling.method == finished.calibrated.scaling.method
    for of in ("slopes", "offsets"):
        mine, its = (getattr(made.calibrated.scaling, of) for made in (finished, again))
        np.testing.assert_allclose(its, mine, atol=1e-4)
    np.testing.assert_allclose(again.calibrated.before, finished.calibrated.before, atol=1e-5)
    np.testing.assert_allclose(again.calibrated.after, finished.calibrated.after, atol=1e-4)
    assert again.conformal.calibration.mean() > finished.conformal.calibration.mean() + 0.1


def test_validation_labels_do_have_a_say(finished: _Finished, data: Dataset) -> None:
    """With those of the validation part turned about another scaling is fitted."""
    other = calibrate.calibrate([finished.member], _relabelled(data, data.parts.validation))
    assert np.abs(other.scaling.slopes - finished.calibrated.scaling.slopes).max() > 0.1
    same = calibrate.calibrate([finished.member], _relabelled(data, data.parts.calibration))
    assert same.scaling.slopes.tolist() == finished.calibrated.scaling.slopes.tolist()
    assert same.after.tolist() == finished.calibrated.after.tolist()
