"""What goes into one request to Statsig, and which event spoils a request that was rejected.

Statsig takes no more than 500 events and about 1 MB a request (public documentation), and says of a rejected request
only that it is rejected: a batch is halved until the event that spoils it is alone.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from shared.errors import EventLoggingError
from shared.statsig_projection import StatsigEvent
from worker.statsig_forwarder import StatsigForwarder
from worker.statsig_outcome import SendOutcome, Verdict

MAX_EVENTS: Final = 500
MAX_BYTES: Final = 1_000_000

_USER_BYTES: Final = 256
"""What the SDK adds to each event: the principal and the environment tier, generously."""

SEARCH_CUT_SHORT: Final = SendOutcome(Verdict.TRANSIENT, None, "search_cut_short")
REJECTING_EVERYTHING: Final = SendOutcome(Verdict.TRANSIENT, None, "rejecting_everything")


class UnserializableEventError(EventLoggingError, ValueError):
    """The event has no JSON form; in a request it would take all others with it."""

    reason = "not_serializable"


def wire_size(event: StatsigEvent) -> int:
    """Bytes that the event adds to a request before compression; raises UnserializableEventError."""
    body = {"eventName": event.name, "value": event.value, "metadata": event.metadata, "time": event.time_ms}
    try:
        return len(json.dumps(body, allow_nan=False)) + _USER_BYTES
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


async def send_isolating_rejections(
    forwarder: StatsigForwarder,
    events: Sequence[StatsigEvent],
    *,
    give_up_after: int,
    may_send: Callable[[], bool] = lambda: True,
    learned: Callable[[dict[str, SendOutcome]], None] = lambda _: None,
) -> dict[str, SendOutcome]:
    """Send, and halve what is rejected: REJECTED is said only of an event that was rejected alone.

    When `give_up_after` events were and nothing at all was confirmed, Statsig rejects everything, or our events are
    all wrong: what is left is TRANSIENT, so that a backlog is held and not dead-lettered. The same where `may_send`
    forbids another request before all are found. `learned` is told every outcome as soon as it is final, so that a
    cancellation takes away nothing that is known.
    """
    outcomes: dict[str, SendOutcome] = {}
    found, anything_confirmed = 0, False
    pending = [list({event.event_id: event for event in events}.values())]
    while pending:
        part = pending.pop()
        if found >= give_up_after and not anything_confirmed:
            outcomes |= {event.event_id: REJECTING_EVERYTHING for event in part}
            continue
        if not part:
            continue
        if not may_send():
            outcomes |= {event.event_id: SEARCH_CUT_SHORT for event in part}
            continue
        answer = await forwarder.send(part)
        anything_confirmed |= any(outcome.verdict is Verdict.CONFIRMED for outcome in answer.values())
        suspects = [event for event in part if answer[event.event_id].verdict is Verdict.REJECTED]
        if len(part) == len(suspects) == 1:
            found += 1
        else:
            answer = {
                event_id: outcome for event_id, outcome in answer.items() if outcome.verdict is not Verdict.REJECTED
            }
            half = len(suspects) // 2
            pending += [suspects[half:], suspects[:half]]  # a stack: the first half is next
        learned(answer)
        outcomes |= answer
    return outcomes
