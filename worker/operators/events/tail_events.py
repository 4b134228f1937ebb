"""What `nest-events tail` shows, and how much of it; pure.

Each round looks at a window of Spanner's time, which begins where the last one ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.events.forward_ledger import ForwardState

LONGEST_WINDOW: Final = timedelta(minutes=5)
"""The longest time that one round looks at. After a longer absence of Spanner it goes on with the latest five minutes:
a tail shows what happens now, and `trace` finds what came before."""

WATCHED: Final = 10_000
"""Accepted events whose delivery is awaited, at most. Each round reads so many ledger rows by key."""


class TailState(StrEnum):
    """An event's state when it was read."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"

    STORED_ONLY = "STORED_ONLY"
    """It was not to be forwarded, and has no ledger row."""

    UNACCOUNTED = "UNACCOUNTED"
    """It was to be forwarded, and has no ledger row."""


@dataclass(frozen=True, slots=True)
class TailedEvent:
    """One line. It has no actor and no metadata."""

    at: datetime
    """When it was accepted, or got the state that was asked for. Spanner's time."""

    event_name: str
    caller: str | None
    state: TailState

    reason: str | None
    """How the last attempt ended; None where there was no attempt."""

    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TailChoice:
    """Which events to show: those with every value that is set."""

    event_name: str | None = None
    name_prefix: str | None = None
    caller: str | None = None

    state: ForwardState | None = None
    """Show events when they get this state; None shows them when they are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one round found."""

    events: tuple[TailedEvent, ...]
    """The oldest first."""

    until: datetime
    """Up to when it looked. Spanner's time."""

    left_out: int = 0
    """Further events of this round, older than those in `events`."""

    skipped: timedelta = timedelta(0)
    """The time since the last round that it did not look at, because it was too long."""

    unwatched: int = 0
    """Events whose delivery will not be shown, because too many were awaited; the oldest of them."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a round looks at, without its beginning and with its end."""

    begin: datetime
    end: datetime
    skipped: timedelta


def next_window(cursor: datetime, now: datetime) -> Window:
    """The window from where the last round ended until now."""
    end = max(cursor, now)
    begin = max(cursor, end - LONGEST_WINDOW)
    return Window(begin, end, skipped=begin - cursor)


def state_of(state: str | None, *, is_to_be_forwarded: bool) -> TailState:
    """The state by an event's two rows; `state` is the ledger row's."""
    if state in set(ForwardState):
        return TailState(state)
    return TailState.UNACCOUNTED if is_to_be_forwarded else TailState.STORED_ONLY


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger has of an event that is watched."""

    state: str
    settled_at: datetime | None
    reason: str | None


class Watched:
    """The accepted events whose delivery is awaited: at most `limit`, of which the oldest are given up first."""

    def __init__(self, limit: int = WATCHED) -> None:
        self._limit = limit
        self._events: dict[str, TailedEvent] = {}

    def ids_with(self, accepted: Iterable[TailedEvent]) -> list[str]:
        """The ids of all watched events and of these, to be read in the ledger for `settle`."""
        return [*self._events, *(each.event_id for each in accepted if each.event_id not in self._events)]

    def settle(
        self, accepted: Iterable[TailedEvent], ledger: Mapping[str, LedgerEntry], *, after: datetime
    ) -> tuple[list[TailedEvent], int]:
        """Watch these too, and return those that are delivered now, the earliest first, and how many were given up.

        `ledger` has an entry for each of `ids_with(accepted)` that has a ledger row. Delivered events are not watched
        any more, nor are dead ones and those without a row. Those delivered by the time `after` are not returned.
        """
        events = self._events | {each.event_id: each for each in accepted}
        entries = {event_id: ledger[event_id] for event_id in events if event_id in ledger}
        delivered = [
            replace(events[event_id], at=entry.settled_at, state=TailState.DELIVERED, reason=entry.reason)
            for event_id, entry in entries.items()
            if entry.state == ForwardState.DELIVERED and entry.settled_at is not None and entry.settled_at > after
        ]
        pending = [events[event_id] for event_id, entry in entries.items() if entry.state == ForwardState.PENDING]
        pending.sort(key=_place)
        given_up = max(0, len(pending) - self._limit)
        self._events = {each.event_id: each for each in pending[given_up:]}
        return sorted(delivered, key=_place), given_up


def latest(events: Sequence[TailedEvent], limit: int) -> tuple[tuple[TailedEvent, ...], int]:
    """The latest of these events, the oldest first, and how many are left out."""
    left_out = max(0, len(events) - limit)
    return tuple(sorted(events, key=_place)[left_out:]), left_out


def _place(event: TailedEvent) -> tuple[datetime, str]:
    return (event.at, event.event_id)
