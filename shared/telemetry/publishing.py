"""Observes publishes: durations, counts, and a span in the trace of each message."""

from collections.abc import Sequence
from dataclasses import replace

from opentelemetry.trace import SpanKind

from shared.events.forward_message import OutgoingMessage
from shared.pubsub import Publisher
from shared.telemetry.metrics import PUBLISH_DURATION, PUBLISHED, counter, histogram, timed
from shared.telemetry.providers import Telemetry
from shared.telemetry.tracing import trace_span, traceparent_of
from shared.traceparent import TRACEPARENT


class ObservedPublisher:
    """Wraps a Publisher. Messages with a sampled trace are published with the traceparent of this publish's span."""

    def __init__(self, publisher: Publisher, telemetry: Telemetry, *, topic: str, role: str) -> None:
        """`topic` is `forward` or `dead_letter`; `role` is the metrics' attribute `publisher`."""
        self._publisher = publisher
        self._topic = topic
        self._role = role
        self._tracer = telemetry.tracer
        self._durations = histogram(telemetry.meter, PUBLISH_DURATION)
        self._published = counter(telemetry.meter, PUBLISHED)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        # As in OpenTelemetry's semantic conventions for messaging.
        attributes: dict[str, str | int] = {
            "messaging.system": "gcp_pubsub",
            "messaging.operation.type": "send",
            "messaging.destination.name": self._topic,
            "messaging.batch.message_count": len(messages),
            "event_log.publisher": self._role,
        }
        traceparents = [message.attributes.get(TRACEPARENT) for message in messages]
        with (
            timed(self._durations, topic=self._topic),
            trace_span(
                self._tracer, f"send {self._topic}", traceparents, kind=SpanKind.PRODUCER, attributes=attributes
            ) as spans,
        ):
            continued = [
                message
                if span is None or (ours := traceparent_of(span)) is None
                else replace(message, attributes={**message.attributes, TRACEPARENT: ours})
                for message, span in zip(messages, spans, strict=True)
            ]
            await self._publisher.publish(continued)
        self._published.add(len(messages), {"topic": self._topic, "publisher": self._role})
