"""The model as mosec serves it, over HTTP and without messages: `python serve.py PORT plain|batched`."""

from __future__ import annotations

import os
import sys

import network
import numpy as np
from mosec import Server, Worker

FEATURES = 20


class Network(Worker):
    """The bytes of all outputs of the graph, one after the other."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self._session, self._names = network.opened()

    def deserialize(self, data: bytes) -> np.ndarray:
        """Return the rows of a request."""
        return np.frombuffer(data, np.float32).reshape(-1, FEATURES)

    def serialize(self, data: bytes) -> bytes:
        """Return a reply as it is."""
        return data

    def forward(self, data: np.ndarray) -> bytes:
        """Run it."""
        return b"".join(one.tobytes() for one in self._session.run(self._names, {network.INPUT: data}))


class Batched(Network):
    """The same of several requests by one run."""

    def forward(self, data: list[np.ndarray]) -> list[bytes]:  # type: ignore[override]
        """Run it."""
        answers = self._session.run(self._names, {network.INPUT: np.concatenate(data)})
        replies, start = [], 0
        for rows in data:
            part = slice(start, start + len(rows))
            replies.append(b"".join(answer[part].tobytes() for answer in answers))
            start += len(rows)
        return replies


def main() -> None:
    """Serve until the process is ended."""
    port, how = sys.argv[1:]
    os.environ |= {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": port, "MOSEC_LOG_LEVEL": "warning"}
    server = Server()
    if how == "batched":
        server.append_worker(Batched, max_batch_size=32, max_wait_time=1)
    else:
        server.append_worker(Network)
    server.run()


if __name__ == "__main__":
    main()
