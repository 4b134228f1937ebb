"""What goes into one request to Statsig: its limits, and a size that adapts to how many events spoil one.

Statsig takes no more than 500 events and about 1 MB a request (public documentation), and says of a request that fails
only that it fails. Requests of 500 are the cheapest while nothing spoils them; with one bad event in a hundred every
one of them would fail, and most of a batch be sent several times.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from shared.errors import EventLoggingError
from shared.events.statsig_projection import StatsigEvent
from worker.statsig.json import to_json

MAX_EVENTS: Final = 500
MAX_BYTES: Final = 1_000_000

SEARCH_PARTS: Final = 8
"""Into how many a request that failed is divided. By halves it takes fewer requests, but each good neighbour of a bad
event is sent three times as often before it is confirmed, and each of these may leave a copy."""

_USER_BYTES: Final = 256
"""What the SDK adds to each event: the principal and the environment tier, generously."""


class UnserializableEventError(EventLoggingError, ValueError):
    """The event has no JSON form; in a request it would take all others with it."""

    reason = "not_serializable"


class RequestSize:
    """How many events a request takes at the most; shared by all lanes of a process.

    Doubled by a request that is confirmed, cut to the size of the parts by one that failed. Thus it stays where about
    as many requests fail as not, and after an outage begins with one event.
    """

    def __init__(self) -> None:
        self.events = MAX_EVENTS

    def confirmed(self, events: int) -> None:
        if events >= self.events:
            self.events = min(MAX_EVENTS, 2 * self.events)

    def failed(self, events: int) -> None:
        self.events = max(1, min(self.events, events // SEARCH_PARTS))


def parts_of(events: Sequence[StatsigEvent]) -> list[list[StatsigEvent]]:
    """SEARCH_PARTS parts in order, of about the same number of events; fewer of one event each where there are few."""
    size = math.ceil(len(events) / SEARCH_PARTS)
    return [list(events[start : start + size]) for start in range(0, len(events), size)]


def wire_size(event: StatsigEvent) -> int:
    """Bytes that the event adds to a request before compression; raises UnserializableEventError."""
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
    """Chunks in order. An event that is too large, or has no JSON form, goes alone and so fails alone."""
    chunk: list[StatsigEvent] = []
    room = float(max_bytes)
    for event in events:
        size = _size_or_infinite(event)
        if chunk and (len(chunk) == max_events or size > room):
            yield chunk
            chunk, room = [], float(max_bytes)
        chunk.append(event)
        room -= size
    if chunk:
        yield chunk


def _size_or_infinite(event: StatsigEvent) -> float:
    try:
        return wire_size(event)
    except UnserializableEventError:
        return math.inf
