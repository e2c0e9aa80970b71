"""The client for asyncio: as `serving.client.Client`, each method to be awaited.

```python
import numpy as np
from serving.aio import AsyncClient

async with AsyncClient("127.0.0.1:50051") as client:
    answer = await client.predict(np.zeros((2, 4), np.float32))
    async for answer in client.predict_stream(np.zeros((100, 2, 4), np.float32)):
        print(answer.expected_value)
```
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from serving import exchange
from serving.access import Access
from serving.answers import Prediction, prediction
from serving.attempts import Attempts
from serving.connections import Connections, options
from serving.errors import OrdinalError
from serving.exchange import Answer, Exchange
from serving.failures import failure
from serving.model_info import ModelInfo
from serving.requests import Output, Policy, Rows, prediction_request
from serving.wire import ordinal_pb2 as wire

__all__ = ["AsyncClient"]


class AsyncClient:
    """Connections to a service, for one event loop; close them, or use it in an `async with` statement.

    Messages are made and read on the loop: some milliseconds for a request of some thousand rows.
    """

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
        """Prepare to call a service; arguments and errors as those of `Client`."""
        self.address = address
        self._access = Access(tls, certificate, token, server_name)
        self._target = self._access.target(address)
        self._retry = retry
        calls, streams = options(address, retry=retry), options(address, retry=False)
        open_ = self._target.asynchronous_channel
        self._connections = Connections(address, connections, lambda: open_(calls))
        self._streams = Connections(address, connections, lambda: open_(streams))

    async def predict(
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
        """Return what `Client.predict` returns, which has arguments and errors."""
        asked = exchange.predict(rows, model, version, policies, coverage, outputs, request_id)
        return await self._call(asked, timeout)

    async def predict_stream(
        self,
        batches: Iterable[Rows] | AsyncIterable[Rows],
        model: str = "",
        version: str = "",
        policies: Sequence[str | Policy] = (),
        coverage: float | None = None,
        outputs: Sequence[Output] = (),
        timeout: float | None = None,
    ) -> AsyncIterator[Prediction]:
        """Yield the prediction of each batch as `Client.predict_stream` does.

        Batches may be an asynchronous iterable too. Who leaves the loop early ends the stream by
        `contextlib.aclosing`; else the event loop does so later.
        """
        failed: list[Exception] = []

        async def requests() -> AsyncIterator[wire.PredictRequest]:
            try:
                async for rows in _each(batches):
                    yield prediction_request(rows, model, version, policies, coverage, outputs, "")
            except Exception as error:
                failed.append(error)  # gRPC would tell the caller that the call was cancelled
                raise

        stream = self._streams.next().stream(requests(), timeout=timeout, metadata=self._target.metadata)
        try:
            async for message in stream:
                yield prediction(message)
        except grpc.aio.AioRpcError as error:
            raise failure(error, self.address) from error
        except asyncio.CancelledError:  # of this task, or of the call, by what `requests` has raised
            if failed:
                raise failed[0] from None
            if _by_the_caller():
                raise
            raise self._closed() from None
        finally:
            stream.cancel()

    async def model(self, name: str = "", version: str = "", timeout: float | None = 10.0) -> ModelInfo:
        """Describe a served model, as `Client.model` does."""
        return await self._call(exchange.model(name, version), timeout)

    async def models(self, timeout: float | None = 10.0) -> list[ModelInfo]:
        """Describe every version of every model that is served."""
        return await self._call(exchange.models(), timeout)

    async def close(self) -> None:
        """End the connections, and the calls under way; calling this twice does no harm."""
        for channel in (*self._connections.close(), *self._streams.close()):
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._access.shown(self.address)})"

    def _closed(self) -> OrdinalError:
        return OrdinalError(f"CANCELLED: {self.address}: the client was closed")

    async def _call(self, asked: Exchange[Answer], timeout: float | None) -> Answer:
        attempts = Attempts(timeout, retry=self._retry)
        while True:
            method = self._connections.next().methods[asked.method]
            try:
                reply = await method(
                    asked.request, timeout=attempts.timeout(), metadata=self._target.metadata
                )
            except grpc.aio.AioRpcError as error:
                failed = failure(error, self.address)
                wait = attempts.wait(failed)
                if wait is None:
                    raise failed from error
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                if _by_the_caller():
                    raise
                raise self._closed() from None
            else:
                return asked.read(reply)


def _by_the_caller() -> bool:
    """Tell whether somebody has cancelled this task; else gRPC has, for the client was closed meanwhile."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _each(batches: Iterable[Rows] | AsyncIterable[Rows]) -> AsyncIterator[Rows]:
    if isinstance(batches, AsyncIterable):
        async for rows in batches:
            yield rows
    else:
        for rows in batches:
            yield rows
