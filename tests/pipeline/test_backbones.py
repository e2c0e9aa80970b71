"""Backbones of the user's own: what becomes of them, and what is told where nothing can."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from trained import export_untrained

from pipeline import backbones, dropout, models, train
from pipeline.config import Config, load_config
from pipeline.data import Dataset, load
from pipeline.errors import InputError
from pipeline.export import verify
from pipeline.sweep import planning

GOOD = """
import keras

def nested(shape, classes):
    inner_rows = keras.Input((6,))
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(6, activation="relu")(inner_rows))
    inner = keras.Model(inner_rows, x)
    block = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dropout(0.2)])
    rows = keras.Input(shape)
    x = keras.layers.Dense(6)(keras.layers.Flatten()(rows))
    return keras.Model(rows, block(inner(x) + x))

def sequential(shape, classes):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2 * classes, activation="relu")])

def maps(shape, classes):
    return keras.Sequential([keras.Input(shape), keras.layers.Conv2D(3, 3)])

def trained_before(shape, classes):
    rows = keras.Input(shape)
    dense = keras.layers.Dense(3)
    model = keras.Model(rows, dense(keras.layers.Flatten()(rows)))
    dense.set_weights([weight * 0 + 0.25 for weight in dense.get_weights()])
    return model

def twice(shape, classes):
    rows = keras.Input(shape)
    dense = keras.layers.Dense(5, activation="tanh")
    first = keras.layers.Dense(5)(keras.layers.Flatten()(rows))
    return keras.Model(rows, dense(dense(first)))
"""
IMAGE = (8, 8, 1)


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A function that returns the name of a function of a module with that text."""

    def write(text: str, name: str) -> str:
        (tmp_path / "own.py").write_text(text)
        return f"{tmp_path / 'own.py'}:{name}"

    return write


def _config(place: str, **model: Any) -> Config:
    return Config.model_validate(
        {
            "name": "t",
            "data": {"source": "digits"},
            "model": {"backbone": place, **model},
            "search": {"trials": 1, "epochs": 2},
        }
    )


@pytest.mark.parametrize("name", ["nested", "sequential", "maps", "trained_before", "twice"])
def test_a_network_says_what_head_and_backbone_say(
    name: str, own: Any, data: Dataset, tmp_path: Path
) -> None:
    """Its layers and weights become the network's own, which can be trained, saved and exported."""
    config = _config(own(GOOD, name))
    (trial,) = planning.plan(config, data)
    network = models.build(config.model, data, trial.head)
    assert not any(isinstance(layer, keras.Model) for layer in network.layers)
    assert network.name == f"{name}_softmax"
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    images = data.features[:20]
    np.testing.assert_allclose(loaded(images), network(images), atol=1e-6)
    exported = export_untrained(config, data, tmp_path)
    verify.verify(exported.path, exported.model, exported.conformal, data.features)
    fitted = train.fit(
        data, planning.build_loss(trial.loss, config, data), trial.head, config.model, config.search, 0
    )
    assert fitted.curves["loss"][1] < fitted.curves["loss"][0]


def test_weights_that_a_function_sets_are_where_training_begins(own: Any, data: Dataset) -> None:
    """A backbone may have been trained before."""
    config = _config(own(GOOD, "trained_before"))
    network = models.build(config.model, data, planning.plan(config, data)[0].head)
    assert set(np.unique(network.get_weights()[0])) == {0.25}


def test_what_a_model_inside_the_model_drops_is_found(own: Any) -> None:
    """Its layers stand among the others."""
    model = backbones.check(own(GOOD, "nested"), IMAGE, 10)
    assert dropout.drops(model)
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in model.layers) == 2
    rows = np.random.default_rng(0).normal(size=(5, *IMAGE)).astype(np.float32)
    raw = backbones.build(own(GOOD, "nested"), IMAGE, 10)
    x = keras.Input(IMAGE)
    np.testing.assert_allclose(keras.Model(x, backbones.inline(raw, x))(rows), raw(rows), atol=1e-6)


