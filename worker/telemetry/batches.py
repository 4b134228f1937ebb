"""Observes batches: a span for each message with a sampled trace, and the delay from publish to ack."""

import time
from collections.abc import Sequence
from dataclasses import replace

from opentelemetry.trace import Span, SpanKind

from shared.events.forward_message import EVENT_ID_ATTRIBUTE
from shared.telemetry.metrics import FORWARD_DELAY, histogram
from shared.telemetry.providers import Telemetry
from shared.telemetry.tracing import trace_span, traceparent_of
from shared.traceparent import TRACEPARENT
from worker.disposition import DONE, Disposition, ForwardBatch
from worker.subscription import ReceivedMessage


class ObservedBatchHandler:
    """Wraps a ForwardBatch, a lane's or a trial's. The messages it passes on continue the trace from its span."""

    def __init__(self, forward: ForwardBatch, telemetry: Telemetry) -> None:
        self._forward = forward
        self._tracer = telemetry.tracer
        self._delays = histogram(telemetry.meter, FORWARD_DELAY)

    async def __call__(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        attributes: dict[str, str | int] = {
            "messaging.system": "gcp_pubsub",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": len(messages),
        }
        traceparents = [message.attributes.get(TRACEPARENT) for message in messages]
        with trace_span(
            self._tracer, "process forward", traceparents, kind=SpanKind.CONSUMER, attributes=attributes
        ) as spans:
            dispositions = await self._forward([_continued(m, span) for m, span in zip(messages, spans, strict=True)])
            for message, span in zip(messages, spans, strict=True):
                if span is not None:
                    span.set_attribute("event_log.disposition", dispositions[message.ack_id])
        now = time.time()
        for message in messages:
            if dispositions[message.ack_id] in DONE:
                self._delays.record(max(0.0, now - message.publish_time.timestamp()))
        return dispositions


def _continued(message: ReceivedMessage, span: Span | None) -> ReceivedMessage:
    if span is None or (traceparent := traceparent_of(span)) is None:
        return message
    span.set_attributes(
        {
            "messaging.message.id": message.message_id,
            "messaging.gcp_pubsub.message.delivery_attempt": message.delivery_attempt,
            "event_log.event_id": message.attributes.get(EVENT_ID_ATTRIBUTE, ""),
        }
    )
    return replace(message, attributes={**message.attributes, TRACEPARENT: traceparent})
