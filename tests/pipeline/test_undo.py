"""What training distorts on purpose comes back: soft labels, class weights, and both, also in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime as ort
import pytest
import strategies
import tensorflow as tf
import tf2onnx
from hypothesis import given
from hypothesis import strategies as st
from minimiser import find, true_distributions
from numpy.typing import NDArray
from scipy.optimize import brentq, nnls

from pipeline import losses
from pipeline.calibration import MOST_CONDITION, Distortion, Undo, undo_class_weights, undo_soft_labels
from pipeline.export import graph
from pipeline.losses import soft_labels
from pipeline.topology import Topology

Floats = NDArray[np.float64]
KINDS: tuple[soft_labels.Kind, ...] = (
    "triangular", "beta", "binomial", "poisson", "exponential", "geometric",
)  # fmt: skip
LEAST = 0.01
"""Share of all labels alike in what comes back."""


def _soft(kind: soft_labels.Kind, classes: int, *, ring: bool, eta: float = 1.0) -> Floats:
    """T' = (1 − η)·I + η·T."""
    own = soft_labels.matrix(kind, Topology.of(range(classes), classes if ring else None))
    return (1 - eta) * np.eye(classes) + eta * own


def _at_condition(classes: int, wanted: float) -> Floats:
    """Exponential soft labels so wide that T has the wanted condition number."""
    line = Topology.of(range(classes))

    def too_much(alpha: float) -> float:
        return float(np.linalg.cond(soft_labels.exponential(line, alpha))) - wanted

    return soft_labels.exponential(line, float(brentq(too_much, 0.01, 3)))


UNDOABLE = {
    f"{kind}-{classes}{'-ring' if ring else ''}-{eta}": matrix
    for kind in KINDS
    for classes, eta in ((2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0), (5, 0.6), (12, 1.0))
    for ring in (False, True)
    if not ring or (kind in soft_labels.RING_KINDS and classes > 2)
    if np.linalg.cond(matrix := _soft(kind, classes, ring=ring, eta=eta)) <= MOST_CONDITION
} | {f"just below 50-{classes}": _at_condition(classes, 49.9) for classes in (3, 6, 15)}


def _rows(classes: int) -> Floats:
    """Rows all over the simplex: inside, near its borders, and close to its corners."""
    random = np.random.default_rng(classes)
    p = np.concatenate(
        [
            random.dirichlet(np.ones(classes), 40),
            random.dirichlet(np.full(classes, 0.1), 40),
            np.eye(classes),
        ]
    )
    return np.maximum(p, 1e-30)


def _mixed(q: Floats) -> Floats:
    return (1 - LEAST) * q + LEAST / q.shape[-1]


def _nearest(p: Floats, matrix: Floats) -> Floats:
    """What q ≥ 0 makes Tᵀq nearest to p, by Lawson and Hanson's algorithm, row by row."""
    q = np.array([nnls(matrix.T, row)[0] for row in p])
    return q / q.sum(axis=1, keepdims=True)


def _weighted(q: Floats, weights: Floats) -> Floats:
    p = weights * q
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", UNDOABLE)
def test_undone_soft_labels_are_non_negative_least_squares(name: str) -> None:
    """Wherever p lies on the simplex, q is SciPy's, normalised and mixed: a distribution, within 1e-6."""
    matrix = UNDOABLE[name]
    p = _rows(len(matrix))
    q = np.exp(undo_soft_labels(np.log(p), matrix))
    np.testing.assert_allclose(q, _mixed(_nearest(p, matrix)), atol=1e-6, rtol=0)
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-12)
    assert q.min() >= LEAST / len(matrix) - 1e-12


def test_every_kind_of_soft_label_is_among_those_that_are_undone() -> None:
    """No kind is left out because all its matrices are beyond undoing."""
    assert {name.split("-")[0] for name in UNDOABLE} > set(KINDS)


@pytest.mark.parametrize("name", UNDOABLE)
def test_what_soft_labels_made_of_q_gives_q_back(name: str) -> None:
    """Of p = Tᵀq the very q comes back, mixed with a hundredth of all labels alike."""
    matrix = UNDOABLE[name]
    q = np.random.default_rng(1).dirichlet(np.ones(len(matrix)), 40)
    back = np.exp(undo_soft_labels(np.log(q @ matrix), matrix))
    np.testing.assert_allclose(back, _mixed(q), atol=1e-6, rtol=0)


