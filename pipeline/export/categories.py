"""Texts of categories become the codes that the network takes, inside the graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.data.encoding import UNKNOWN
from serving.manifest import Input

ROWS = "rows"
"""What the network takes: numbers, then codes."""
ML_OPSET = 3


def take_texts(model: onnx.ModelProto, numeric: Input | None, categorical: Input) -> None:
    """Put inputs of numbers and of texts in the place of the input `rows` of a graph.

    One LabelEncoder gives each text its place among the texts of all columns together, and a table says
    which code a text has in which column: four nodes, however many columns and categories there are.

    Args:
        model: Whose graph is changed; its input `rows` is `(batch, F + C)`, see `data.encoding`.
        numeric: F features; None where there are none.
        categorical: C features.
    """
    graph = model.graph
    texts = sorted(
        {*(text for own in categorical.categories for text in own), "", *categorical.missing_texts}
    )
    places = {text: place for place, text in enumerate(texts)}
    unheard_of = len(texts)
    codes = np.full((len(categorical.features), unheard_of + 1), UNKNOWN, np.float32)
    for column, (feature, own) in enumerate(zip(categorical.features, categorical.categories, strict=True)):
        if feature in categorical.missing:
            codes[column, [places[text] for text in ("", *categorical.missing_texts)]] = len(own)
        codes[column, [places[text] for text in own]] = np.arange(len(own))
    begin = np.arange(len(codes), dtype=np.int64) * codes.shape[1]
    coded = "codes" if numeric else ROWS
    nodes = [
        helper.make_node(
            "LabelEncoder",
            [categorical.name],
            ["texts"],
            domain="ai.onnx.ml",
            keys_strings=texts,
            values_int64s=range(len(texts)),
            default_int64=unheard_of,
        ),
        helper.make_node("Add", ["texts", "texts_begin"], ["texts_at"]),
        helper.make_node("Gather", ["texts_codes", "texts_at"], [coded]),
    ]
    graph.initializer.extend(
        [
            numpy_helper.from_array(begin, "texts_begin"),
            numpy_helper.from_array(codes.ravel(), "texts_codes"),
        ]
    )
    inputs = [helper.make_tensor_value_info(categorical.name, TensorProto.STRING, ["batch", len(codes)])]
    if numeric:
        nodes.append(helper.make_node("Concat", [numeric.name, coded], [ROWS], axis=1))
        inputs.insert(
            0, helper.make_tensor_value_info(numeric.name, TensorProto.FLOAT, ["batch", *numeric.shape])
        )
    others = [one for one in graph.input if one.name != ROWS]
    behind = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend([*inputs, *others])
    graph.node.extend([*nodes, *behind])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
