"""The address where Prometheus reads the metrics."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from serving import ports
from serving.errors import AddressError
from serving.metrics import Metrics
from serving.security import Security

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_MOST = 32  # connections at a time; more are closed
_LONGEST = 20.0  # seconds that one may take, from its handshake to its end

logger = logging.getLogger(__name__)


class Endpoint:
    """Answers over HTTP, or HTTPS where there is a certificate, on threads, until it is closed.

    Where tokens are on it wants one that administers.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, security: Security) -> None:
        """Listen; raises AddressError where that cannot be."""
        registry = CollectorRegistry()
        registry.register(metrics)
        app: Any = make_wsgi_app(registry)
        try:
            self._server = _Server(host, port, security)
        except OSError as error:
            raise AddressError(f"cannot listen on {ports.joined(host, port)}: {error.strerror}") from error
        self._server.set_app(_guarded(app, security))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()
        self.address = ports.joined(host, self._server.server_port)
        scheme = "http" if security.certificates is None else "https"
        self.url = f"{scheme}://{self.address}/metrics"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _guarded(app: WSGIApplication, security: Security) -> WSGIApplication:
    """Return what answers only those who may."""
    tokens = security.tokens
    if tokens is None:
        return app

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        scheme, _, sent = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        token = tokens.find(sent) if scheme.lower() == "bearer" else None
        if token is not None and token.entry.admin:
            return app(environ, start)
        status = "401 Unauthorized" if token is None else "403 Forbidden"
        start(status, [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
        return [b"the metrics need a token with `admin = true`: send Authorization: Bearer TOKEN\n"]

    return answer


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: requests are no news, and their headers are secret."""


class _Server(ThreadingMixIn, WSGIServer):
    """Has a thread for each connection, its handshake included, so that none waits for a silent one."""

    daemon_threads = True
    request_queue_size = 2 * _MOST

    def __init__(self, host: str, port: int, security: Security) -> None:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        self._certificates = security.certificates
        self._free = threading.BoundedSemaphore(_MOST)
        super().__init__((str(address[0]), port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.ExitStack() as ended:
            # Whoever sends a byte now and then is cut off as well.
            connection = ended.enter_context(request.dup())
            cut = threading.Timer(_LONGEST, _cut, [connection])
            cut.daemon = True
            cut.start()
            ended.callback(cut.cancel)
            if self._certificates is not None:
                context = self._certificates.context()
                request.settimeout(_LONGEST)
                try:
                    request = ended.enter_context(context.wrap_socket(request, server_side=True))
                except (OSError, ValueError):  # not TLS, another version, no good certificate, or gone
                    return
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what is a fault of ours; a connection that broke is none."""
        del request, client_address
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, ssl.SSLError)):
            logger.error("the metrics could not be told", exc_info=error)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
