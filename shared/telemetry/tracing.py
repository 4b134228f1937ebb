"""The trace of an event, as the event itself carries it: W3C `traceparent`, in the row and in the message.

Rows are committed in groups and messages are sent in batches, so that no task works for one call alone: the current
span says nothing there. What an event was logged under is therefore part of its data, and every later step, days later
too, finds its trace by it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import EventLoggingError

TRACEPARENT: Final = "traceparent"
"""The name of the message attribute and of the key in `_eventLog` (w3.org/TR/trace-context)."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()

_UNSAMPLED: Final = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(0))), Context()
)
"""Keeps what a library traces below us from beginning traces of its own, each without a beginning that means anything.
"""


def current_traceparent() -> str | None:
    """Of the span that is current, where there is one and it is sampled."""
    return traceparent_of(trace.get_current_span())


def traceparent_of(span: Span) -> str | None:
    """None where the span is not sampled: there is nothing to continue."""
    context = span.get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{TraceFlags(TraceFlags.SAMPLED):02x}"


def span_context_of(traceparent: object) -> SpanContext | None:
    """None where it is missing, malformed, of another type than text, or not sampled."""
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
    """One piece of work for several events: a span in the trace of each, None for what is not sampled, in their order.

    The first span is current meanwhile, so that what libraries trace below is in its trace; the others are linked with
    it. Where there is none, nothing below is recorded either.
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
    """Nothing below is recorded, but for what continues an event's trace."""
    token = attach(_UNSAMPLED)
    try:
        yield
    finally:
        detach(token)


def word_of(error: BaseException) -> str:
    """A stable word for an outcome: the reason of an error of ours, else what kind of exception it is."""
    return error.reason if isinstance(error, EventLoggingError) else type(error).__name__
