"""Metrics and traces of the ingress: interceptors, gauges and an observer around the repository.

Wired only with telemetry on (`ingress/app.py`, `ingress/runtime.py`).
"""

from collections.abc import Sequence

from connectrpc.interceptor import Interceptor
from connectrpc_otel import OpenTelemetryInterceptor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ingress.commit.forward_publisher import ForwardPublisher
from ingress.commit.group_commit import GroupCommitter
from ingress.complaints.hourly import ComplaintCounter
from ingress.interceptors.call_events import CallEventsInterceptor, CallMessagesInterceptor
from shared.events.complaints import Complaint, folded
from shared.events.event import EventLogRow
from shared.events.event_log import EventLogRepository, Written
from shared.telemetry.metrics import (
    COMMIT_DURATION,
    COMMIT_ROWS,
    COMPLAINTS,
    PUBLISH_PAUSED,
    QUEUE_ROWS,
    counter,
    gauge,
    histogram,
    timed,
)
from shared.telemetry.providers import Telemetry
from shared.telemetry.tracing import trace_span, untraced


def outer_interceptors(telemetry: Telemetry) -> tuple[Interceptor, ...]:
    """A span and a duration for each call, and a count of its events by code.

    To be placed before all other interceptors, so that they see the code that the caller gets. Reads the caller's trace
    context, but no baggage.
    """
    return (
        OpenTelemetryInterceptor(
            propagator=TraceContextTextMapPropagator(),
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
        ),
        CallEventsInterceptor(telemetry.meter),
    )


def message_interceptors() -> tuple[Interceptor, ...]:
    """What the outer interceptors cannot see. To be placed behind DecodingInterceptor and before validation."""
    return (CallMessagesInterceptor(),)


def observe_state(telemetry: Telemetry, committer: GroupCommitter, publisher: ForwardPublisher) -> None:
    """Register the gauges, which are read at each export."""
    gauge(telemetry.meter, QUEUE_ROWS, lambda: committer.waiting_rows)
    gauge(telemetry.meter, PUBLISH_PAUSED, lambda: publisher.is_paused)


class ObservedComplaints:
    """A ComplaintCounter around another one: counts them as a metric, without what callers choose."""

    def __init__(self, counter_of_all: ComplaintCounter, telemetry: Telemetry) -> None:
        self._counter = counter_of_all
        self._events = counter(telemetry.meter, COMPLAINTS)

    def note(self, complaint: Complaint, events: int = 1) -> None:
        self._counter.note(complaint, events)
        self._events.add(events, {"kind": complaint.kind.value, "reason": folded(complaint.reason)})


class ObservedEventLogRepository:
    """An EventLogRepository around another one: measures and traces its appends."""

    def __init__(self, repository: EventLogRepository, telemetry: Telemetry) -> None:
        self._repository = repository
        self._tracer = telemetry.tracer
        self._durations = histogram(telemetry.meter, COMMIT_DURATION)
        self._rows = histogram(telemetry.meter, COMMIT_ROWS)

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        self._rows.record(len(rows))
        attributes = {"event_log.rows": len(rows)}
        with (
            timed(self._durations),
            trace_span(self._tracer, "commit", [row.event.traceparent for row in rows], attributes=attributes),
        ):
            await self._repository.append(rows)

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        with untraced():  # the reading task was started by some other call, whose trace this does not belong to
            return await self._repository.written(event_ids)
