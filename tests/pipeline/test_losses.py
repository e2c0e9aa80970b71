"""The losses against written-out arithmetic, an independent oracle, and other people's libraries."""

from __future__ import annotations

from typing import Any

import keras
import losses_oracle as twins
import numpy as np
import oracle
import pytest
import strategies
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from sklearn.metrics import brier_score_loss, cohen_kappa_score, log_loss

from pipeline import losses, metrics
from pipeline.topology import Topology

P = np.array([[0.1, 0.2, 0.2, 0.4, 0.1], [0.7, 0.1, 0.1, 0.05, 0.05]])
LOG_P = np.log(P).astype(np.float32)
Y = np.array([3, 0])
LINE = Topology.of(range(5))
RING = Topology.of(range(5), period=5)


def _rows(
    name: str, parameters: dict[str, Any], y: Any, p: NDArray[Any], topology: Topology | None = None
) -> NDArray[Any]:
    """The loss of each row, of float64 probabilities."""
    topology = topology or Topology.of(range(p.shape[1]))
    loss = losses.build(name, parameters, topology, {"absolute": topology.distances()})
    rows: NDArray[Any] = loss.call(np.asarray(y), tf.constant(np.log(p), tf.float32)).numpy()
    return rows


def test_cross_entropy_is_sparse_categorical_cross_entropy() -> None:
    """The baseline equals Keras' own loss on probabilities, and scikit-learn's."""
    loss = losses.build("cross_entropy", {}, LINE)(Y, LOG_P).numpy()
    assert loss == pytest.approx(-(np.log(0.4) + np.log(0.7)) / 2, rel=1e-6)
    assert loss == pytest.approx(keras.losses.SparseCategoricalCrossentropy()(Y, P).numpy(), rel=1e-6)
    assert loss == pytest.approx(log_loss(Y, P, labels=range(5)), rel=1e-6)


def test_expected_value_written_out() -> None:
    """−log p_y + λ·½(Σ_j v_j p_j − v_y)² with the numbers that the second seed question gives."""
    # expected values: .2 + .4 + 1.2 + .4 = 2.2 and .1 + .2 + .15 + .2 = .65
    wanted = [-np.log(0.4) + 0.3 * 0.5 * 0.8**2, -np.log(0.7) + 0.3 * 0.5 * 0.65**2]
    assert _rows("expected_value", {"lam": 0.3}, Y, P) == pytest.approx(wanted, rel=1e-5)


def test_linear_distance_penalty_written_out() -> None:
    """Σ_i p_i·|i − y|, alone."""
    wanted = [0.1 * 3 + 0.2 * 2 + 0.2 * 1 + 0.1 * 1, 0.1 * 1 + 0.1 * 2 + 0.05 * 3 + 0.05 * 4]
    assert _rows("distance_penalty", {"cross_entropy": 0.0}, Y, P) == pytest.approx(wanted, rel=1e-5)


def test_given_weights_written_out() -> None:
    """Σ_i p_i·w(d) − log p_y with a weight for each distance: five on a line, three on a ring of five."""
    w = [0.0, 1.0, 3.0, 10.0, 20.0]
    wanted = [
        0.1 * 10 + 0.2 * 3 + 0.2 * 1 + 0.1 * 1 - np.log(0.4),
        0.1 * 1 + 0.1 * 3 + 0.05 * 10 + 0.05 * 20 - np.log(0.7),
    ]
    assert _rows("distance_penalty", {"weights": w}, Y, P) == pytest.approx(wanted, rel=1e-5)
    wanted = [
        0.1 * 3 + 0.2 * 3 + 0.2 * 1 + 0.1 * 1 - np.log(0.4),
        0.1 * 1 + 0.1 * 3 + 0.05 * 3 + 0.05 * 1 - np.log(0.7),
    ]
    assert _rows("distance_penalty", {"weights": w[:3]}, Y, P, RING) == pytest.approx(wanted, rel=1e-5)


