"""Texts of categories become the codes that the network takes, inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.encoding import UNKNOWN
from serving.manifest import Input

ROWS = "rows"
"""What the network takes: numbers, then codes."""
ML_OPSET = 3
MOST_CODES = 2**20
"""Texts × columns up to which one table has the codes of all; it grows by the square of the columns."""


def take_texts(model: onnx.ModelProto, numeric: Input | None, categorical: Input) -> None:
    """Put inputs of numbers and of texts in the place of the input `rows` of a graph.

    One LabelEncoder gives each text its place among the texts of all columns together, and a table says
    which code a text has in which column: four nodes, however many columns and categories there are. Where
    that table would be large, each column has a LabelEncoder of its own.

    Args:
        model: Whose graph is changed; its input `rows` is `(batch, F + C)`, see `data.encoding`.
        numeric: F features; None where there are none.
        categorical: C features.
    """
    graph = model.graph
    by_column = [_codes(categorical, column) for column in range(len(categorical.features))]
    coded = "codes" if numeric else ROWS
    every = sorted({text for codes in by_column for text in codes})
    if len(every) * len(by_column) <= MOST_CODES:
        nodes = _together(graph, categorical.name, every, by_column, coded)
    else:
        nodes = _one_by_one(graph, categorical.name, by_column, coded)
    inputs = [
        helper.make_tensor_value_info(categorical.name, TensorProto.STRING, ["batch", len(by_column)])
    ]
    if numeric:
        nodes.append(helper.make_node("Concat", [numeric.name, coded], [ROWS], axis=1))
        shape: list[str | int] = ["batch", *numeric.shape]
        inputs.insert(0, helper.make_tensor_value_info(numeric.name, TensorProto.FLOAT, shape))
    others = [one for one in graph.input if one.name != ROWS]
    behind = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend([*inputs, *others])
    graph.node.extend([*nodes, *behind])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))


def _codes(categorical: Input, column: int) -> dict[str, float]:
    """Return the code of each text of a column; that of a gap which training has not means nothing."""
    own = categorical.categories[column]
    codes = {text: float(code) for code, text in enumerate(own)}
    if categorical.features[column] in categorical.missing:
        codes |= dict.fromkeys(("", *categorical.missing_texts), float(len(own)))
    return codes


def _together(
    graph: onnx.GraphProto,
    name: str,
    texts: Sequence[str],
    by_column: Sequence[dict[str, float]],
    coded: str,
) -> list[onnx.NodeProto]:
    """Return three nodes: the place of each text among all, and from there its code in the column."""
    # One more than there are texts, for what is none of them.
    table = np.full((len(by_column), len(texts) + 1), UNKNOWN, np.float32)
    for column, codes in enumerate(by_column):
        table[column, :-1] = [codes.get(text, UNKNOWN) for text in texts]
    begin = np.arange(len(by_column), dtype=np.int64) * table.shape[1]
    graph.initializer.extend(
        [
            numpy_helper.from_array(begin, "texts_begin"),
            numpy_helper.from_array(table.ravel(), "texts_codes"),
        ]
    )
    places: dict[str, Any] = {
        "keys_strings": texts,
        "values_int64s": range(len(texts)),
        "default_int64": len(texts),
    }
    return [
        helper.make_node("LabelEncoder", [name], ["texts"], domain="ai.onnx.ml", **places),
        helper.make_node("Add", ["texts", "texts_begin"], ["texts_at"]),
        helper.make_node("Gather", ["texts_codes", "texts_at"], [coded]),
    ]


def _one_by_one(
    graph: onnx.GraphProto, name: str, by_column: Sequence[dict[str, float]], coded: str
) -> list[onnx.NodeProto]:
    """Return two nodes a column, and one that puts the codes side by side."""
    nodes = []
    for column, codes in enumerate(by_column):
        own, place = f"{coded}_{column}", f"texts_{column}"
        graph.initializer.append(numpy_helper.from_array(np.array([column]), place))
        keys: dict[str, Any] = {"keys_strings": list(codes), "values_floats": list(codes.values())}
        nodes += [
            helper.make_node("Gather", [name, place], [f"{place}_only"], axis=1),
            helper.make_node(
                "LabelEncoder",
                [f"{place}_only"],
                [own],
                domain="ai.onnx.ml",
                **keys,
                default_float=float(UNKNOWN),
            ),
        ]
    every = [f"{coded}_{column}" for column in range(len(by_column))]
    return [*nodes, helper.make_node("Concat", every, [coded], axis=1)]
