"""OpenTelemetry traces of requests: the request, its rails, its waiting, its engine. No text is told.

Off unless a collector is named; then a request costs one comparison a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from ... import __version__
from ...core.errors import NeedsError
from ...core.install import install_hint
from ...core.settings.serving import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

    from ..server import Generation
    from .traffic_log import TrafficRow

_PATH = "/v1/traces"
_EXPORT_S = 5.0
HEADERS = ("traceparent", "tracestate")  # W3C's: what callers say of their own trace
_NO_STEP: AbstractContextManager[None] = nullcontext()


class Tracing:
    """Sends traces to a collector, from a thread of its own: one that is gone costs spans and no request."""

    def __init__(self, settings: TracingSettings) -> None:
        try:
            self._provider = _provider(settings)
        except ImportError as error:
            raise NeedsError(
                f"serving.tracing.endpoint is set, but {error.name} is not installed. "
                f"Install: {install_hint('tracing')}"
            ) from error
        self._tracer = self._provider.get_tracer("opswright.gateway", __version__)

    @classmethod
    def of(cls, settings: TracingSettings) -> Tracing | None:
        """What the settings ask for; None where they name no collector. NeedsError without the library."""
        return cls(settings) if settings.endpoint else None

    def begin(self, operation: str, endpoint: str, headers: Mapping[str, str]) -> RequestTrace:
        """A trace of a request, as a part of its caller's where the headers name one."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(headers)
        named = {"gen_ai.operation.name": operation, "gen_ai.request.model": endpoint}
        span = self._tracer.start_span(f"{operation} {endpoint}", parent, SpanKind.SERVER, named)
        return RequestTrace(self._tracer, span)

    def close(self) -> None:
        """Send what is left; returns within some seconds also where nobody takes it."""
        self._provider.shutdown()


class RequestTrace:
    """One request's trace."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the request, as long as the context lasts; a failure is told by its kind alone."""
        with self._child(name):
            yield

    @contextmanager
    def engine(self, ask: Generation) -> Iterator[Generation]:
        """The step of asking an engine: gives the question with the headers that let it add its own part."""
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers: dict[str, str] = {}
        with self._child("engine", SpanKind.CLIENT) as span:
            TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
            yield replace(ask, trace_headers=tuple(headers.items()))

    @contextmanager
    def _child(self, name: str, kind: SpanKind | None = None) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(name, self._context, kind or SpanKind.INTERNAL)
        try:
            yield span
        except BaseException as error:
            _failed(span, type(error).__name__)
            raise
        finally:
            span.end()

    @property
    def _context(self) -> Context:
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(self._span)

    def end(self, row: TrafficRow, request_id: str) -> None:
        """End the request's span with what became of it; never with what was said."""
        told: dict[str, str | int] = {
            "gen_ai.usage.input_tokens": row.tokens_in,
            "gen_ai.usage.output_tokens": row.tokens_out,
            "opswright.release": row.release,
            "opswright.route": row.route,
            "opswright.status": row.status,
            "opswright.request_id": request_id,
        }
        self._span.set_attributes(told | ({} if row.rail is None else {"opswright.rail": row.rail}))
        if row.status == "error":
            _failed(self._span, row.finish.removeprefix("error: "))
        self._span.end()


def step(trace: RequestTrace | None, name: str) -> AbstractContextManager[None]:
    """A step of a trace, or of none."""
    return _NO_STEP if trace is None else trace.step(name)


def engine_step(trace: RequestTrace | None, ask: Generation) -> AbstractContextManager[Generation]:
    """The step of asking an engine, of a trace or of none; see RequestTrace.engine."""
    return nullcontext(ask) if trace is None else trace.engine(ask)


def _failed(span: Span, kind: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, kind))
    span.set_attribute("error.type", kind)


def _provider(settings: TracingSettings) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    named = {"service.name": "opswright-gateway", "service.version": __version__}
    sampler = ParentBasedTraceIdRatio(settings.sample)
    provider = TracerProvider(sampler, Resource.create(named), shutdown_on_exit=False)
    address = (settings.endpoint or "").rstrip("/")
    exporter = OTLPSpanExporter(address.removesuffix(_PATH) + _PATH, timeout=_EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
