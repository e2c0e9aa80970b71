"""Traces of calls: where a caller traces its call, the collector is told what became of it here.

Only imported where the setting `traces` asks for it, since that takes OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.wire import inference_pb2, ordinal_pb2

if TYPE_CHECKING:
    from opentelemetry.context import Context as Parent

    from serving.calls import Context
    from serving.question import Question
    from serving.telemetry import Telemetry

_PATH = "/v1/traces"  # of OTLP over HTTP
_FLAGS = slice(53, 55)  # of a traceparent: 00-<trace id>-<span id>-<flags>
_MOST_STAGES = 256  # of one call, which may be a stream
_TIME_TO_END = 2.0  # seconds that the last spans have to be sent
_OURS = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))
"""Statuses that are a fault of the server, as OpenTelemetry's conventions have it."""
_FULL_NAMES = {
    method.name: f"{service.full_name}/{method.name}"
    for file in (ordinal_pb2.DESCRIPTOR, inference_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}

logger = logging.getLogger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]

Stage = tuple[str, float, float]
"""Its name, and when it began and ended, by `time.perf_counter`."""


class Tracer:
    """Makes traces, and sends them on a thread of its own; `close` it in the end."""

    def __init__(self, endpoint: str, instance: str, telemetry: Telemetry) -> None:
        """Send to an OTLP collector, such as http://localhost:4318, what this `instance` has done.

        `telemetry` is told which trace a request belongs to.
        """
        # What cannot be sent is told once, by `_Patient`, and not for each batch.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        own = {"service.version": _version(), "service.instance.id": instance}
        if not _is_named():
            own["service.name"] = "ordinal"
        resource = Resource.create(own)
        url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        shown = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2])  # without a password
        exporter = _Patient(OTLPSpanExporter(endpoint=url), shown.geturl())
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(__name__.partition(".")[0])
        self._propagator = TraceContextTextMapPropagator()
        self._telemetry = telemetry

    def begin(self, context: Context, method: str) -> Trace | None:
        """Return the trace of a call that begins now, where its caller records one.

        That is also the trace of the request that is begun next.
        """
        self._telemetry.trace = trace = None
        metadata = context.invocation_metadata() or ()
        for key, value in metadata:
            if key == "traceparent":
                if isinstance(value, str) and _is_sampled(value):
                    self._telemetry.trace = trace = self._trace(metadata, value, method)
                break
        return trace

    def _trace(self, metadata: Metadata, parent: str, method: str) -> Trace | None:
        """Return the trace of a call with such a traceparent; none where that is not one."""
        state = [str(value) for key, value in metadata if key == "tracestate"]
        above = self._propagator.extract({"traceparent": [parent], "tracestate": state})
        if not get_current_span(above).get_span_context().is_valid:
            return None
        return Trace(self, above, _FULL_NAMES[method])

    async def close(self) -> None:
        """Send what is left, as far as that is soon done."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._provider.shutdown), _TIME_TO_END)

    def again(self, trace: Trace | None) -> None:
        """Tell that the request that is begun next, on a stream, belongs to this trace."""
        self._telemetry.trace = trace

    def tell(self, trace: Trace, code: str) -> None:
        """Make the spans of a call that ended with a status."""
        error = {"error.type": code} if code != "OK" else {}
        span = self._tracer.start_span(
            trace.method,
            trace.parent,
            SpanKind.SERVER,
            {
                "rpc.system.name": "grpc",
                "rpc.method": trace.method,
                "rpc.response.status_code": code,
                **error,
                **trace.attributes,
            },
            start_time=trace.at(trace.began),
        )
        inside = set_span_in_context(span)
        for name, began, ended in trace.stages:
            stage = self._tracer.start_span(name, inside, start_time=trace.at(began))
            stage.end(trace.at(ended))
        if code in _OURS:
            span.set_status(Status(StatusCode.ERROR))
        span.end(trace.at(time.perf_counter()))


class Trace:
    """One call: what happened to it so far. Stages may be added on any thread, one at a time."""

    def __init__(self, tracer: Tracer, parent: Parent, method: str) -> None:
        self.parent = parent
        self.method = method
        self.began = time.perf_counter()
        self.attributes: dict[str, str | int] = {}
        self.stages: list[Stage] = []
        self.id = f"{get_current_span(parent).get_span_context().trace_id:032x}"
        self._tracer = tracer
        self._epoch = time.time_ns() - int(self.began * 1e9)

    def answered(self, question: Question, together: int, stages: Sequence[Stage]) -> None:
        """Tell how a question of it was answered: in a run of so many requests, by these stages."""
        attributes = self.attributes
        if question.counts is not None:
            attributes["ordinal.model"] = question.counts.model
            attributes["ordinal.version"] = question.counts.version
        attributes["ordinal.provider"] = question.artifact.provider
        attributes["ordinal.rows"] = int(attributes.get("ordinal.rows", 0)) + len(question)
        attributes["ordinal.together"] = max(int(attributes.get("ordinal.together", 0)), together)
        if len(self.stages) < _MOST_STAGES:
            self.stages += stages

    def end(self, code: str) -> None:
        """Tell that the call has ended with a status."""
        self._tracer.tell(self, code)

    def at(self, moment: float) -> int:
        """Return a moment of `time.perf_counter` in nanoseconds since 1970."""
        return self._epoch + int(moment * 1e9)


class _Patient(SpanExporter):
    """An exporter whose failures are told once, until it succeeds again."""

    def __init__(self, exporter: SpanExporter, url: str) -> None:
        self._exporter = exporter
        self._url = url
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on
            result, why = SpanExportResult.FAILURE, f": {error}"
        else:
            why = ""
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger.warning("traces cannot be sent to %s%s; they are lost until they can", self._url, why)
        elif self._failing and not failing:
            logger.info("traces are sent to %s again", self._url)
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


def _is_sampled(parent: str) -> bool:
    """Tell whether the caller records this trace; what is no traceparent says no."""
    try:
        return len(parent) >= _FLAGS.stop and bool(int(parent[_FLAGS], 16) & 1)
    except ValueError:
        return False


def _is_named() -> bool:
    """Tell whether the environment has a name for the service, by OpenTelemetry's own variables."""
    attributes = os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    return bool(os.environ.get(OTEL_SERVICE_NAME)) or "service.name=" in attributes


def _version() -> str:
    try:
        return importlib.metadata.version("ordinal")
    except importlib.metadata.PackageNotFoundError:  # a copy of the code that was not installed
        return "unknown"