def test_brier_is_scikit_learns() -> None:
    """The sum over classes as scikit-learn has it; `mce` is that divided by K."""
    wanted = brier_score_loss(Y, P, labels=range(5), scale_by_half=False)
    assert _rows("brier", {}, Y, P).mean() == pytest.approx(wanted, rel=1e-5)
    assert _rows("mce", {}, Y, P).mean() == pytest.approx(wanted / 5, rel=1e-5)


def test_weighted_kappa_is_one_minus_scikit_learns() -> None:
    """On certain probabilities the loss is 1 − kappa of the decisions, linear and quadratic."""
    y, decided = np.array([0, 1, 2, 3, 4, 4, 2, 1]), np.array([0, 2, 2, 1, 4, 3, 2, 1])
    log_p = np.log(np.eye(5)[decided] + 1e-9).astype(np.float32)
    for weights in ("linear", "quadratic"):
        loss = losses.build("weighted_kappa", {"weights": weights}, LINE)(y, log_p)
        assert 1 - float(loss) == pytest.approx(cohen_kappa_score(y, decided, weights=weights), abs=1e-5)
    logged = losses.build("weighted_kappa", {"log": True}, LINE)(y, log_p)
    assert float(logged) == pytest.approx(
        np.log(1 - cohen_kappa_score(y, decided, weights="quadratic")), abs=1e-4
    )


EVERY_ROW_LOSS = [m.name for m in losses.METHODS if not m.head and m.loss.__name__ != "WeightedKappa"]


def _twin(name: str, y: int, p: list[float], topology: Topology, drawn: dict[str, Any]) -> float:
    """What the slow twin of a loss says about one row."""
    ring, classes = topology.period is not None, len(p)
    distances = topology.distances()
    match name:
        case "cross_entropy":
            return oracle.cross_entropy(y, p)
        case "brier":
            return twins.brier(y, p)
        case "mce":
            return twins.brier(y, p) / classes
        case "focal":
            return twins.focal(y, p, drawn["gamma"])
        case "expected_value":
            if topology.period is not None:
                error = twins.circular_error(y, p, topology.values, topology.period)
            else:
                error = 0.5 * (oracle.expected_value(p, topology.values) - topology.values[y]) ** 2
            return drawn["cross_entropy"] * oracle.cross_entropy(y, p) + drawn["lam"] * error
        case "distance_penalty":
            powers = {"linear": 1, "quadratic": 2}
            by_distance = [float(d ** powers[drawn["weights"]]) for d in range(classes)]
            penalty = twins.penalty(y, p, by_distance, ring=ring)
            return penalty + drawn["cross_entropy"] * oracle.cross_entropy(y, p)
        case "expected_cost":
            return oracle.cross_entropy(y, p) + drawn["lam"] * twins.expected_cost(y, p, distances.tolist())
        case "rps":
            score = "ranked_probability_score"
            return twins.over_cuts(score, y, p) if ring else twins.ranked_probability_score(y, p)
        case "cumulative_cross_entropy":
            score = "cumulative_cross_entropy"
            return twins.over_cuts(score, y, p) if ring else twins.cumulative_cross_entropy(y, p)
        case "cdw_ce" | "oll":
            margin = drawn.get("margin", 0.0)
            return twins.class_distance_weighted(y, p, drawn["alpha"], margin, ring=ring)
        case "slace":
            return twins.slace(y, p, drawn["alpha"], ring=ring)
        case "sord":
            soft = twins.soft_label(y, classes, drawn["alpha"], drawn["power"], ring=ring)
            return twins.soft_cross_entropy(p, soft)
        case "co2":
            penalty = twins.unimodality_penalty(y, p, drawn["omega"], ring=ring)
            return oracle.cross_entropy(y, p) + drawn["lam"] * penalty
        case "ho2":
            penalty = twins.unimodality_penalty(y, p, drawn["omega"], ring=ring)
            return twins.entropy(p) + drawn["lam"] * penalty
        case _:  # the other soft labels: their T has tests of its own
            soft = losses.build(name, drawn, topology).matrix[y]  # type: ignore[attr-defined]
            return twins.soft_cross_entropy(p, soft.tolist())


