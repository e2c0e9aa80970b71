"""What the graph does not need, but TensorFlow cannot say or tf2onnx cannot know."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from pipeline.decision import FOLD


def simplify(graph: onnx.GraphProto) -> None:
    """Take out nodes of a converted graph that change nothing; each costs a run, whatever it does.

    - A LogSoftmax before a Softmax: that takes away whatever the logarithms of a row have in common.
    - The reading of a shape for the fold of `decision.expected_costs`: in ONNX, 0 keeps a dimension.
    """
    made = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        before = made.get(node.input[0]) if node.input else None
        if node.op_type == "Softmax" and before is not None and before.op_type == "LogSoftmax":
            node.input[0] = before.input[0]
        if node.op_type == "Reshape" and node.name.endswith(FOLD):
            kept = np.array([0, 0, -1])
            graph.initializer.append(numpy_helper.from_array(kept, FOLD))
            node.input[1] = FOLD
    _drop_unread(graph)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nobody reads any more, and those that only they have read."""
    while True:
        read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            return
        for node in unread:
            graph.node.remove(node)
