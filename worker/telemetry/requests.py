"""Observes requests to Statsig: their duration, the outcome of each event, and a span for each sampled event."""

import time
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, StatusCode

from shared.events.statsig_projection import StatsigEvent
from shared.telemetry.metrics import ATTEMPTS, REQUEST_DURATION, counter, histogram
from shared.telemetry.providers import Telemetry
from shared.telemetry.tracing import trace_span, word_of
from worker.statsig.forwarder import StatsigForwarder
from worker.statsig.outcome import SendOutcome, SendVerdict


class ObservedStatsigForwarder:
    """Wraps a StatsigForwarder."""

    def __init__(self, forwarder: StatsigForwarder, telemetry: Telemetry, *, api_url: str) -> None:
        self._forwarder = forwarder
        self._server = urlsplit(api_url).hostname or ""
        self._tracer = telemetry.tracer
        self._durations = histogram(telemetry.meter, REQUEST_DURATION)
        self._attempts = counter(telemetry.meter, ATTEMPTS)

    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        attributes: dict[str, str | int] = {"server.address": self._server, "event_log.events": len(events)}
        traceparents = [event.traceparent for event in events]
        began = time.perf_counter()
        try:
            with trace_span(
                self._tracer, "statsig log_event", traceparents, kind=SpanKind.CLIENT, attributes=attributes
            ) as spans:
                outcomes = await self._forwarder.send(events)
                for event, span in zip(events, spans, strict=True):
                    if span is not None:
                        _annotate(span, event.event_id, outcomes[event.event_id])
        except BaseException as error:
            # Mostly a cancellation: it is unknown what was sent.
            self._count(time.perf_counter() - began, {(SendVerdict.AMBIGUOUS, word_of(error)): len(events)})
            raise
        self._count(
            time.perf_counter() - began, Counter((outcome.verdict, outcome.reason) for outcome in outcomes.values())
        )
        return outcomes

    def _count(self, seconds: float, outcomes: dict[tuple[SendVerdict, str], int]) -> None:
        for (verdict, reason), events in outcomes.items():
            self._attempts.add(events, {"verdict": verdict.value, "reason": reason})
        # All events of a request share its answer, except those that the SDK could not put into it.
        for reason in {reason for _, reason in outcomes}:
            self._durations.record(seconds, {"reason": reason})


def _annotate(span: Span, event_id: str, outcome: SendOutcome) -> None:
    span.set_attributes(
        {
            "event_log.event_id": event_id,
            "event_log.verdict": outcome.verdict.value,
            "event_log.reason": outcome.reason,
        }
    )
    if outcome.status is not None:
        span.set_attribute("http.response.status_code", outcome.status)
    span.set_status(StatusCode.OK if outcome.verdict is SendVerdict.CONFIRMED else StatusCode.ERROR)
