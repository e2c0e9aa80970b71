"""The model as MLServer serves it: a runtime of one's own, as its manual describes."""

from __future__ import annotations

import network
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Network(MLModel):
    """All outputs of the graph."""

    async def load(self) -> bool:
        """Open the file."""
        self._session, self._names = network.opened()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = self._session.run(self._names, {network.INPUT: rows})
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output(name, answer)
                for name, answer in zip(self._names, answers, strict=True)
            ],
        )
