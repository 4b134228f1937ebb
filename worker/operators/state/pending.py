"""The oldest pending events, and what can be said of them without asking again. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.event import Event
from shared.events.rules import Match


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """One pending event."""

    event_id: str
    pending_since: datetime
    event_name: str
    event_type: str | None
    caller: str | None
    reason: str | None
    """How the last attempt ended; None where there was no attempt."""

    last_attempt_at: datetime | None
    is_set_aside: bool
    """It failed alone while others were confirmed, and its next try is not due."""

    is_in_flight: bool
    """A worker has a claim on it that has not expired."""

    def is_taken_by(self, match: Match) -> bool:
        """Whether a rule with this match takes it."""
        return match.takes(Event("", self.event_name, self.event_type, None, 0, {}, caller=self.caller))


def is_held(event: PendingEvent, held_by: Sequence[Match]) -> bool:
    return any(event.is_taken_by(match) for match in held_by)


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest pending events."""

    events: tuple[PendingEvent, ...]
    """The oldest first."""

    are_all: bool
    """Whether these are all pending events."""

    @property
    def since(self) -> datetime | None:
        """Since when the oldest event has been pending; None where nothing is."""
        return self.events[0].pending_since if self.events else None

    def held_up_since(self, held_by: Sequence[Match] = ()) -> datetime | None:
        """As `since`, without events that wait on purpose and delay no other: set aside, or held by a rule."""
        return next(
            (each.pending_since for each in self.events if not each.is_set_aside and not is_held(each, held_by)), None
        )

    def by_reason(self) -> Counter[str]:
        return Counter("not tried yet" if each.reason is None else each.reason for each in self.events)

    def by_name(self) -> Counter[str]:
        return Counter(each.event_name for each in self.events)

    def by_caller(self) -> Counter[str]:
        return Counter(each.caller or "(no caller)" for each in self.events)
