"""A collector of traces: takes what OTLP exporters send over HTTP, and keeps the spans."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """Listens at `address`; `spans` are those that came, each with the `resource` that sent it."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.paths: set[str] = set()
        self.spans: list[dict[str, Any]] = []
        self.asked = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.asked += 1
                collector.paths.add(self.path)
                if collector.status == 200:
                    collector.keep(ExportTraceServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def keep(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of a request."""
        for sent in request.resource_spans:
            resource = _attributes(sent.resource.attributes)
            for scope in sent.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        {
                            "name": span.name,
                            "kind": span.kind,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "began": span.start_time_unix_nano,
                            "ended": span.end_time_unix_nano,
                            "status": span.status.code,
                            "attributes": _attributes(span.attributes),
                            "state": span.trace_state,
                            "resource": resource,
                        }
                    )

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _attributes(given: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in given}


@contextlib.contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector(status)
    try:
        yield collector
    finally:
        collector.close()
