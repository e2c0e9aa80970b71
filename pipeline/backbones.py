"""Backbones of the user's own: a function of a module becomes layers of the network.

    def residual(shape: tuple[int, ...], classes: int) -> keras.Model: ...

`shape` is that of a row after preprocessing: `(units,)` of a table, `(height, width, channels)` of images.
The model takes such rows and gives `(batch, units)`, or more dimensions, which are flattened.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
from keras import KerasTensor

from pipeline.errors import InputError, nearest

# Of models made by keras.Model(inputs, outputs), whose class Keras does not publish, and of Sequential.
_CALLS = (type(keras.Model(*[keras.Input((1,))] * 2)).call, keras.Sequential.call)


def is_own(place: str) -> bool:
    """Return whether a backbone's name is `module:function`."""
    return ":" in place


def build(place: str, shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return what the function makes of the shape of a row and K.

    Args:
        place: `module:function`; the module by its name or by the path of its file.
        shape: Of a row after preprocessing.
        classes: K.

    Raises:
        InputError: There is no such function, or it returns no model for such rows.
    """
    function = _function(place)
    try:
        model = function(shape, classes)
    except Exception as error:
        raise _wrong(place, f"called with {shape} and {classes} it raised {_quoted(error)}") from error
    if not isinstance(model, keras.Model):
        raise _wrong(place, f"must return a keras.Model, returned {type(model).__name__}")
    if not _functional(model):
        raise _wrong(
            place,
            f"must return a functional or sequential model, and {type(model).__name__} is a subclass with "
            "a call of its own, whose layers cannot be seen; make it keras.Model(inputs, outputs)",
        )
    if not model.built:  # a Sequential without an Input
        try:
            model.build((None, *shape))
        except Exception as error:
            raise _wrong(place, f"it cannot read rows of shape {shape}: {_quoted(error)}") from error
    return _checked(place, model, shape)


def check(place: str, shape: tuple[int, ...], classes: int) -> keras.Model:
    """Return what `build` does, alone and copied, once all that is done to it later has been tried.

    Raises InputError as `build` does, and for layers that cannot be copied, as MC dropout does it.
    """
    model = build(place, shape, classes)
    rows = keras.Input(shape)
    try:
        network = keras.Model(rows, inline(model, rows))
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
    except Exception as error:
        raise _wrong(
            place,
            "its layers cannot be copied, which takes get_config and from_config that agree: "
            f"{_quoted(error)}",
        ) from error
    return copy


def inline(model: keras.Model, x: KerasTensor) -> KerasTensor:
    """Return `(batch, units)` that the model's own layers, weights and all, make of x.

    They become layers of the network that x belongs to, and so do those of models inside the model:
    what is done to dropout layers of a network finds them.
    """
    features = _flat(model).call(x)
    return keras.layers.Flatten()(features) if len(features.shape) > 2 else features


def _flat(model: keras.Model) -> keras.Model:
    """Return the model with the same layers, and those of models inside it in their place."""

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if _functional(layer) and len(layer.inputs) == len(layer.outputs) == 1:
            return _flat(layer).call(*args, **kwargs)
        return layer(*args, **kwargs)

    plain = keras.Model(model.inputs[0], model.outputs[0])
    return keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=call)


def _functional(model: object) -> bool:
    """Return whether all that a model does is to call its layers, one after the other."""
    return isinstance(model, keras.Model) and type(model).call in _CALLS


def _checked(place: str, model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise _wrong(place, f"must return a model with one {what}, returned one with {len(tensors)}")
    takes, gives = model.inputs[0], model.outputs[0]
    fits = len(takes.shape) == len(shape) + 1 and all(
        wanted in (None, there) for wanted, there in zip(takes.shape[1:], shape, strict=True)
    )
    if not fits:
        raise _wrong(
            place, f"its model must take rows of the shape {shape} it was given, it takes {takes.shape[1:]}"
        )
    if not keras.backend.is_float_dtype(gives.dtype):
        raise _wrong(place, f"its model must give floating-point numbers, it gives {gives.dtype}")
    if len(gives.shape) < 2 or None in gives.shape[1:]:
        raise _wrong(
            place,
            f"its model must give (batch, units) with a fixed number of units, it gives {gives.shape}",
        )
    return model


def _function(place: str) -> Callable[..., object]:
    module_name, _, name = place.rpartition(":")
    module = _module(place, module_name)
    function = getattr(module, name, None)
    if function is None:
        own = [
            key for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        ]  # fmt: skip
        raise _wrong(place, f"{module_name!r} has no function {name!r}{nearest(name, own)}")
    if not callable(function):
        raise _wrong(place, f"{name!r} must be a function, it is {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _module(place: str, name: str) -> ModuleType:
    try:
        return _of_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise _wrong(
                place,
                f"no module {name!r} can be imported, and no file "
                f"{name.replace('.', '/') + '.py'!r} lies beside the config",
            ) from error
        raise _wrong(place, f"importing {name!r} raised {_quoted(error)}") from error
    except Exception as error:
        raise _wrong(place, f"importing {name!r} raised {_quoted(error)}") from error


def _of_file(path: Path) -> ModuleType:
    """Return the module of a file, the same one for as long as the file is the same."""
    text = path.read_bytes()
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode() + text).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Keras looks for classes of layers when it loads a network
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _quoted(error: BaseException) -> str:
    """Return type and message, the latter's first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _wrong(place: str, what: str) -> InputError:
    return InputError(f"model.backbone {place!r}: {what}")
