"""Removes the texts of exceptions from spans before they leave the process.

Libraries record exceptions in their spans with message and stack trace (the Spanner client does), which may contain
values of rows. A span's events keep only numbers and the type of an exception; its status loses its description.
"""

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

_HARMLESS_TEXT: Final = "exception.type"


class RedactingSpanExporter(SpanExporter):
    """Wraps a span exporter."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_redacted(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _redacted(span: ReadableSpan) -> ReadableSpan:
    if not span.events and span.status.description is None:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[_without_texts(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _without_texts(event: Event) -> Event:
    # All texts but one: the Spanner client has a failure's text also under names of its own, such as `cause`.
    attributes = (event.attributes or {}).items()
    kept = {key: value for key, value in attributes if key == _HARMLESS_TEXT or isinstance(value, int | float)}
    return Event(event.name, kept, event.timestamp)
