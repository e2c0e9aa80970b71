"""The options by which commands reach a service: TLS, a certificate, a token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.access import Access

_TOKEN = "ORDINAL_TOKEN"

Tls = Annotated[
    bool,
    typer.Option("--tls", envvar="ORDINAL_TLS", help="Encrypt; trust the certificates that gRPC trusts."),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="ORDINAL_CA",
        metavar="FILE",
        help="Encrypt; trust the certificates of this PEM file.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        envvar="ORDINAL_CERTIFICATE",
        metavar="FILE",
        help="The caller's own certificate, PEM, for a service that wants one; with --key.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", envvar="ORDINAL_KEY", metavar="FILE", help="Of --certificate; PEM."),
]
ServerName = Annotated[
    str,
    typer.Option(
        "--server-name",
        envvar="ORDINAL_SERVER_NAME",
        help="Whom the service's certificate is for, where that is not the address.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"Whose content is sent as token; without it that of the environment variable {_TOKEN}.",
    ),
]


def access(
    address: str,
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str,
    token_file: Path | None,
) -> Access:
    """Return what the options say, so that an address can be reached by it.

    Raises SettingError where they do not fit together, or a file is not what it should be.
    """
    from serving.access import Access
    from serving.errors import SettingError  # here, for commands tell their help without gRPC

    if (certificate is None) != (key is None):
        raise SettingError("--certificate and --key belong together: give both, or none")
    found = Access(
        tls=ca or tls,
        certificate=None if certificate is None or key is None else (certificate, key),
        token=os.environ.get(_TOKEN) or None if token_file is None else _token(token_file),
        server_name=server_name,
    )
    try:
        found.target(address)
    except OSError as error:
        raise SettingError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(str(error)) from error
    return found


def _token(path: Path) -> str:
    from serving.errors import SettingError

    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Not `from` the error, which has what the file holds.
        raise SettingError(f"{path}: must hold a token, and is no text") from None
