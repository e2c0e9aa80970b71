"""The typed client: NumPy arrays in, NumPy arrays out.

```python
import numpy as np
from serving.client import Client, Policy

triage = Policy("triage", cost=np.array([[5, 0], [2, 1], [0, 9]]), actions=["page", "ignore"])
with Client("127.0.0.1:50051") as client:
    print(client.model().labels)
    answer = client.predict(np.zeros((2, 4), np.float32), policies=["absolute", triage])
    print(answer.probabilities, answer.decisions["triage"].chosen, answer.interval)
```
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from serving import exchange
from serving.access import Access
from serving.answers import Decision, Interval, Prediction, Uncertainty, prediction
from serving.attempts import Attempts
from serving.connections import Connections, options
from serving.errors import OrdinalError
from serving.exchange import Answer, Exchange
from serving.failures import failure
from serving.model_info import ModelInfo
from serving.requests import Output, Policy, Rows, prediction_request
from serving.wire import ordinal_pb2 as wire

__all__ = [
    "Client",
    "Decision",
    "Interval",
    "ModelInfo",
    "OrdinalError",
    "Policy",
    "Prediction",
    "Uncertainty",
]


class Client:
    """Connections to a service; close them, or use it in a `with` statement. Threads may share it."""

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        connections: int = 4,
        retry: bool = True,
        tls: bool | str | Path = False,
        certificate: tuple[str | Path, str | Path] | None = None,
        token: str | None = None,
        server_name: str = "",
    ) -> None:
        """Prepare to call a service; nothing is sent yet.

        Args:
            address: `host:port`, or any target that gRPC knows, such as `dns:///replicas:50051` or
                `ipv4:10.0.0.1:50051,10.0.0.2:50051`: of several addresses all are used, and those that do
                not answer are left out until they do.
            connections: How many there are to each address, and as many for streams, opened as they are
                needed and used in turn. The kernel spreads them over the service's workers.
            retry: Whether a call is made again, within its timeout: one that ends UNAVAILABLE, or finds
                nobody there, after 0.1, 0.3, 0.9 and 2.7 s, each a fifth more or less, so that 3 to 5 s go
                by before Unavailable is raised, and a restart may take as long; one that the service has no
                room for, when the service says that there may be, up to seven times. Streams are not made
                again.
            tls: Whether what is sent is encrypted, and the service has to prove who it is by a certificate
                that gRPC trusts; or the path of a PEM file with those to trust instead.
            certificate: Paths of PEM files with a certificate and its key, for a service that wants one.
            token: Sent with every call; only by TLS, or to this very machine.
            server_name: Whom the service's certificate is for, where that is not the address.

        Files are read once, here.

        Raises:
            ValueError: `connections` is less than 1; a token would be sent in the open; a file is not what
                it should be, or of no use without TLS.
            OSError: A file cannot be read.
        """
        self.address = address
        self._access = Access(tls, certificate, token, server_name)
        self._target = self._access.target(address)
        self._retry = retry
        calls, streams = options(address, retry=retry), options(address, retry=False)
        self._connections = Connections(address, connections, lambda: self._target.channel(calls))
        self._streams = Connections(address, connections, lambda: self._target.channel(streams))

    def predict(
        self,
        rows: Rows,
        model: str = "",
        version: str = "",
        policies: Sequence[str | Policy] = (),
        coverage: float | None = None,
        outputs: Sequence[Output] = (),
        request_id: str = "",
        timeout: float | None = 10.0,
    ) -> Prediction:
        """Return probabilities, expected values, decisions, intervals and uncertainty of rows.

        Args:
            rows: `(rows, *shape)`, `shape` being that of the model's input; float32 or uint8, as the model
                has it, other floats being sent as float32. Or a table: each feature's name with its
                column, in any order, and the only way for categories. A column is numbers, booleans being 0
                and 1, or texts. None stands for a missing value of either, NaN too: it is sent as NaN among
                numbers and as an empty text among texts. A column of None alone is taken for texts, so that
                one of numbers is written with NaN.
            model: Name; empty for the only model served.
            version: Number or alias; empty for the champion, or the only version served.
            policies: Names of the model's cost profiles, or policies of your own; as many decisions come
                back, from one run of the model. Empty: the default profile.
            coverage: Wanted coverage of the interval, in (0, 1). None: the model's own.
            outputs: What the prediction is to hold. Empty: all but `action_costs`.
            request_id: Returned with the prediction; in the service's log where the request fails.
            timeout: Seconds to wait; None for ever.

        Raises:
            TypeError: Rows of integers other than uint8, or of something else than numbers; a column of
                something else than numbers or texts, or of both.
            ValueError: A policy whose cost does not fit its actions, an unknown output.
            InvalidRequest: The service refuses the request; `field` names the part that is wrong. Without a
                field also a request that is too large for it: the message has size and limit.
            Unauthenticated: The service wants a token that it knows.
            Forbidden: The token does not allow this.
            ModelNotFound: No such model or version is served.
            Unavailable: Nobody answers at the address, or the service is loading or draining.
            Exhausted: The service has more requests than it can answer; `retry_after` seconds later there
                may be room.
            DeadlineExceeded: The timeout is over.
            OrdinalError: Anything else.

        Example:
            >>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
            ...     client.predict({"alcohol": [9.4], "pH": [3.51]}).decisions["absolute"].chosen
            ['5']
        """
        asked = exchange.predict(rows, model, version, policies, coverage, outputs, request_id)
        return self._call(asked, timeout)

    def predict_stream(
        self,
        batches: Iterable[Rows],
        model: str = "",
        version: str = "",
        policies: Sequence[str | Policy] = (),
        coverage: float | None = None,
        outputs: Sequence[Output] = (),
        timeout: float | None = None,
    ) -> Iterator[Prediction]:
        """Yield the prediction of each batch of rows, in order, over one stream.

        Batches are taken and sent ahead of the replies: an endless generator is read no further than the
        service and the network hold. What is refused ends the stream.

        Args:
            batches: Each as `rows` of `predict`, which has the other arguments and errors too; an error of
                the iterable's own ends the stream and is raised.
            model: Of all of them.
            version: Of all of them.
            policies: Of all of them.
            coverage: Of all of them.
            outputs: Of all of them.
            timeout: Seconds for the whole stream; None for ever.

        Example:
            >>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
            ...     for answer in client.predict_stream(np.array_split(rows, 100)):
            ...         print(answer.expected_value)
        """
        failed: list[Exception] = []

        def requests() -> Iterator[wire.PredictRequest]:
            try:
                for rows in batches:
                    yield prediction_request(rows, model, version, policies, coverage, outputs, "")
            except Exception as error:
                failed.append(error)  # gRPC would log it, and tell the caller that a call was cancelled
                raise

        stream = self._streams.next().stream(requests(), timeout=timeout, metadata=self._target.metadata)
        try:
            for message in stream:
                yield prediction(message)
        except grpc.RpcError as error:
            if failed:
                raise failed[0] from None
            raise failure(error, self.address) from error
        finally:
            stream.cancel()

    def model(self, name: str = "", version: str = "", timeout: float | None = 10.0) -> ModelInfo:
        """Describe a served model; `name` and `version` as `model` and `version` of `predict`.

        Raises:
            ModelNotFound: No such model or version is served.
            Unavailable: Nobody answers at the address, or the service is loading or draining.
            DeadlineExceeded: The timeout is over.
            OrdinalError: Anything else.
        """
        return self._call(exchange.model(name, version), timeout)

    def models(self, timeout: float | None = 10.0) -> list[ModelInfo]:
        """Describe every version of every model that is served; raises as `model` does."""
        return self._call(exchange.models(), timeout)

    def close(self) -> None:
        """End the connections, and the calls under way; calling this twice does no harm."""
        for channel in (*self._connections.close(), *self._streams.close()):
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._access.shown(self.address)})"

    def _call(self, asked: Exchange[Answer], timeout: float | None) -> Answer:
        attempts = Attempts(timeout, retry=self._retry)
        while True:
            method = self._connections.next().methods[asked.method]
            try:
                reply = method(asked.request, timeout=attempts.timeout(), metadata=self._target.metadata)
            except grpc.RpcError as error:
                failed = failure(error, self.address)
                wait = attempts.wait(failed)
                if wait is None:
                    raise failed from error
                time.sleep(wait)
            else:
                return asked.read(reply)
