"""An artifact of used cars whose graph takes categories, by themselves or beside numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving import manifest as schema

NUMERIC = schema.Input(
    name="numeric",
    dtype="float32",
    shape=(2,),
    features=("age", "power"),
    ranges=((0, 1), (-1, 1)),
    missing=("power",),
    missing_texts=("?", "n/a"),
)
CATEGORICAL = schema.Input(
    name="categorical",
    dtype="string",
    shape=(3,),
    features=("colour", "fuel", "größe"),
    categories=(("red", "green", " blue "), ("petrol", "diesel"), ("klein", "groß", "☃", "groß ")),
    missing=("fuel", "größe"),
    missing_texts=("?", "n/a"),
    unknown_allowed=False,
)
LENIENT = CATEGORICAL.model_copy(update={"unknown_allowed": True})
UNKNOWN, ABSENT = -1, -2
"""The codes of what is none of the categories."""
ABSENT_TEXTS = ("", *CATEGORICAL.missing_texts)

Columns = Mapping[str, Sequence[Any]]


def make_cars(
    make: Callable[..., Any], path: Path, *inputs: schema.Input, name: str = "cars", **changes: Any
) -> Any:
    """An artifact of `make` whose numbers are codes of categories, and 0 where a number is missing.

    `inputs` are those of its graph and its manifest; left out, numbers and categories.
    """
    inputs = inputs or (NUMERIC, CATEGORICAL)
    width = sum(spec.shape[0] for spec in inputs)
    encoded = schema.Input(
        name="numeric",
        dtype="float32",
        shape=(width,),
        features=tuple(f"f{index}" for index in range(width)),
        ranges=((0, 1),) * width,
    )
    return make(
        path,
        encoded,
        name=name,
        seed=2,
        edit=lambda graph: _encode(graph, inputs),
        inputs=inputs,
        **changes,
    )


def encoded(columns: Columns, *inputs: schema.Input) -> np.ndarray:
    """What the graph is to make of columns, `(rows, features)`: the slow twin of its first nodes."""
    made = []
    for spec in inputs or (NUMERIC, CATEGORICAL):
        for index, feature in enumerate(spec.features):
            if spec.dtype == "string":
                categories, absent = spec.categories[index], ("", *spec.missing_texts)
                made.append([_code(text, categories, absent) for text in columns[feature]])
            else:
                made.append([0 if np.isnan(number) else number for number in columns[feature]])
    return np.array(made, np.float32).T


def random_columns(seed: int, rows: int, unknown: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Columns of every kind of entry that the artifact of numbers and categories takes."""
    random = np.random.default_rng(seed)
    texts = {
        name: random.choice(
            [*categories, *unknown, *(ABSENT_TEXTS if name in CATEGORICAL.missing else [])], rows
        )
        for name, categories in zip(CATEGORICAL.features, CATEGORICAL.categories, strict=True)
    }
    power = np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)).astype(np.float32)
    age = random.normal(size=rows).astype(np.float32)
    return {name: column.tolist() for name, column in {"age": age, "power": power, **texts}.items()}


def _code(text: str, categories: Sequence[str], absent: Sequence[str]) -> int:
    if text in absent:
        return ABSENT
    return categories.index(text) if text in categories else UNKNOWN


def _encode(graph: onnx.GraphProto, inputs: Sequence[schema.Input]) -> None:
    """Put in front of a graph of numbers what makes them of its inputs."""
    nodes, parts, constants = [], [], {}
    for spec in inputs:
        if spec.dtype == "string":
            for index, categories in enumerate(spec.categories):
                constants[f"at_{index}"] = np.array([index])
                absent = ("", *spec.missing_texts)
                nodes += [
                    helper.make_node("Gather", ["categorical", f"at_{index}"], [f"text_{index}"], axis=1),
                    helper.make_node(
                        "LabelEncoder",
                        [f"text_{index}"],
                        [f"code_{index}"],
                        domain="ai.onnx.ml",
                        keys_strings=[*categories, *absent],
                        values_int64s=[*range(len(categories)), *[ABSENT] * len(absent)],
                        default_int64=UNKNOWN,
                    ),
                    helper.make_node("Cast", [f"code_{index}"], [f"number_{index}"], to=TensorProto.FLOAT),
                ]
                parts.append(f"number_{index}")
        else:
            constants["zero_number"] = np.float32(0)
            nodes += [
                helper.make_node("IsNaN", ["numeric"], ["no_number"]),
                helper.make_node("Where", ["no_number", "zero_number", "numeric"], ["numbers"]),
            ]
            parts.append("numbers")
    first = graph.node[0]
    first.input[0] = "encoded"
    others = [*graph.node]
    del graph.node[:]
    graph.node.extend([*nodes, helper.make_node("Concat", parts, ["encoded"], axis=1), *others])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    types = {"float32": TensorProto.FLOAT, "string": TensorProto.STRING}
    optional = [*graph.input][1:]
    del graph.input[:]
    graph.input.extend(
        helper.make_tensor_value_info(spec.name, types[spec.dtype], ["batch", *spec.shape])
        for spec in inputs
    )
    graph.input.extend(optional)
