"""Training: the same again, cut off, weighted, from a file, in half precision, and on all rows."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline import ensemble, losses, models, train
from pipeline.config import Config, Model, Named, Search
from pipeline.data import Dataset, storage
from pipeline.errors import Diverged
from pipeline.train import backup as backups
from pipeline.train import precision, rows
from pipeline.train.loop import Loop
from pipeline.train.rows import Part

MODEL = Model(hidden=(16, 8), dropout=0.3)
SEARCH = Search(epochs=6, learning_rate=0.01)
HEAD = Named(name="softmax")
ROOT = Path(__file__).parent.parent.parent


def _loss(data: Dataset) -> keras.losses.Loss:
    return losses.build("cross_entropy", {}, data.labels.topology)


def _fit(data: Dataset, model: Model = MODEL, search: Search = SEARCH, **kwargs: Any) -> train.Fitted:
    return train.fit(data, _loss(data), HEAD, model, search, 3, **kwargs)


def _assert_same(network: keras.Model, other: keras.Model) -> None:
    for weight, its_twin in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, its_twin)


@pytest.fixture(scope="module")
def fitted(data: Dataset) -> train.Fitted:
    """A network trained on the digits."""
    return _fit(data)


PROGRAM = """
import hashlib, random, sys, threading, time
from pipeline import environment
environment.import_tensorflow()
from pipeline import train
from pipeline.sweep import planning
from pipeline.config import Config
from pipeline.data import load
if sys.argv[1] == "disturbed":
    def draw():
        while True:
            random.random()
            time.sleep(0.001)
    threading.Thread(target=draw, daemon=True).start()
config = Config.model_validate({"name": "t", "data": {"source": "digits"}, "model": {"hidden": [16]},
                                "search": {"trials": 1, "epochs": 4}})
data = load(config)
(trial,) = planning.plan(config, data)
loss = planning.build_loss(trial.loss, config, data)
fitted = train.fit(data, loss, trial.head, config.model, config.search, 0)
print(hashlib.sha256(b"".join(w.tobytes() for w in fitted.model.get_weights())).hexdigest(), fitted.curves)
"""


@pytest.mark.slow
def test_two_processes_train_the_same_network() -> None:
    """Weights and curves of the first training of a process are equal bit for bit, whatever else runs."""
    told = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for how in ("alone", "disturbed")
    ]
    assert told[0] == told[1]
    assert "val_loss" in told[0]


def test_what_other_threads_draw_changes_nothing(data: Dataset, fitted: train.Fitted) -> None:
    """Python's `random` belongs to all threads; Keras would take seeds of layers from it."""
    over = threading.Event()

    def draw() -> None:
        while not over.wait(0.001):
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        again = _fit(data)
    finally:
        over.set()
        thread.join()
    _assert_same(again.model, fitted.model)
    assert again.curves == fitted.curves


def test_another_seed_trains_another_network(data: Dataset, fitted: train.Fitted) -> None:
    """The seed is that of initial weights, among others."""
    other = train.fit(data, _loss(data), HEAD, MODEL, SEARCH, 4)
    assert not np.array_equal(other.model.get_weights()[0], fitted.model.get_weights()[0])


def test_the_best_epoch_is_kept_and_patience_ends_a_training(data: Dataset) -> None:
    """It stops `patience` epochs after the best one, whose weights the network has."""
    fitted = _fit(data, search=Search(epochs=200, patience=2, learning_rate=0.05))
    validation = fitted.curves["val_loss"]
    assert fitted.best_epoch == int(np.argmin(validation))
    assert len(validation) == fitted.best_epoch + 3 < 200
    part = data.parts.validation
    log_p = ensemble.answer(fitted.model, data.features[part])
    assert -log_p[np.arange(len(part)), data.y[part]].mean() == pytest.approx(min(validation), rel=1e-5)
    right = (log_p.argmax(axis=1) == data.y[part]).mean()
    assert right == pytest.approx(fitted.curves["val_accuracy"][fitted.best_epoch], abs=1e-9)


def test_a_loss_that_is_no_number_ends_a_training(data: Dataset) -> None:
    """Nothing comes after it, and the network says so when it is asked."""
    fitted = _fit(data, search=SEARCH.model_copy(update={"learning_rate": 1e38}))
    assert len(fitted.curves["loss"]) == 1
    with pytest.raises(Diverged):
        ensemble.answer(fitted.model, data.features[:5])


