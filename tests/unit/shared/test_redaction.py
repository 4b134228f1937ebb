"""What is removed from spans before they are exported."""

from contextlib import suppress

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared.telemetry.redaction import RedactingSpanExporter

CANARY = "canary-5d1e"


def exported(*, fail: bool) -> ReadableSpan:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(kept)))
    with (
        suppress(ValueError),
        provider.get_tracer("test").start_as_current_span("commit", kind=SpanKind.CLIENT) as span,
    ):
        span.set_attribute("rows", 3)
        span.add_event("retrying", {"attempt": 2, "cause": CANARY})
        if fail:
            int(CANARY)
    (found,) = kept.get_finished_spans()
    return found


def test_the_text_of_an_exception_does_not_leave_the_process() -> None:
    span = exported(fail=True)

    assert CANARY not in span.to_json()
    assert span.status.status_code is StatusCode.ERROR
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("retrying", {"attempt": 2}),
        ("exception", {"exception.type": "ValueError"}),
    ]


def test_everything_else_does() -> None:
    span = exported(fail=False)

    assert (span.name, span.kind, dict(span.attributes or {})) == ("commit", SpanKind.CLIENT, {"rows": 3})
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time
    assert span.context is not None
    assert [event.name for event in span.events] == ["retrying"]