def test_inversion_would_not_do() -> None:
    """A sure p, which no soft label can be part of, has a negative inverse and a distribution for us."""
    matrix = soft_labels.binomial(5)
    p = np.array([[1e-4, 1e-4, 0.9996, 1e-4, 1e-4]])
    assert np.linalg.solve(matrix.T, p[0]).min() < -1
    np.testing.assert_allclose(
        np.exp(undo_soft_labels(np.log(p), matrix)), _mixed(_nearest(p, matrix)), atol=1e-6
    )


@given(strategies.simplex_rows(count=5))
def test_hard_labels_leave_all_as_it_is_but_for_the_mixing(p: Floats) -> None:
    """The identity as T takes nothing away."""
    np.testing.assert_allclose(np.exp(undo_soft_labels(np.log(p), np.eye(5))), _mixed(p), atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "condition"),
    [
        (soft_labels.poisson(10), r"6\.03e\+06"),
        (soft_labels.binomial(6), r"65\.3"),
        (_at_condition(6, 50.1), r"50\.1"),
        (np.full((4, 4), 0.25), r"(inf|\d\.?\d*e\+\d+)"),
    ],
    ids=["poisson", "binomial", "just above", "singular"],
)
def test_a_condition_number_above_50_is_refused(matrix: Floats, condition: str) -> None:
    """Noise in p would come back 50 times as large; the error names the condition number."""
    log_p = np.log(np.full((1, len(matrix)), 1 / len(matrix)))
    with pytest.raises(
        ValueError,
        match=f"soft labels with a condition number of {condition} cannot be undone, 50 is the most",
    ):
        undo_soft_labels(log_p, matrix)


@given(strategies.simplex_rows(), st.data())
def test_undone_class_weights_give_q_back(q: Floats, data: st.DataObject) -> None:
    """Of p ∝ w·q the very q comes back, whatever the weights and their scale."""
    k = q.shape[1]
    weights = np.array(data.draw(st.lists(st.floats(1e-2, 1e2), min_size=k, max_size=k)))
    back = np.exp(undo_class_weights(np.log(_weighted(q, weights)), weights))
    np.testing.assert_allclose(back, q, rtol=1e-9)


@pytest.mark.parametrize("name", ["triangular", "beta", "binomial", "sord", "geometric"])
def test_both_undo_what_the_weighted_loss_of_soft_labels_is_least_at(name: str) -> None:
    """The minimiser of Σ_y w_y·q_y·loss(y, p), found numerically, leads back to q."""
    loss = losses.build(name, {}, Topology.of(range(5)))
    matrix: Floats = loss.matrix  # type: ignore[attr-defined]
    weights = np.array([4.0, 1.0, 0.4, 1.5, 3.0])
    q = true_distributions()
    p = find(loss, q * weights).p
    assert np.abs(p - q).sum(axis=1).mean() / 2 > 0.1  # training has taken it far from the truth
    np.testing.assert_allclose(p, _weighted(q, weights) @ matrix, atol=1e-4)
    back = np.exp(Distortion(matrix, weights).undo(np.log(p)))
    # Where the weights are divided out the hundredth of all labels alike is divided too.
    np.testing.assert_allclose(back, _weighted(_mixed(_weighted(q, weights)), 1 / weights), atol=5e-3)
    assert np.abs(back - q).sum(axis=1).mean() / 2 < 0.01


@given(strategies.simplex_rows(count=4), st.data())
def test_both_undo_weighted_rows_of_softened_labels(q: Floats, data: st.DataObject) -> None:
    """Of p = Tᵀ(w∘q)/Σ(w∘q) comes q back, but for the hundredth of all labels alike in between."""
    weights = np.array(data.draw(st.lists(st.floats(0.2, 5), min_size=4, max_size=4)))
    matrix = soft_labels.exponential(Topology.of(range(4)))
    p = _weighted(q, weights) @ matrix
    back = np.exp(Distortion(matrix, weights).undo(np.log(p)))
    wanted = _weighted(_mixed(_weighted(q, weights)), 1 / weights)
    np.testing.assert_allclose(back, wanted, atol=1e-5)


