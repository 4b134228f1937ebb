"""How long events took from their call to Statsig."""

from collections.abc import Iterable, Sequence

from deploy.local.statsig_stand_in import LoggedEvent
from tests.faults.client import OK, Attempt


def first_received(received: Iterable[LoggedEvent]) -> dict[str, float]:
    """When Statsig got the first copy of each event: Unix seconds by event_id."""
    times: dict[str, float] = {}
    for entry in received:
        times.setdefault(str(entry.event["metadata"]["event_id"]), entry.received_at)
    return times


def first_sent(attempts: Iterable[Attempt]) -> dict[str, float]:
    """When the first call of each event began: Unix seconds by event_id."""
    keys: dict[str, float] = {}
    for attempt in attempts:
        keys[attempt.key] = min(attempt.sent_at, keys.get(attempt.key, attempt.sent_at))
    return {attempt.event_id: keys[attempt.key] for attempt in attempts if attempt.code == OK}


def waits(attempts: Sequence[Attempt], received: Iterable[LoggedEvent], *, since: float = 0.0) -> dict[str, float]:
    """Seconds from the call, or from `since` where that is later, until Statsig had the event; by event_id."""
    times = first_received(received)
    sent = first_sent(attempts)
    return {each: times[each] - max(sent[each], since) for each in sent.keys() & times.keys()}


def events_per_second(attempts: Sequence[Attempt], received: Iterable[LoggedEvent], among: set[str]) -> float:
    """The rate at which these events were delivered, from the first call to the last delivery; 0 where none was."""
    times = {each: at for each, at in first_received(received).items() if each in among}
    sent = [at for each, at in first_sent(attempts).items() if each in times]
    return len(times) / (max(times.values()) - min(sent)) if sent else 0.0
