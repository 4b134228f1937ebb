"""Every metric, defined once: its name, unit, meaning and attributes. The dashboard shows each of them.

Most of this module is that table, hence its length: split, it could not be compared with the dashboard at a glance.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

from shared.telemetry.tracing import word_of

SCOPE: Final = "event_log"


class MetricKind(StrEnum):
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    kind: MetricKind

    unit: str
    """In UCUM, as OpenTelemetry requires."""

    meaning: str

    attributes: tuple[str, ...] = ()
    """Each has few values, all of them words of this service."""

    boundaries: tuple[float, ...] | None = None
    """Bounds between a histogram's buckets; None for OpenTelemetry's defaults."""


_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""From a commit in one zone to the longest bound on a call, in steps of about two."""

_DELAYS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""From the usual delay of a second to an outage of hours."""

_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

# Recorded by connectrpc-otel; exporting.py drops its other attributes.
RPC_DURATION: Final = Metric(
    name="rpc.server.call.duration",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="Duration of calls; its count is their rate, and those with a status code are the errors.",
    attributes=("rpc.method", "rpc.response.status_code"),
)
CALL_EVENTS: Final = Metric(
    name="event_log.call.events",
    kind=MetricKind.COUNTER,
    unit="{event}",
    meaning="Events of calls, by method and code: those of an answered LogEvents each by its own, else the call's.",
    attributes=("method", "code"),
)
COMPLAINTS: Final = Metric(
    name="event_log.complaints",
    kind=MetricKind.COUNTER,
    unit="{event}",
    meaning="Events with a warning, and refused ones, by reason; `nest-events warnings` has their callers and names.",
    attributes=("kind", "reason"),
)
COMMIT_DURATION: Final = Metric(
    name="event_log.commit.duration",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="Duration of group commits, by outcome: ok, or the reason of the error.",
    attributes=("outcome",),
    boundaries=_SECONDS,
)
COMMIT_ROWS: Final = Metric(
    name="event_log.commit.rows",
    kind=MetricKind.HISTOGRAM,
    unit="{row}",
    meaning="Rows that shared a commit.",
    boundaries=_SIZES,
)
QUEUE_ROWS: Final = Metric(
    name="event_log.commit.queue",
    kind=MetricKind.GAUGE,
    unit="{row}",
    meaning="Rows that wait for a commit; a caller alone is refused at half of COMMIT_QUEUE_ROWS.",
)
PUBLISH_DURATION: Final = Metric(
    name="event_log.publish.duration",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="Duration of publishes, by topic (forward or dead_letter) and outcome.",
    attributes=("topic", "outcome"),
    boundaries=_SECONDS,
)
PUBLISHED: Final = Metric(
    name="event_log.publish.messages",
    kind=MetricKind.COUNTER,
    unit="{message}",
    meaning="Messages whose publish was confirmed, by topic and by publisher: ingress, reconciler, worker or operator.",
    attributes=("topic", "publisher"),
)
PUBLISH_PAUSED: Final = Metric(
    name="event_log.publish.paused",
    kind=MetricKind.GAUGE,
    unit="1",
    meaning="1 while an ingress leaves publishing to the reconciler because Pub/Sub does not answer.",
)
LEDGER_DURATION: Final = Metric(
    name="event_log.ledger.duration",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="Duration of the worker's transactions on the ledger, by operation and outcome.",
    attributes=("operation", "outcome"),
    boundaries=_SECONDS,
)
CLAIMED: Final = Metric(
    name="event_log.claim.events",
    kind=MetricKind.COUNTER,
    unit="{event}",
    meaning="Events that a claim was asked for, by what it found: all but `claimed` are copies that were not sent.",
    attributes=("outcome",),
)
SETTLED: Final = Metric(
    name="event_log.settled.events",
    kind=MetricKind.COUNTER,
    unit="{event}",
    meaning="Events settled, by their final state.",
    attributes=("state",),
)
REQUEST_DURATION: Final = Metric(
    name="event_log.statsig.request.duration",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="Duration of requests to Statsig, by the reason word of their outcome, such as http_202.",
    attributes=("reason",),
    boundaries=_SECONDS,
)
ATTEMPTS: Final = Metric(
    name="event_log.forward.attempts",
    kind=MetricKind.COUNTER,
    unit="{event}",
    meaning="Events in requests to Statsig, by verdict and reason, the search for what spoils a request included.",
    attributes=("verdict", "reason"),
)
FORWARD_DELAY: Final = Metric(
    name="event_log.forward.delay",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="From the publish of a forward message until it was done with.",
    boundaries=_DELAYS,
)
DELIVERY_DELAY: Final = Metric(
    name="event_log.delivery.delay",
    kind=MetricKind.HISTOGRAM,
    unit="s",
    meaning="From the commit of an event, or from its replay, until it was noted as delivered.",
    boundaries=_DELAYS,
)
DEAD_LETTERS: Final = Metric(
    name="event_log.dead_letters",
    kind=MetricKind.COUNTER,
    unit="{message}",
    meaning="Messages given up by the worker, by reason. Pub/Sub's own dead letters are not among them.",
    attributes=("reason",),
)
OPEN_DEAD_LETTERS: Final = Metric(
    name="event_log.dead_letters.open",
    kind=MetricKind.GAUGE,
    unit="{message}",
    meaning="Dead letters that wait for a person, Pub/Sub's own too, by reason; of rare reasons together as `other`.",
    attributes=("reason",),
)
CIRCUIT_OPEN: Final = Metric(
    name="event_log.circuit.open",
    kind=MetricKind.GAUGE,
    unit="1",
    meaning="1 while the worker's circuit is open, with its reason; 0 while it is closed.",
    attributes=("reason",),
)
OLDEST_PENDING: Final = Metric(
    name="event_log.pending.oldest_age",
    kind=MetricKind.GAUGE,
    unit="s",
    meaning="For how long the oldest undelivered event has been pending; 0 where there is none.",
)
ACCOUNT: Final = Metric(
    name="event_log.account.events",
    kind=MetricKind.GAUGE,
    unit="{event}",
    meaning="Events of the time that `nest-events account` looked at, by where they are; unaccounted is an error.",
    attributes=("state",),
)

METRICS: Final = (
    RPC_DURATION,
    CALL_EVENTS,
    COMPLAINTS,
    COMMIT_DURATION,
    COMMIT_ROWS,
    QUEUE_ROWS,
    PUBLISH_DURATION,
    PUBLISHED,
    PUBLISH_PAUSED,
    LEDGER_DURATION,
    CLAIMED,
    SETTLED,
    REQUEST_DURATION,
    ATTEMPTS,
    FORWARD_DELAY,
    DELIVERY_DELAY,
    DEAD_LETTERS,
    OPEN_DEAD_LETTERS,
    CIRCUIT_OPEN,
    OLDEST_PENDING,
    ACCOUNT,
)

Observe = Callable[[], Mapping[str, float] | float | None]
"""Returns what a gauge shows: one value, or values by those of its only attribute; None if unknown. Called on a thread
of the SDK; must not block."""


def counter(meter: Meter, metric: Metric) -> Counter:
    return meter.create_counter(metric.name, unit=metric.unit, description=metric.meaning)


def histogram(meter: Meter, metric: Metric) -> Histogram:
    return meter.create_histogram(
        metric.name,
        unit=metric.unit,
        description=metric.meaning,
        explicit_bucket_boundaries_advisory=metric.boundaries,
    )


@contextmanager
def timed(durations: Histogram, **attributes: str) -> Iterator[None]:
    """Record how long the block took, in seconds, with an `outcome`: `ok`, or the `word_of` what it raised."""
    outcome = "ok"
    began = time.perf_counter()
    try:
        yield
    except BaseException as error:
        outcome = word_of(error)
        raise
    finally:
        durations.record(time.perf_counter() - began, {**attributes, "outcome": outcome})


def gauge(meter: Meter, metric: Metric, observe: Observe) -> None:
    """Register an observable gauge. The SDK exports a gauge that is set directly only once after each `set`."""

    def observations(_: CallbackOptions) -> Iterable[Observation]:
        seen = observe()
        if seen is None:
            return []
        if isinstance(seen, Mapping):
            (attribute,) = metric.attributes
            return [Observation(float(value), {attribute: which}) for which, value in seen.items()]
        return [Observation(float(seen))]

    meter.create_observable_gauge(metric.name, callbacks=[observations], unit=metric.unit, description=metric.meaning)
