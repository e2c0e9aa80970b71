"""What makes connections to an address, in the open or by TLS."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import grpc

Options = Sequence[tuple[str, str | int]]


class Target:
    """An address, and how it is reached."""

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials | None,
        metadata: tuple[tuple[str, str], ...],
        server_name: str,
    ) -> None:
        """Keep what `Access.target` has checked; `metadata` is to go with every call."""
        self.address = address
        self.metadata = metadata
        self._credentials = credentials
        self._named: Options = [("grpc.ssl_target_name_override", server_name)] if server_name else []

    def channel(self, options: Options = ()) -> grpc.Channel:
        """Return a channel for calls that block; nothing is sent yet."""
        options = [*options, *self._named]
        if self._credentials is None:
            return grpc.insecure_channel(self.address, options)
        return grpc.secure_channel(self.address, self._credentials, options)

    def asynchronous_channel(self, options: Options = ()) -> grpc.aio.Channel:
        """Return a channel for calls of the running event loop."""
        options = [*options, *self._named]
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.address, options)
        return grpc.aio.secure_channel(self.address, self._credentials, options)


def credentials(
    tls: Literal[True] | str | Path, own: tuple[str | Path, str | Path] | None
) -> grpc.ChannelCredentials:
    """Return what TLS takes; arguments and errors as those of `Access`."""
    trusted = None if tls is True else Path(tls)
    key = certificate = None
    if own is not None:
        certificate, key = map(Path, own)
    contents = [None if path is None else path.read_bytes() for path in (trusted, key, certificate)]
    _check(trusted, certificate, key)
    return grpc.ssl_channel_credentials(*contents)


def _check(trusted: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Raise ValueError where gRPC would only fail at the first call, and say little."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted is not None:
        try:
            context.load_verify_locations(trusted)
        except ssl.SSLError as error:
            raise ValueError(
                f"{trusted}: must hold trusted certificates in PEM: {_reason(error)}"
            ) from error
    if certificate is not None and key is not None:
        try:
            context.load_cert_chain(
                certificate, key, password=lambda: b""
            )  # else OpenSSL asks at the terminal
        except ssl.SSLError as error:
            raise ValueError(
                f"{certificate} and {key}: must be a certificate and its key in PEM, the key without a "
                f"password: {_reason(error)}"
            ) from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
