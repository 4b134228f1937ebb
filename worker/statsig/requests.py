"""Requests to Statsig: splits a batch into requests within limits, with a size that adapts to the share of bad events.

Statsig takes at most 500 events and about 1 MB a request (public documentation). A failed request does not name the bad
event. Requests of 500 are the cheapest while all events are good; with one bad event in a hundred every one of them
would fail, and most of a batch would be sent several times.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from shared.errors import EventLoggingError
from shared.events.statsig_projection import StatsigEvent
from worker.statsig.json import to_json

MAX_EVENTS: Final = 500
"""Events of a request."""

MAX_BYTES: Final = 1_000_000
"""Bytes of a request before compression."""

SEARCH_PARTS: Final = 8
"""Parts that a failed request is divided into. Halves take fewer requests, but each good neighbour of a bad event is
then sent three times as often before it is confirmed, and each of these attempts may leave a copy."""

_USER_BYTES: Final = 256
"""Upper bound of what the SDK adds to each event: the principal and the environment tier."""


class UnserializableEventError(EventLoggingError, ValueError):
    """The event has no JSON form. In a request it would fail all others too."""

    reason = "not_serializable"


class RequestSize:
    """The most events that a request may have; one per process, shared by all lanes.

    A confirmed request of this size doubles it, a failed one cuts it to the size of its parts. Three failures in a row
    bring it down to one event.
    """

    def __init__(self) -> None:
        self.events = MAX_EVENTS

    def confirmed(self, events: int) -> None:
        """A request of so many events was confirmed."""
        if events >= self.events:
            self.events = min(MAX_EVENTS, 2 * self.events)

    def failed(self, events: int) -> None:
        """A request of so many events failed."""
        self.events = max(1, min(self.events, events // SEARCH_PARTS))


def parts_of(events: Sequence[StatsigEvent]) -> list[list[StatsigEvent]]:
    """Divide into at most SEARCH_PARTS parts of about the same size, in order."""
    size = math.ceil(len(events) / SEARCH_PARTS)
    return [list(events[start : start + size]) for start in range(0, len(events), size)]


def wire_size(event: StatsigEvent) -> int:
    """Bytes that the event adds to a request before compression, estimated from above.

    Raises:
        UnserializableEventError: it has no JSON form.
    """
    if isinstance(event.value, float) and not math.isfinite(event.value):
        raise UnserializableEventError(f"the value of event {event.event_id} is a NaN or an infinity")
    body = {"eventName": event.name, "value": event.value, "metadata": event.metadata, "time": event.time_ms}
    try:
        return len(to_json(body)) + _USER_BYTES
    except (TypeError, ValueError, RecursionError) as error:
        raise UnserializableEventError(f"event {event.event_id} has no JSON form") from error


def split_into_requests(
    events: Sequence[StatsigEvent], max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
) -> Iterator[list[StatsigEvent]]:
    """Split into requests, in order. An event that is too large or has no JSON form goes alone, and so fails alone."""
    request: list[StatsigEvent] = []
    room = float(max_bytes)
    for event in events:
        size = _size_or_infinite(event)
        if request and (len(request) == max_events or size > room):
            yield request
            request, room = [], float(max_bytes)
        request.append(event)
        room -= size
    if request:
        yield request


def _size_or_infinite(event: StatsigEvent) -> float:
    try:
        return wire_size(event)
    except UnserializableEventError:
        return math.inf
