"""Traces: a span a request below the caller's, one for each stage, and no trace where none was asked for."""

import asyncio
from typing import Any

import pytest

from genre_ray.serve import openapi, tracing
from genre_ray.serve.routes import POSTS, reads
from genre_ray.serve.settings import ServeArgs

pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans(
    path: str, *, status: int = 200, timing: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
) -> Any:
    """The finished spans of one request to an application that answers `status`, by name."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        answered = [(b"x-request-id", b"abc"), (b"server-timing", timing)]
        await send({"type": "http.response.start", "status": status, "headers": answered})
        await send({"type": "http.response.body", "body": b"{}"})

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sent: list[Any] = []

    async def ask() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": headers or []}
        await tracing.Traced(application, provider.get_tracer("test"), routes=("/v1/predict",))(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_is_a_span_below_its_callers_with_its_stages_below_it() -> None:
    found = spans("/v1/predict", timing=b"decode;dur=4.00, forward;dur=6.50", headers=[(b"traceparent", PARENT)])
    assert set(found) == {"POST /v1/predict", "decode", "forward"}
    request = found["POST /v1/predict"]
    assert format(request.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert format(request.parent.span_id, "016x") == "b7ad6b7169203331"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["genre_ray.request_id"] == "abc"
    assert found["forward"].parent.span_id == request.context.span_id
    assert found["forward"].end_time - found["forward"].start_time == 6_500_000
    assert found["decode"].end_time == found["forward"].start_time


@pytest.mark.parametrize("path", ["/v1/predict/../../etc/passwd%00", "/v1/aaaaaaaa", "/v9/qwerty/x", "/v1/predict/"])
def test_an_error_is_marked_and_a_path_of_a_strangers_making_has_no_name_of_its_own(path: str) -> None:
    (span,) = spans(path, status=503).values()
    assert span.name == "POST other"
    assert span.status.status_code == StatusCode.ERROR


def test_traces_know_the_paths_of_the_service_and_no_others() -> None:
    described = openapi.document(ServeArgs(name="genre"))["paths"]
    assert set(described) == {*POSTS, *reads("genre")}


def test_a_broken_traceparent_starts_a_trace_of_its_own() -> None:
    (span,) = spans("/v1/predict", headers=[(b"traceparent", b"00-zz-\xff")]).values()
    assert span.parent is None


def test_nothing_is_traced_where_no_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert tracing.traced(application, service="genre") is application