SOFT = soft_labels.exponential(Topology.of(range(5)))
WEIGHTS = np.array([0.5, 2.0, 1.0, 1.0, 4.0])
DISTORTIONS = [
    Distortion(),
    Distortion(soft_labels=SOFT),
    Distortion(class_weights=WEIGHTS),
    Distortion(SOFT, WEIGHTS),
]
IDS = ["nothing", "soft labels", "class weights", "both"]


def test_parts_stand_in_the_order_in_which_they_are_undone() -> None:
    """Soft labels first, since training weighted the rows of softened labels."""
    assert [distortion.parts for distortion in DISTORTIONS] == [
        (),
        ("soft_labels",),
        ("class_weights",),
        ("soft_labels", "class_weights"),
    ]


@pytest.mark.parametrize("whole", DISTORTIONS, ids=IDS)
@pytest.mark.parametrize("wanted", DISTORTIONS, ids=IDS)
def test_only_keeps_the_parts_named_and_no_others(whole: Distortion, wanted: Distortion) -> None:
    """A part that is not there does not come by being named."""
    some = whole.only(wanted.parts)
    assert some.parts == tuple(part for part in whole.parts if part in wanted.parts)
    for part in some.parts:
        assert getattr(some, part) is getattr(whole, part)
    assert whole.only(whole.parts[::-1]).parts == whole.parts


def test_the_condition_is_that_of_the_soft_labels() -> None:
    """1 where there are none, so that nothing is refused."""
    conditions = [distortion.condition for distortion in DISTORTIONS]
    assert conditions == pytest.approx([1, 3.9, 1, 3.9], abs=0.01)


def _network(distortion: Distortion) -> keras.Model:
    """Log-probabilities `(batch, S, 5)` to as many, with a layer before, as in an artifact."""
    rows = keras.Input(shape=(None, 5), name="log_p")
    values = {name: value for name, value in vars(distortion).items() if value is not None}
    arguments: dict[str, Any] = {name: value.tolist() for name, value in values.items()}
    return keras.Model(rows, Undo(**arguments)(rows))


PASSES = np.log(_rows(5)).reshape(-1, 5, 5).astype(np.float32)


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=IDS)
def test_the_layer_is_the_function_and_survives_saving(distortion: Distortion, tmp_path: Path) -> None:
    """On passes of float32, and after a round trip through a .keras file."""
    network = _network(distortion)
    wanted = np.exp(np.asarray(distortion.undo(PASSES.astype(float))))
    np.testing.assert_allclose(np.exp(network(PASSES)), wanted, atol=1e-6)
    network.save(tmp_path / "undo.keras")
    loaded = keras.saving.load_model(tmp_path / "undo.keras")
    assert loaded(PASSES).numpy().tolist() == network(PASSES).numpy().tolist()
    assert loaded.layers[-1].distortion.parts == distortion.parts


@pytest.mark.parametrize("distortion", DISTORTIONS[2:], ids=IDS[2:])
def test_the_exported_layer_equals_keras(distortion: Distortion, tmp_path: Path) -> None:
    """ONNX Runtime answers as Keras does, within 1e-5, at batches of 1 and of all rows."""
    network = _network(distortion)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 5], tf.float32, name="log_p")])  # type: ignore[untyped-decorator]
    def answer(log_p: tf.Tensor) -> tf.Tensor:
        return network(log_p, training=False)

    path = tmp_path / "undo.onnx"
    tf2onnx.convert.from_function(
        answer, input_signature=answer.input_signature, opset=graph.OPSET, output_path=str(path)
    )
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for rows in (PASSES, PASSES[:1]):
        (exported,) = session.run(None, {"log_p": rows})
        np.testing.assert_allclose(np.exp(exported), np.exp(network(rows)), atol=1e-5, rtol=0)
        assert np.abs(np.exp(exported) - np.exp(rows)).max() > 0.1  # there was something to undo
