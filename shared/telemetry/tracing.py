"""Spans for work that is done for several events at once, each in the trace of its event (`shared/traceparent.py`)."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import EventLoggingError
from shared.traceparent import TRACEPARENT

_PROPAGATOR: Final = TraceContextTextMapPropagator()

_UNSAMPLED: Final = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(0))), Context()
)
"""A context in which libraries start no traces of their own: their spans inherit "not sampled" from its span."""


def current_traceparent() -> str | None:
    """The traceparent of the current span; None where there is no span or it is not sampled."""
    return traceparent_of(trace.get_current_span())


def traceparent_of(span: Span) -> str | None:
    """The traceparent that continues a span; None where the span is not sampled."""
    context = span.get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{TraceFlags(TraceFlags.SAMPLED):02x}"


def span_context_of(traceparent: object) -> SpanContext | None:
    """The span that a traceparent names; None where it is missing, malformed, not a text, or not sampled."""
    if not isinstance(traceparent, str):
        return None
    span = trace.get_current_span(_PROPAGATOR.extract({TRACEPARENT: traceparent}, Context()))
    context = span.get_span_context()
    return context if context.trace_flags.sampled else None


@contextmanager
def trace_span(
    tracer: Tracer,
    name: str,
    traceparents: Iterable[str | None],
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[list[Span | None]]:
    """Trace one piece of work for several events: one span in the trace of each.

    Yields the spans in the order of the traceparents, with None where a trace is not sampled. The first span is the
    current one meanwhile, so that the spans of libraries below belong to its trace; the other spans link to it. With no
    sampled trace nothing below is recorded either.

    An exception marks every span as an error, with `word_of` it as `error.type`, and is raised again.
    """
    spans: list[Span | None] = []
    first: Span | None = None
    for parent in map(span_context_of, traceparents):
        if parent is None:
            spans.append(None)
            continue
        context = trace.set_span_in_context(NonRecordingSpan(parent), Context())
        links = [] if first is None else [Link(first.get_span_context())]
        span = tracer.start_span(name, context=context, kind=kind, attributes=attributes, links=links)
        first = first or span
        spans.append(span)
    token = attach(_UNSAMPLED if first is None else trace.set_span_in_context(first, Context()))
    try:
        yield spans
    except BaseException as error:
        for span in filter(None, spans):
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", word_of(error))
        raise
    finally:
        detach(token)
        for span in filter(None, spans):
            span.end()


@contextmanager
def untraced() -> Iterator[None]:
    """Record no spans below, except those that `trace_span` makes in the traces of events."""
    token = attach(_UNSAMPLED)
    try:
        yield
    finally:
        detach(token)


def word_of(error: BaseException) -> str:
    """A stable word for an outcome: the `reason` of an EventLoggingError, else the class name of the exception."""
    return error.reason if isinstance(error, EventLoggingError) else type(error).__name__
