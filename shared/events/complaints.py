"""Complaints: what the service warned callers of and refused, counted by caller, event name and reason. And the port.

The counts tell operators who has to mend what. No process decides anything by them.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol
from zlib import crc32

COMPLAINT_TABLE: Final = "NestEventComplaint"

COMPLAINT_SHARDS: Final = 8
"""Shards of the table, which is by time. Fixed: a process writes some rows every ten seconds, however many events
there are, and a reader goes through all shards."""

RETENTION: Final = timedelta(days=8)
"""As in deploy/spanner/: a week, and the hours that a question about a week begins in."""

OTHER: Final = "(other)"
"""Stands for the event name, and for the caller too, of complaints that no place of their own was left for."""

# Characters, as the columns are long.
MAX_CALLER: Final = 320
MAX_NAME: Final = 256
MAX_REASON: Final = 128

_METADATA: Final = "metadata."


class ComplaintKind(enum.StrEnum):
    WARNING = "warning"
    """The event was logged, and Statsig does not get it as it was sent."""

    REFUSAL = "refusal"
    """The event was not logged, for a reason of the caller's."""


class Complaint(NamedTuple):
    """By what events are counted. An event that breaks two rules counts for each of them."""

    kind: ComplaintKind

    caller: str
    """The calling principal; empty if none was established."""

    event_name: str
    """Empty if it is not known, as for a body that does not decode."""

    reason: str
    """`field:rule`, for example `metadata.note:statsig_metadata_cut`; a word alone for what concerns no field."""


def rule_of(reason: str) -> str:
    """The rule, or the word, of a reason."""
    return reason.rpartition(":")[2]


def folded(reason: str) -> str:
    """The reason with `*` in place of a metadata key, which a caller chooses: one of few words of this service."""
    return f"{_METADATA}*:{rule_of(reason)}" if reason.startswith(_METADATA) else reason


@dataclass(frozen=True, slots=True)
class HourlyCount:
    """The events of one complaint, in one process and hour."""

    hour: datetime
    """The beginning of the hour, by the process's clock; aware, UTC."""

    place: int
    """A process has a fixed number of places an hour; a complaint in one of them may be replaced by another."""

    complaint: Complaint
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplaintChoice:
    """Which complaints are asked for. None chooses all."""

    since: datetime
    """Aware. Whole hours are counted: that of `since` too."""

    kind: ComplaintKind | None = None
    caller: str | None = None
    event_name: str | None = None


@dataclass(frozen=True, slots=True)
class KindTotal:
    """Of the chosen complaints of a kind."""

    events: int

    other: int
    """How many of the events are counted without their event name, as OTHER. Where a name or caller was chosen, these
    may be of it or not."""

    lines: int
    """Different complaints."""


@dataclass(frozen=True, slots=True)
class ComplaintSums:
    most_frequent: list[tuple[Complaint, int]]
    """Complaints with their events, the most frequent first."""

    totals: dict[ComplaintKind, KindTotal]
    """Without the kinds that have none."""


class ComplaintTable(Protocol):
    """The counts of all processes, kept for RETENTION."""

    async def write(self, process_id: str, counts: Sequence[HourlyCount]) -> None:
        """Write counts of one hour, all or none. Each replaces the process's earlier one in its hour and place.

        Raises:
            StorageUnavailableError: not known whether they were written.
        """
        ...

    async def summed(self, choice: ComplaintChoice, *, limit: int) -> ComplaintSums:
        """Sum the chosen counts over processes and hours; list `limit` complaints.

        Complaints with OTHER are chosen too where they may hold what is asked for. Costs by the rows of that time: a
        hundred or so for each process and hour.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...


def complaint_shard(process_id: str) -> int:
    return crc32(process_id.encode()) % COMPLAINT_SHARDS
