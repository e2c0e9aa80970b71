"""The model as Triton's Python backend runs it; requests that it has batched share a run."""

from __future__ import annotations

import network
import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    """All outputs of the graph."""

    def initialize(self, _args: dict[str, str]) -> None:
        """Open the file."""
        self._session, self._names = network.opened()

    def execute(self, requests: list[triton.InferenceRequest]) -> list[triton.InferenceResponse]:
        """Run it."""
        rows = [triton.get_input_tensor_by_name(one, network.INPUT).as_numpy() for one in requests]
        together = rows[0] if len(rows) == 1 else np.concatenate(rows)
        answers = self._session.run(self._names, {network.INPUT: together})
        responses, start = [], 0
        for one in rows:
            part = slice(start, start + len(one))
            tensors = [
                triton.Tensor(n, answer[part]) for n, answer in zip(self._names, answers, strict=True)
            ]
            responses.append(triton.InferenceResponse(tensors))
            start += len(one)
        return responses