def _float32_slack(name: str, classes: int, drawn: dict[str, Any]) -> float:
    """What float32 may leave of a row: Σ_i d_i^α logarithms of sums near 1, each off by a few units."""
    if name not in {"cdw_ce", "oll"}:
        return 0.0
    return float(4 * np.finfo(np.float32).eps * (np.arange(classes) ** drawn["alpha"]).sum())


PARAMETERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "focal": {"gamma": st.floats(0.5, 4)},
    "expected_value": {"lam": st.floats(0.01, 2), "cross_entropy": st.floats(0, 2)},
    "distance_penalty": {
        "weights": st.sampled_from(["linear", "quadratic"]),
        "cross_entropy": st.floats(0, 2),
    },
    "expected_cost": {"lam": st.floats(0, 2)},
    "cdw_ce": {"alpha": st.floats(0.5, 3), "margin": st.floats(0, 0.2)},
    "oll": {"alpha": st.floats(0.5, 3)},
    "slace": {"alpha": st.floats(0.25, 4)},
    "sord": {"alpha": st.floats(0.25, 3), "power": st.sampled_from([1.0, 2.0])},
    "co2": {"lam": st.floats(0, 2), "omega": st.floats(0, 0.2)},
    "ho2": {"lam": st.floats(0, 2), "omega": st.floats(0, 0.2)},
    "triangular": {"alpha": st.floats(0.01, 0.2), "eta": st.floats(0, 1)},
    "geometric": {"alpha": st.floats(0.05, 0.9), "eta": st.floats(0, 1)},
    "binomial": {"eta": st.floats(0, 1)},
    "exponential": {"eta": st.floats(0, 1), "alpha": st.floats(0.25, 3), "power": st.floats(0.5, 2)},
}


@pytest.mark.parametrize("name", EVERY_ROW_LOSS)
@settings(max_examples=25)
@given(p=strategies.simplex_rows(), data=st.data())
def test_every_loss_equals_its_oracle(name: str, p: NDArray[np.float64], data: st.DataObject) -> None:
    """On any probabilities, labels and parameters, on a line and a ring, it is what the slow twin says."""
    rows, k = p.shape
    y = data.draw(st.lists(st.integers(0, k - 1), min_size=rows, max_size=rows))
    drawn = {key: data.draw(strategy) for key, strategy in PARAMETERS.get(name, {}).items()}
    values = data.draw(strategies.label_values(k))
    topologies = [Topology.of(values)]
    if k > 2 and losses.method(name).ring:
        topologies.append(
            Topology.of(values, period=values[-1] - values[0] + data.draw(st.floats(0.25, 3)))
        )
    slack = 1e-5 + _float32_slack(name, k, drawn)
    for topology in topologies:
        wanted = [_twin(name, i, q, topology, drawn) for i, q in zip(y, p.tolist(), strict=True)]
        np.testing.assert_allclose(_rows(name, drawn, y, p, topology), wanted, rtol=1e-5, atol=slack)


@settings(max_examples=25)
@given(strategies.simplex_rows(count=5), st.sampled_from([LINE, RING]), st.sampled_from([1, 2]), st.data())
def test_weighted_kappa_equals_its_oracle(
    p: NDArray[np.float64], topology: Topology, power: int, data: st.DataObject
) -> None:
    """Of a batch with sample weights it is the ratio of the K × K counts that the slow twin writes out."""
    n = len(p)
    y = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    s = data.draw(st.lists(st.floats(0.1, 3), min_size=n, max_size=n))
    weights = {1: "linear", 2: "quadratic"}[power]
    loss = losses.build("weighted_kappa", {"weights": weights}, topology)
    wanted = twins.weighted_disagreement(y, p.tolist(), s, power, ring=topology.kind == "cyclic")
    actual = float(loss(np.array(y), np.log(p), sample_weight=np.array(s)))
    assert actual == pytest.approx(wanted, rel=1e-4)
    brier = np.mean([w * twins.brier(i, q) for i, q, w in zip(y, p.tolist(), s, strict=True)])
    mixed = losses.build("mce_wk", {"weights": weights, "mce": 0.25}, topology)
    assert float(mixed(np.array(y), np.log(p), sample_weight=np.array(s))) == pytest.approx(
        0.75 * wanted + 0.25 * brier / 5, rel=1e-4
    )


