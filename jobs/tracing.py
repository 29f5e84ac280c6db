"""OpenTelemetry traces, an option. Off, nothing of OpenTelemetry is imported, and a span is one shared object that does nothing.

A trace goes with a job: the request that makes it stores its `traceparent` (W3C Trace Context) in the job's row, the worker's run
is a child of that, and the trainer finds its own in TRACEPARENT.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("tracing")

Attributes = Mapping[str, str | int | float | bool | None]
_STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NOTHING: AbstractContextManager[Any] = nullcontext()
_provider: TracerProvider | None = None


def start(service: str, endpoint: str) -> bool:
    """Send spans to an OTLP/HTTP receiver: `endpoint`, such as http://collector:4318, or where OpenTelemetry's own variables
    say. Whether there is one. Without the packages it is an error in the log, and everything else goes on.
    """
    global _provider
    if _provider is not None or not (endpoint or any(os.environ.get(name) for name in _STANDARD)):
        return _provider is not None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.error("traces are wanted and cannot be sent: %s; pip install 'imprint[otel]'", error)
        return False
    address = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    # Its queue is bounded: with a receiver that is away, spans are dropped and nobody waits.
    _provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=5)))
    return True


def stop() -> None:
    """Send what is left, within a few seconds."""
    global _provider
    if _provider is not None:
        _provider.force_flush(3000)
        _provider.shutdown()
        _provider = None


def on() -> bool:
    """Whether spans go anywhere."""
    return _provider is not None


def span(name: str, *, kind: str = "internal", parent: str | None = None, **attributes: Any) -> AbstractContextManager[Any]:
    """A span around a block, child of `parent` (a traceparent) or of the span that surrounds it; gives it, or None when off.

    kind: internal, server, consumer. attributes: `__` stands for a dot.
    """
    return _NOTHING if _provider is None else _span(_provider, name, kind, parent, attributes)


@contextmanager
def _span(provider: TracerProvider, name: str, kind: str, parent: str | None, attributes: Mapping[str, Any]) -> Iterator[Any]:
    from opentelemetry import trace

    known = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
    with provider.get_tracer("imprint").start_as_current_span(
        name, context=_context(parent), kind=trace.SpanKind[kind.upper()], attributes=known
    ) as made:
        yield made


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def lasting(name: str, began: float, ended: float, **attributes: Any) -> None:
    """A span that is over: seconds since 1970. A child of the span that surrounds the call."""
    if _provider is not None:
        tracer = _provider.get_tracer("imprint")
        known = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
        made = tracer.start_span(name, start_time=int(began * 1e9), attributes=known)
        made.end(int(ended * 1e9))


def failed(span: Any, why: str) -> None:
    """Mark a span (None when off) as one that went wrong."""
    if span is not None:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, why))


def traceparent() -> str | None:
    """Of the span that surrounds the call; None when off."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
