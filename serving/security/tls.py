"""The service's certificate and key, and the CA of its clients."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from serving.errors import SettingError
from serving.security.files import Files, content


@dataclass(frozen=True)
class Pem:
    """What the files hold."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


class Certificates:
    """The certificate in use, for gRPC and for the metrics' endpoint."""

    def __init__(self, certificate: str, key: str, client_ca: str) -> None:
        """Read the files; raises SettingError where they cannot be used."""
        if not certificate or not key:
            raise SettingError(
                "TLS needs both --tls-certificate and --tls-key"
                + (", and --tls-client-ca goes with them" if client_ca else "")
            )
        self._paths = (certificate, key, client_ca)
        self._files = Files([path for path in self._paths if path])
        self._pem = _read(*self._paths)
        self._context = _context(self._pem, self._paths)
        self._given = self._pem  # to gRPC

    def look(self) -> str:
        """Take in files that have changed; return what to tell of that, if anything.

        Raises SettingError where they cannot be used; those before stay in use.
        """
        if not self._files.changed():
            return ""
        pem = _read(*self._paths)
        if pem == self._pem:
            return ""
        self._context = _context(pem, self._paths)
        self._pem = pem
        return f"new connections get the certificate that is in {self._paths[0]} now"

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC listens with; it asks at each new connection whether that has changed."""
        fetch: Any = self._fetch  # None means that nothing has changed, which the types do not know
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._pem), fetch, require_client_authentication=bool(self._paths[2])
        )

    def context(self) -> ssl.SSLContext:
        """Return the same for Python's own sockets."""
        return self._context

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed; called on gRPC's own threads, where nothing must be waited for."""
        pem = self._pem
        if pem is self._given:
            return None
        self._given = pem
        return _configuration(pem)


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.client_ca)


def _read(certificate: str, key: str, client_ca: str) -> Pem:
    pem = Pem(
        content("--tls-certificate", certificate),
        content("--tls-key", key),
        content("--tls-client-ca", client_ca) if client_ca else None,
    )
    if b"-----BEGIN CERTIFICATE-----" not in pem.certificate:
        raise SettingError(f"--tls-certificate: {certificate} must hold a certificate in PEM, and does not")
    if b"PRIVATE KEY-----" not in pem.key:
        raise SettingError(f"--tls-key: {key} must hold a private key in PEM, and does not")
    if b"ENCRYPTED" in pem.key:
        raise SettingError(
            f"--tls-key: {key} is encrypted, and nobody is there to type its passphrase: decrypt it with "
            "openssl pkey, and let the file's mode protect it"
        )
    if pem.client_ca is not None and b"-----BEGIN CERTIFICATE-----" not in pem.client_ca:
        raise SettingError(f"--tls-client-ca: {client_ca} must hold certificates in PEM, and does not")
    return pem


def _context(pem: Pem, paths: tuple[str, str, str]) -> ssl.SSLContext:
    """Return a context with these; raises SettingError where OpenSSL cannot use them."""
    certificate, key, client_ca = paths
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # as gRPC has it
    try:
        # From copies in memory: the files may be others by now than those that gRPC gets.
        with _file(pem.certificate) as chain, _file(pem.key) as private:
            context.load_cert_chain(chain, private)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingError(
                f"--tls-key: {key} must be the key of the certificate in {certificate}, and is another one"
            ) from error
        raise SettingError(
            f"--tls-certificate and --tls-key: {certificate} and {key} cannot be used: {_reason(error)}"
        ) from error
    if pem.client_ca is not None:
        try:
            context.load_verify_locations(cadata=pem.client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise SettingError(f"--tls-client-ca: {client_ca} cannot be used: {_reason(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _reason(error: Exception) -> str:
    """A few words of OpenSSL; never what was read."""
    told = error.reason if isinstance(error, ssl.SSLError) else None
    return (told or "it is damaged").replace("_", " ").lower()


@contextmanager
def _file(text: bytes) -> Iterator[str]:
    """Give a file in memory, which no other user can read, for as long as the context is open."""
    number = os.memfd_create("pem")
    try:
        os.write(number, text)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