def test_importance_weighs_thresholds() -> None:
    """CORAL's λ_k multiply the binary cross-entropies of their thresholds."""
    importance = [1.0, 2.0, 3.0, 4.0]
    wanted = [twins.cumulative_cross_entropy(y, q, importance) for y, q in zip(Y, P.tolist(), strict=True)]
    assert _rows("coral", {"importance": importance}, Y, P) == pytest.approx(wanted, rel=1e-5)


@given(strategies.simplex_rows(most=1), st.data())
def test_the_linear_penalty_is_the_earth_movers_distance(
    p: NDArray[np.float64], data: st.DataObject
) -> None:
    """With w(d) = d it equals SciPy's Wasserstein distance to the one-hot label."""
    k = p.shape[1]
    y = data.draw(st.integers(0, k - 1))
    (actual,) = _rows("distance_penalty", {"cross_entropy": 0.0}, [y], p)
    assert actual == pytest.approx(wasserstein_distance(range(k), [y], u_weights=p[0]), rel=1e-4, abs=1e-5)


def test_a_far_mistake_costs_more_than_a_near_one() -> None:
    """For a true 3, mass on 7 costs more than mass on 4, except by the losses that see no order."""
    p = np.full((2, 10), 0.01)
    p[:, 3] = 0.11
    p[0, 4] = p[1, 7] = 0.81
    blind = {"cross_entropy", "brier", "mce", "focal"}
    for name in EVERY_ROW_LOSS:
        near, far = _rows(name, {}, [3, 3], p)
        if name in blind:
            assert far == pytest.approx(near, rel=1e-5), name
        else:
            assert far > near, name


def test_on_a_ring_nine_is_next_to_zero() -> None:
    """For a true 9, mass on 0 costs as much as mass on 8, and less than mass on 4."""
    ring = Topology.of(range(10), period=10)
    p = np.full((3, 10), 0.01)
    p[:, 9] = 0.11
    p[0, 8] = p[1, 0] = p[2, 4] = 0.81
    for name in ("expected_value", "distance_penalty", "expected_cost", "rps", "cdw_ce", "sord", "slace"):
        below, above, opposite = _rows(name, {}, [9, 9, 9], p, ring)
        assert above == pytest.approx(below, rel=1e-5), name
        assert opposite > above, name


@pytest.mark.parametrize("topology", [LINE, RING], ids=lambda topology: topology.kind)
def test_a_loss_equals_its_metric(topology: Topology) -> None:
    """On the same numbers RPS, Brier and cross-entropy are the metrics of the same names."""
    random = np.random.default_rng(0)
    p, y = random.dirichlet(np.ones(5), 50), random.integers(0, 5, 50)
    rps = metrics.ranked_probability_score(y, p, topology) * 4  # normalised by K − 1
    assert _rows("rps", {}, y, p, topology).mean() == pytest.approx(rps, rel=1e-5)
    assert _rows("brier", {}, y, p, topology).mean() == pytest.approx(metrics.brier_score(y, p), rel=1e-5)
    nll = metrics.negative_log_likelihood(y, p)
    assert _rows("cross_entropy", {}, y, p, topology).mean() == pytest.approx(nll, rel=1e-5)


@pytest.mark.parametrize("classes", [5, 6])
def test_turning_the_ring_changes_no_loss(classes: int) -> None:
    """Labels and probabilities rotated together have the same loss."""
    ring = Topology.of(range(classes), period=classes)
    random = np.random.default_rng(0)
    p, y = random.dirichlet(np.ones(classes), 8), random.integers(0, classes, 8)
    for name in EVERY_ROW_LOSS:
        if not losses.method(name).ring:
            continue
        turned = _rows(name, {}, (y + 2) % classes, np.roll(p, 2, axis=1), ring)
        np.testing.assert_allclose(turned, _rows(name, {}, y, p, ring), rtol=1e-4, atol=1e-5, err_msg=name)
