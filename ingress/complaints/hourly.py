"""The complaints of each hour, and which counts are to be written. Pure but for the clock."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from ingress.complaints.frequent import Frequent
from shared.clock import Clock
from shared.events.complaints import OTHER, Complaint, ComplaintKind, HourlyCount, folded
from shared.events.timestamps import NANOS_PER_SECOND
from shared.process.logs import get_logger

NAMED_PLACES: Final = 50
"""Complaints counted with their event name: what has more than a fiftieth of an hour's events is among them."""

CALLER_PLACES: Final = 50
"""Complaints counted by caller and reason, for events whose names have no place: a caller whose every event has another
name is found by these."""

MAX_UNWRITTEN_HOURS: Final = 24
"""Past hours that are kept until they are written: a day without Spanner."""

_HOUR_SECONDS: Final = 3600
_HOUR_NANOS: Final = _HOUR_SECONDS * NANOS_PER_SECOND

_log = get_logger()


class ComplaintCounter(Protocol):
    def note(self, complaint: Complaint, events: int = 1) -> None:
        """Count events, at least one. Never raises, and takes microseconds."""
        ...


class HourlyComplaints:
    """A ComplaintCounter, for the event loop's thread. No event is lost: the counts of an hour add up to all of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._number = self._hour_now()
        self._hour = _Hour(self._number)
        self._written: dict[int, HourlyCount] = {}
        """What the table has of the current hour, by place."""
        self._past: dict[int, list[HourlyCount]] = {}
        """Past hours that are to be written, the oldest first."""

    def note(self, complaint: Complaint, events: int = 1) -> None:
        # An hour that lies behind, after the clock was set back, is not begun again: its places would be taken twice.
        if (number := self._hour_now()) > self._number:
            self._turn_to(number)
        self._hour.note(complaint, events)

    def unwritten(self) -> list[Sequence[HourlyCount]]:
        """The counts that the table does not have, one list for each hour, the oldest first."""
        changed = [each for each in self._hour.counts() if self._written.get(each.place) != each]
        return [*self._past.values(), changed] if changed else [*self._past.values()]

    def wrote(self, counts: Sequence[HourlyCount]) -> None:
        """The table has these counts of one hour, which `unwritten` returned."""
        number = _number_of(counts[0].hour)
        if number == self._number:
            self._written |= {each.place: each for each in counts}
        elif self._past.get(number) == counts:  # else the hour had not ended when they were taken
            del self._past[number]

    def _turn_to(self, number: int) -> None:
        if counts := self._hour.counts():
            # All of them once more, although most are written: a commit whose answer did not come may have been late.
            self._past[self._number] = counts
        if len(self._past) > MAX_UNWRITTEN_HOURS:
            forgotten = self._past.pop(next(iter(self._past)))
            _log.warning("complaints_forgotten", hour=forgotten[0].hour, events=sum(each.events for each in forgotten))
        self._number, self._hour, self._written = number, _Hour(number), {}

    def _hour_now(self) -> int:
        return self._clock.now_nanos() // _HOUR_NANOS


class _Hour:
    """The counts of one hour: by name, else by caller, else by kind."""

    def __init__(self, number: int) -> None:
        self._beginning = datetime.fromtimestamp(number * _HOUR_SECONDS, UTC)
        self._rest: Counter[ComplaintKind] = Counter()
        self._callers = Frequent(CALLER_PLACES, overflow=self._note_rest)
        self._named = Frequent(NAMED_PLACES, overflow=self._note_caller)

    def note(self, complaint: Complaint, events: int) -> None:
        self._named.add(complaint, events)

    def _note_caller(self, complaint: Complaint, events: int) -> None:
        self._callers.add(complaint._replace(event_name=OTHER, reason=folded(complaint.reason)), events)

    def _note_rest(self, complaint: Complaint, events: int) -> None:
        self._rest[complaint.kind] += events

    def counts(self) -> list[HourlyCount]:
        hour = self._beginning
        named = [HourlyCount(hour, place, complaint, events) for place, complaint, events in self._named]
        callers = [
            HourlyCount(hour, NAMED_PLACES + place, complaint, events) for place, complaint, events in self._callers
        ]
        rest = [
            HourlyCount(hour, NAMED_PLACES + CALLER_PLACES + place, Complaint(kind, OTHER, OTHER, OTHER), events)
            for place, kind in enumerate(ComplaintKind)
            if (events := self._rest[kind])
        ]
        return [*named, *callers, *rest]


def _number_of(hour: datetime) -> int:
    return int(hour.timestamp()) // _HOUR_SECONDS
