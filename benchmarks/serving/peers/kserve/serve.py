"""The model as KServe's SDK serves it: `python serve.py PORT plain|tuned`.

Tuned is what its options cannot say: an event loop of uvloop, which by itself only its HTTP server gets
where it has processes of its own, and no line in the log for each request.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import network
import uvloop
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.numpy_codec import from_np_dtype


class Network(Model):
    """All outputs of the graph."""

    def load(self) -> bool:
        """Open the file."""
        self._session, self._names = network.opened()
        self.ready = True
        return True

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002
        """Run it."""
        rows = payload.inputs[0].as_numpy()
        outputs = []
        for name, answer in zip(
            self._names, self._session.run(self._names, {network.INPUT: rows}), strict=True
        ):
            output = InferOutput(name, list(answer.shape), from_np_dtype(answer.dtype))
            output.set_data_from_numpy(answer)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs)


def main() -> None:
    """Serve until the process is ended."""
    port, how = int(sys.argv[1]), sys.argv[2]
    model = Network("bench")
    model.load()
    server = ModelServer(http_port=port + 1, grpc_port=port)
    if how == "tuned":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.set_event_loop(asyncio.new_event_loop())  # uvloop's policy makes none by itself
        logging.getLogger("kserve").setLevel(logging.WARNING)
        logging.getLogger("kserve.trace").setLevel(logging.WARNING)
    server.start([model])


if __name__ == "__main__":
    main()
