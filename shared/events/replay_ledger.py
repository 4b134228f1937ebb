"""The part of the forward ledger that makes dead events pending again, for replays. The port and its types."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.events.event import Event


class ReopenOutcome(enum.StrEnum):
    """What a replay found and did."""

    REOPENED = "reopened"
    """Was dead; is pending again, with one more replay."""

    PENDING = "pending"
    """Already pending, with no live claim: dead-lettered natively, or reopened by a replay that died before it
    published. An expired claim is taken away from its holder; nothing else changes."""

    IN_FLIGHT = "in_flight"
    """Pending, under a worker's live claim; nothing changes."""

    DELIVERED = "delivered"

    QUARANTINED = "quarantined"
    """Dead, and replayed as often as allowed."""

    MISSING = "missing"
    """No ledger row."""


@dataclass(frozen=True, slots=True)
class ReopenResult:
    event_id: str
    found: ReopenOutcome

    replays: int = 0
    """Replays so far; with REOPENED this one included."""

    had_letter: bool = False
    """Whether this call closed an open dead letter of the event."""


class ReplayLedger(Protocol):
    """Used only by operators' commands."""

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, ReopenResult]:
        """Make dead events pending again in one transaction, unless they were replayed `max_replays` times already.

        A reopened event starts afresh: it is no suspect, was never republished, and has one more replay and history
        entry. The same transaction closes the open dead letters of events that are now pending or delivered, except
        those in flight. So of two concurrent replays only one finds each letter.

        Publish the messages after that; if the process dies before, the reconciler does.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def events(self, event_ids: Sequence[str]) -> dict[str, Event]:
        """Read events from the event log, by event_id; without those that have no row or whose row is no valid event.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