class Cut(Exception):
    """What ends a training half-way in these tests."""


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs at which a training ends by `Cut`, once each; every epoch is backed up."""
    epochs: list[int] = []
    order = Part.order

    def cutting(self: Part, seed: int, epoch: int) -> NDArray[np.int64]:
        if epoch in epochs:
            epochs.remove(epoch)
            raise Cut
        return order(self, seed, epoch)

    monkeypatch.setattr(backups, "EVERY", 0.0)
    monkeypatch.setattr(Part, "order", cutting)
    return epochs


@pytest.mark.parametrize("precision_", ["float32", pytest.param("mixed", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_training_that_was_cut_off_ends_as_it_would_have(
    precision_: str, cut_off: list[int], data: Dataset, tmp_path: Path
) -> None:
    """Twice cut off, once of it after the best epoch, weights and curves are the same bit for bit."""
    search = Search(epochs=40, patience=3, learning_rate=0.03)
    model = MODEL.model_copy(update={"precision": precision_, "class_weight": "balanced"})
    whole = _fit(data, model, search)
    last = len(whole.curves["loss"]) - 1
    assert last == whole.best_epoch + 3 < 39
    cut_off.extend([2, last])
    folder = tmp_path / "backup"
    for _ in range(2):
        with pytest.raises(Cut):
            _fit(data, model, search, backup=folder)
        assert [path.name for path in folder.iterdir()] == ["training.npz"]
    again = _fit(data, model, search, backup=folder)
    _assert_same(again.model, whole.model)
    assert (again.curves, again.best_epoch) == (whole.curves, whole.best_epoch)
    assert not folder.exists()


def test_a_backup_of_another_training_is_not_gone_on_with(
    cut_off: list[int], data: Dataset, fitted: train.Fitted, tmp_path: Path
) -> None:
    """Other costs, rows or settings begin anew."""
    cut_off.append(3)
    with pytest.raises(Cut):
        _fit(data, search=SEARCH.model_copy(update={"learning_rate": 0.02}), backup=tmp_path)
    _assert_same(_fit(data, backup=tmp_path).model, fitted.model)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no more", b"no archive at all"])
def test_a_damaged_backup_is_told_and_training_begins_anew(
    content: bytes, data: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was cut short stands in nobody's way."""
    (tmp_path / "training.npz").write_bytes(content)
    fitted = _fit(data, search=Search(epochs=1), backup=tmp_path)
    assert len(fitted.curves["loss"]) == 1
    assert "training.npz is damaged, training begins anew" in caplog.text
    assert not (tmp_path / "training.npz").exists()