BAD = """
import keras

class Called(keras.Model):
    def call(self, rows):
        return rows

class Odd(keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
    def call(self, rows):
        return rows

rows = keras.Input((8, 8, 1))
flat = keras.layers.Flatten()(rows)
number = 3
def raises(shape, classes): raise KeyError("units")
def takes_one(shape): return None
def nothing(shape, classes): return None
def subclassed(shape, classes): return Called()
def two_inputs(shape, classes): return keras.Model([rows, keras.Input((2,))], flat)
def two_outputs(shape, classes): return keras.Model(rows, [flat, flat + 1])
def of_a_table(shape, classes): return keras.Model(*[keras.Input((64,))] * 2)
def other_channels(shape, classes): return keras.Model(*[keras.Input((8, 8, 3))] * 2)
def whole_numbers(shape, classes): return keras.Model(rows, keras.ops.cast(flat, "int32"))
def any_units(shape, classes): return keras.Model(*[keras.Input((None, None, 1))] * 2)
def odd(shape, classes): return keras.Model(rows, Odd(3)(flat))
def dense_of_an_image(shape, classes): return keras.Sequential([keras.layers.Conv2D(3, 9)])
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", r"'.*own\.py' has no function 'absent'"),
        ("nothin", r"has no function 'nothin'; did you mean 'nothing'\?"),
        ("number", "'number' must be a function, it is int"),
        ("raises", r"called with \(8, 8, 1\) and 10 it raised KeyError: 'units'"),
        ("takes_one", r"it raised TypeError: takes_one\(\) takes 1 positional argument"),
        ("nothing", "must return a keras.Model, returned NoneType"),
        ("subclassed", "must return a functional or sequential model, and Called is a subclass"),
        ("two_inputs", "must return a model with one input, returned one with 2"),
        ("two_outputs", "must return a model with one output, returned one with 2"),
        ("of_a_table", r"must take rows of the shape \(8, 8, 1\) it was given, it takes \(64,\)"),
        ("other_channels", r"must take rows of the shape \(8, 8, 1\) it was given, it takes \(8, 8, 3\)"),
        ("whole_numbers", "must give floating-point numbers, it gives int32"),
        ("any_units", r"must give \(batch, units\) with a fixed number of units"),
        ("odd", "its layers cannot be copied, which takes get_config and from_config"),
        ("dense_of_an_image", r"it cannot read rows of shape \(8, 8, 1\): ValueError"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(name: str, message: str, own: Any, data: Dataset) -> None:
    """Before any training, in one sentence that says what is wrong."""
    place = own(BAD, name)
    with pytest.raises(InputError, match=message) as refused:
        planning.plan(_config(place), data)
    assert str(refused.value).startswith(f"model.backbone {place!r}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no_such:function", "no module 'no_such' can be imported, and no file 'no_such.py' lies beside"),
        ("keras.no.such:function", "no module 'keras.no.such' can be imported"),
        ("math:sqrt", r"called with \(8, 8, 1\) and 10 it raised TypeError"),
    ],
)
def test_a_module_is_imported_by_its_name(place: str, message: str, data: Dataset) -> None:
    """Where no file of that name lies beside the config."""
    with pytest.raises(InputError, match=message):
        planning.plan(_config(place), data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_package", "importing '.*' raised ModuleNotFoundError: No module named 'no_such_"),
        ("1 / 0", "importing '.*' raised ZeroDivisionError: division by zero"),
        ("def f(:", "importing '.*' raised SyntaxError: invalid syntax"),
    ],
)
def test_an_error_in_a_module_is_quoted(text: str, message: str, own: Any, data: Dataset) -> None:
    """With its type and its text; nothing of the module stays behind."""
    before = set(sys.modules)
    with pytest.raises(InputError, match=message):
        planning.plan(_config(own(text, "f")), data)
    assert not [name for name in set(sys.modules) - before if name.startswith("own_")]


def test_a_file_that_has_changed_is_read_again(own: Any) -> None:
    """And one that has not is not."""
    text = "import keras\ndef f(shape, classes): return keras.Model(*[keras.Input(shape)] * 2)\n"
    first = backbones._function(own(text, "f"))
    assert backbones._function(own(text, "f")) is first
    assert backbones._function(own(text + "# more", "f")) is not first


def test_passes_need_a_dropout_of_the_backbones_own(own: Any, data: Dataset) -> None:
    """What the config says of dropout is about built-in networks."""
    with pytest.raises(
        InputError, match=r"this network drops none; give a layer keras\.layers\.Dropout in"
    ):
        planning.plan(_config(own(GOOD, "sequential"), passes=3), data)
    planning.plan(_config(own(GOOD, "nested"), passes=3), data)


def test_noise_that_no_mask_stands_for_is_refused(own: Any, data: Dataset) -> None:
    """Passes freeze units that are dropped; Gaussian dropout drops none, and would be left out."""
    text = (
        "import keras\n"
        "def noisy(shape, classes):\n"
        "    layers = [keras.layers.Flatten(), keras.layers.GaussianDropout(0.5, name='haze')]\n"
        "    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dropout(0.5)])\n"
    )
    with pytest.raises(InputError, match=r"the layer 'haze' of .* cannot be frozen for 3 passes"):
        planning.plan(_config(own(text, "noisy"), passes=3), data)
    planning.plan(_config(own(text, "noisy"), passes=1), data)


@pytest.mark.slow
def test_the_example_trains_on_images_and_exports_its_passes(
    root: Path, data: Dataset, tmp_path: Path
) -> None:
    """`backbones:residual` beside a config: blocks with dropout that branches lead round."""
    (tmp_path / "backbones.py").write_text((root / "examples" / "backbones.py").read_text())
    (tmp_path / "c.toml").write_text(
        'name = "t"\ndata = { source = "digits" }\nsearch = { trials = 1, epochs = 4 }\n'
        'model = { backbone = "backbones:residual", passes = 4 }\n'
    )
    config = load_config(tmp_path / "c.toml")
    (trial,) = planning.plan(config, data)
    fitted = train.fit(
        data, planning.build_loss(trial.loss, config, data), trial.head, config.model, config.search, 0
    )
    assert fitted.curves["val_accuracy"][-1] > 0.85
    exported = export_untrained(config, data, tmp_path)
    verify.verify(exported.path, exported.model, exported.conformal, data.features)
    assert exported.manifest.passes == 4


def test_the_example_takes_a_table(root: Path, table: Path) -> None:
    """A row of it is as many units as preprocessing makes."""
    config = _config(f"{root / 'examples' / 'backbones.py'}:residual", passes=2)
    config = config.model_copy(update={"data": config.data.model_copy(update={"source": str(table)})})
    data = load(config)
    network = models.build(config.model, data, planning.plan(config, data)[0].head, "mixed_bfloat16")
    assert network(data.features[:5]).shape == (5, 4)
    assert {layer.compute_dtype for layer in network.layers if layer.name.startswith("dense")} == {
        "bfloat16"
    }
