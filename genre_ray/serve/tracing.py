"""OpenTelemetry traces of requests, where they are configured. Knows nothing about genres or Ray.

On when an OTLP endpoint is named the standard way (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
and the exporter is installed (pip install 'genre_ray[tracing]'). One span a request, below the caller's own where it
sends a `traceparent` (W3C Trace Context); below it one for each stage that the answer's Server-Timing header names.
Which share is traced is for the sampler to say (OTEL_TRACES_SAMPLER). Neither bodies nor headers are recorded.
"""

import logging
import os
import re
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

from genre_ray.serve.exchange import Message, Receive, Send
from genre_ray.serve.routes import POSTS, reads

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_STAGE = re.compile(r"([\w-]+);dur=([\d.]+)")


class Application(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI entry."""


def traced(application: Application, *, service: str) -> Application:
    """The application with its requests traced, or as it is where no endpoint is named or the packages are missing.

    `service` is the model's name, too.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return application
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        logger.warning("requests are not traced: %s; pip install 'genre_ray[tracing]'", error)
        return application
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service)})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traced(application, provider.get_tracer(__name__), routes=(*POSTS, *reads(service)))


class Traced:
    """ASGI around ASGI: a span for each HTTP request, named by its path where that is one of `routes`."""

    def __init__(self, application: Application, tracer: "Tracer", *, routes: Collection[str]) -> None:
        self._application = application
        self._tracer = tracer
        self._routes = frozenset(routes)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"] if scope["path"] in self._routes else "other"  # names that strangers cannot multiply
        attributes = {"http.request.method": scope["method"][:10], "http.route": path}
        parent = TraceContextTextMapPropagator().extract(carrier)
        name = f"{attributes['http.request.method']} {path}"
        span = self._tracer.start_span(name, context=parent, kind=SpanKind.SERVER, attributes=attributes)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answered(span, message)
            await send(message)

        try:
            await self._application(scope, receive, watched)
        finally:
            span.end()

    def _answered(self, span: "Span", start: Message) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        headers: dict[bytes, bytes] = dict(start.get("headers", ()))
        span.set_attribute("http.response.status_code", start["status"])
        if start["status"] >= 500:
            span.set_status(Status(StatusCode.ERROR))
        if (request_id := headers.get(b"x-request-id")) is not None:
            span.set_attribute("genre_ray.request_id", request_id.decode("latin-1"))
        # The stages follow each other and end now: what they took is known, when each began is not.
        stages: list[tuple[str, Any]] = _STAGE.findall(headers.get(b"server-timing", b"").decode("latin-1"))
        at = time.time_ns() - sum(int(float(ms) * 1e6) for _, ms in stages)
        for stage, ms in stages:
            child = self._tracer.start_span(stage, context=set_span_in_context(span), start_time=at)
            at += int(float(ms) * 1e6)
            child.end(at)