def test_a_short_training_writes_no_backup(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes less than half a minute is done again as fast; not even the data is read for it."""
    monkeypatch.setattr(Dataset, "fingerprint", property(lambda _: pytest.fail("was asked for")))
    monkeypatch.setattr(np, "savez", lambda *_: pytest.fail("was written"))
    _fit(data, search=Search(epochs=1), backup=tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.slow
def test_refitting_is_the_same_training_without_a_look_at_validation_rows(
    data: Dataset, cut_off: list[int], tmp_path: Path
) -> None:
    """On the same rows, for as many epochs as were best, it gives the same network; cut off or not."""
    search = Search(epochs=3, learning_rate=0.005)
    fitted = _fit(data, search=search)
    assert fitted.best_epoch == 2
    blind = replace(data, parts=replace(data.parts, validation=np.empty(0, np.int64)))
    arguments = (blind, _loss(data), HEAD, MODEL, search, 3, 3)
    _assert_same(train.refit(*arguments), fitted.model)
    cut_off.append(2)
    with pytest.raises(Cut):
        train.refit(*arguments, backup=tmp_path)
    _assert_same(train.refit(*arguments, backup=tmp_path), fitted.model)


def test_refitting_takes_the_class_weights_that_are_divided_out(data: Dataset) -> None:
    """Those of the first training, where they are given."""
    model = MODEL.model_copy(update={"class_weight": "balanced"})
    arguments = (data.refitting(), _loss(data), HEAD, model, SEARCH, 3, 1)
    own = train.balanced(data.y[data.refitting().parts.train], 10)
    steep = np.geomspace(0.1, 10, 10)
    plain, given, other = (train.refit(*arguments, class_weights=weights) for weights in (None, own, steep))
    _assert_same(plain, given)
    assert not np.array_equal(plain.get_weights()[0], other.get_weights()[0])


def _validated(data: Dataset, class_weights: NDArray[np.float64] | None) -> tuple[dict[str, float], Any]:
    """What validation says of an untrained network, and its log-probabilities."""
    keras.utils.set_random_seed(0)
    network = models.build(MODEL, data, HEAD)
    numbers = Loop(network, _loss(data), 0.01, class_weights).validation(Part.both(data)[1])()
    return numbers, ensemble.answer(network, data.features[data.parts.validation]).astype(float)


@pytest.mark.parametrize("balanced", [False, True])
def test_weights_of_rows_count_in_validation(balanced: bool, data: Dataset) -> None:
    """They multiply class weights, with a mean of 1 over training rows; the undone loss has them alone."""
    weights = np.random.default_rng(0).uniform(1, 9, len(data.y)).astype(np.float32)
    weighted = replace(data, weights=weights)
    of_class = np.linspace(0.5, 2, 10) if balanced else None
    numbers, log_p = _validated(weighted, of_class)
    part = data.parts.validation
    y, w = data.y[part], weights[part] / weights[data.parts.train].mean()
    own = -log_p[np.arange(len(y)), y]
    if of_class is None:
        assert numbers["val_loss"] == pytest.approx((w * own).mean(), rel=1e-5)
        assert "val_undone_loss" not in numbers
        return
    assert numbers["val_loss"] == pytest.approx((of_class[y] * w * own).mean(), rel=1e-5)
    q = np.exp(log_p) / of_class
    undone = -np.log(q / q.sum(axis=1, keepdims=True))[np.arange(len(y)), y]
    assert numbers["val_undone_loss"] == pytest.approx((w * undone).mean(), rel=1e-5)


def test_weights_of_rows_count_in_training(data: Dataset) -> None:
    """Rows of weight 0 might say anything, and only ratios of weights count."""
    heavy = data.y < 5
    noise = np.where(heavy, data.y, 9 - data.y)  # a lie about all others
    of_one, of_four = (
        _fit(replace(data, y=y, weights=(scale * heavy).astype(np.float32)), search=Search(epochs=2)).model
        for y, scale in ((data.y, 1.0), (noise, 4.0))
    )
    for one, other in zip(of_one.get_weights(), of_four.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_balanced_labels_count_alike_with_weights_of_rows() -> None:
    """Two rows of weight 3 make up for six of weight 1."""
    y, w = np.array([0, 0, 1, 1, 1, 1, 1, 1]), np.array([3, 3, 1, 1, 1, 1, 1, 1])
    assert train.balanced(y, 2, w).tolist() == [1.0, 1.0]


def _on_disk(data: Dataset, folder: Path) -> Dataset:
    file = np.memmap(folder / "rows", data.cells.dtype, mode="w+", shape=data.cells.shape)
    file[:] = data.cells
    return replace(data, cells=file)


def test_rows_that_a_worker_maps_are_trained_on_from_memory(data: Dataset, tmp_path: Path) -> None:
    """That they lie in a file, which all workers share, changes nothing for a small table."""
    joblib.dump(data, tmp_path / "rows")
    mapped: Dataset = joblib.load(tmp_path / "rows", mmap_mode="r")
    assert isinstance(mapped.cells, np.memmap)
    assert mapped.fingerprint == data.fingerprint
    one, other = Part.both(mapped)[0], Part.both(data)[0]
    assert not one.streamed
    np.testing.assert_array_equal(one.order(1, 2), other.order(1, 2))


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_order_of_rows_is_that_of_seed_and_epoch(
    on_disk: bool, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row once, each epoch otherwise, and the same whenever it is asked for."""
    if on_disk:
        monkeypatch.setattr(storage, "IN_MEMORY", 0)
    part = Part.both(_on_disk(data, tmp_path) if on_disk else data)[0]
    assert part.streamed == on_disk
    first, second = part.order(1, 0), part.order(1, 1)
    assert sorted(first) == sorted(second) == list(range(len(part)))
    assert (first != second).mean() > 0.9
    assert (first != part.order(2, 0)).mean() > 0.9
    np.testing.assert_array_equal(part.order(1, 1), second)


def test_rows_of_a_file_are_shuffled_near_where_they_lie(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window is made of a few blocks of neighbours, from anywhere in the file."""
    monkeypatch.setattr(storage, "IN_MEMORY", 0)
    monkeypatch.setattr(rows, "BLOCK", 10)
    monkeypatch.setattr(rows, "WINDOW", 4)
    part = Part.both(_on_disk(data, tmp_path))[0]
    order = part.order(0, 0)
    window = np.unique(order[:40] // 10)
    assert len(window) <= 8  # blocks are of nearly ten rows
    assert window.max() > len(part) // 20
    assert (np.sort(order[:40]) != order[:40]).any()


@pytest.mark.slow
def test_a_file_is_read_batch_by_batch(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing larger is ever taken from it, and the network is as good as from memory."""
    taken = []
    take = Part.take
    monkeypatch.setattr(storage, "IN_MEMORY", 0)
    monkeypatch.setattr(
        Part, "take", lambda self, places: taken.append(len(found := take(self, places))) or found
    )
    weights = np.ones(len(data.y), np.float32)
    fitted = _fit(replace(_on_disk(data, tmp_path), weights=weights))
    assert set(taken) == {3}
    again = _fit(replace(_on_disk(data, tmp_path), weights=weights))
    _assert_same(fitted.model, again.model)
    monkeypatch.undo()
    in_memory = _fit(data).curves["val_accuracy"][-1]
    assert fitted.curves["val_accuracy"][-1] == pytest.approx(in_memory, abs=0.1)


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_in_mixed_precision_only_the_backbone_is(backbone: str, data: Dataset) -> None:
    """Its layers compute in bfloat16 on float32 weights; scaling, head and log-probabilities in float32."""
    model = MODEL.model_copy(update={"backbone": backbone})
    network = models.build(model, data, HEAD, precision.MIXED)
    computed = {layer.name: layer.compute_dtype for layer in network.layers}
    kinds = ("dense", "dropout", "conv2d", "max_pooling2d", "flatten")
    of_backbone = {name: dtype for name, dtype in computed.items() if name.startswith(kinds)}
    assert set(of_backbone.values()) == {"bfloat16"}
    assert {dtype for name, dtype in computed.items() if name not in of_backbone} == {"float32"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert network.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("backbone", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def test_a_network_trained_in_mixed_precision_comes_back_in_float32(backbone: str, data: Dataset) -> None:
    """It answers nearly as it was validated, and learns about as well."""
    model = MODEL.model_copy(update={"backbone": backbone})
    search = Search(epochs=3, learning_rate=0.01)
    mixed = _fit(data, model.model_copy(update={"precision": "mixed"}), search)
    plain = _fit(data, model.model_copy(update={"precision": "auto"}), search)
    assert {layer.dtype_policy.name for layer in mixed.model.layers} <= {"float32", data.cells.dtype.name}
    assert [layer.name for layer in mixed.model.layers] == [layer.name for layer in plain.model.layers]
    assert not mixed.model.compiled
    assert mixed.curves["loss"] != plain.curves["loss"]
    # Other units are dropped: masks are drawn in the type of what they drop.
    assert mixed.curves["val_loss"][-1] < mixed.curves["val_loss"][0]
    part = data.parts.validation
    log_p = ensemble.answer(mixed.model, data.features[part])
    loss = -log_p[np.arange(len(part)), data.y[part]].mean()
    assert loss == pytest.approx(mixed.curves["val_loss"][mixed.best_epoch], rel=0.05)


@pytest.mark.parametrize(
    ("precision_", "capability", "wanted"),
    [
        ("auto", None, "float32"),
        ("auto", (7, 5), "float32"),
        ("auto", (8, 0), "mixed_bfloat16"),
        ("float32", (9, 0), "float32"),
        ("mixed", None, "mixed_bfloat16"),
    ],
)
def test_precision_is_automatic_where_a_gpu_is_fast_at_it(
    precision_: Any, capability: tuple[int, int] | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that multiply bfloat16 came with compute capability 8.0."""
    gpus = [] if capability is None else ["GPU"]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda _: {"compute_capability": capability}
    )
    assert precision.policy(precision_) == wanted


def test_penalties_of_a_backbone_count(data: Dataset, config: Config, tmp_path: Path) -> None:
    """A regularizer of a layer is part of what is minimised, and not of the loss that is told."""
    (tmp_path / "own.py").write_text(
        "import keras\n"
        "def plain(shape, classes, **kwargs):\n"
        "    rows = keras.Input(shape)\n"
        "    flat = keras.layers.Flatten()(rows)\n"
        "    return keras.Model(rows, keras.layers.Dense(8, activation='relu', **kwargs)(flat))\n"
        "def small(shape, classes):\n"
        "    return plain(shape, classes, kernel_regularizer=keras.regularizers.L2(1.0))\n"
    )
    sizes = {}
    for name in ("plain", "small"):
        model = config.model.model_copy(update={"backbone": f"{tmp_path / 'own.py'}:{name}"})
        fitted = _fit(data, model)
        sizes[name] = np.abs(fitted.model.get_weights()[0]).mean()
        assert fitted.curves["loss"][0] < 4
    assert sizes["small"] < 0.5 * sizes["plain"]
