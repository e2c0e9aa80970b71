"""Who may ask: TLS and tokens, their files read again when they change, and the guard before all calls."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

from serving import ports
from serving.errors import SettingError
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.security.tls import Certificates
    from serving.security.tokens import Tokens

_LOOK = 1.0  # seconds between looks at the files

logger = logging.getLogger(__name__)


class Security:
    """The certificates and the tokens in use; None of both where the settings name none."""

    def __init__(self, settings: Settings) -> None:
        """Read the files; raises SettingError where they, or the settings together, cannot be used."""
        self.certificates: Certificates | None = None
        self.tokens: Tokens | None = None
        if settings.tls_certificate or settings.tls_key or settings.tls_client_ca:
            # Imported where it is needed: a service without TLS does not wait for OpenSSL.
            from serving.security.tls import Certificates

            self.certificates = Certificates(
                settings.tls_certificate, settings.tls_key, settings.tls_client_ca
            )
        if settings.tokens:
            from serving.security.tokens import Tokens

            _check_not_overheard(settings)
            self.tokens = Tokens(settings.tokens)

    async def keep_looking(self) -> None:
        """Take in what changes in the files, until this is cancelled; a bad file changes nothing."""
        looks = [one.look for one in (self.certificates, self.tokens) if one is not None]
        while looks:
            await asyncio.sleep(_LOOK)
            for look in looks:
                try:
                    # On a thread, since a file of a volume that hangs would hold up all calls.
                    taken = await asyncio.to_thread(look)
                except Exception as error:  # noqa: BLE001 - whatever is in a file, the service goes on
                    logger.error("%s; what was read before stays in use", _reason(error))
                else:
                    if taken:
                        logger.info("%s", taken)


def _reason(error: Exception) -> str:
    """What may be told of an error; that of some library may quote what is in a file."""
    if isinstance(error, (SettingError, OSError)):
        return str(error)
    return f"the files of certificates and tokens cannot be used: {type(error).__name__}"


def _check_not_overheard(settings: Settings) -> None:
    """Refuse tokens where they would go over a network as plain text."""
    if settings.tls_certificate:
        return
    listening = {"--host": settings.host}
    if settings.metrics:
        listening["--metrics"] = ports.parted(settings.metrics, settings.host)[0]
    for option, host in listening.items():
        if not _is_loopback(host):
            raise SettingError(
                "tokens must not go over a network as plain text, where others can read them, and "
                f"{option} is {host}: encrypt with --tls-certificate and --tls-key, or listen on 127.0.0.1"
            )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
