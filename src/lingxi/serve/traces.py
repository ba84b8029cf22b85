"""OpenTelemetry: a span a request, in the trace its `traceparent` names, and in it tokenizing, waiting and
computing. No texts; off unless an exporter's endpoint is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lingxi.errors import MissingExtraError
from lingxi.serve.account import Account

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer, TracerProvider

_STEPS = ("tokenized", "waited", "computed")


def exporting(endpoint: str) -> TracerProvider:
    """What sends spans to an OTLP collector over HTTP; raises MissingExtraError without OpenTelemetry."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtraError("opentelemetry-exporter-otlp-proto-http", "traces", "tracing") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "lingxi"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def spans(provider: TracerProvider) -> Callable[[Account], None]:
    """What makes the spans of every request that ended."""
    tracer = provider.get_tracer("lingxi.serve")

    def tell(account: Account) -> None:
        _request_span(tracer, account)

    return tell


def _request_span(tracer: Tracer, account: Account) -> None:
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.status import Status, StatusCode

    span = tracer.start_span(
        f"{account.method} {account.path}",
        context=_parent(account), kind=SpanKind.SERVER, start_time=account.began,
        attributes={
            "http.request.method": account.method, "http.route": account.path,
            "http.response.status_code": account.status, "http.request.body.size": account.received,
            "http.response.body.size": account.sent, "lingxi.request": account.request,
        },
    )  # fmt: skip
    if account.status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    _step_spans(tracer, account, set_span_in_context(span))
    span.end(account.began + _nanoseconds(account.seconds))


def _step_spans(tracer: Tracer, account: Account, context: Context) -> None:
    """A child for each step of the work, one after another up to the request's end."""
    for spent in account.spent:
        whole = sum(getattr(spent, step) for step in _STEPS)
        at = account.began + _nanoseconds(max(account.seconds - whole, 0.0))
        attributes: dict[str, str | int] = {"lingxi.model": spent.model, "lingxi.texts": len(spent.lengths)}
        for step in _STEPS:
            span = tracer.start_span(step, context=context, start_time=at, attributes=attributes)
            at += _nanoseconds(getattr(spent, step))
            span.end(at)


def _parent(account: Account) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    said = {
        name: account.headers[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in account.headers
    }
    return TraceContextTextMapPropagator().extract(said)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
