"""The part of the forward ledger that replays dead events: the port and its vocabulary."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.events.event import Event


class ReopenOutcome(enum.StrEnum):
    """What a replay found, and did."""

    REOPENED = "reopened"
    """Was dead; is pending again, and counted as a replay."""

    PENDING = "pending"
    """Was pending and nobody's: dead-lettered natively, or reopened by a replay that died. An expired claim was taken
    from its holder; nothing else was changed."""

    IN_FLIGHT = "in_flight"
    """A worker has it in work; what becomes of it is not known yet."""

    DELIVERED = "delivered"
    QUARANTINED = "quarantined"
    """Dead, and replayed as often as is allowed."""

    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class ReopenResult:
    event_id: str
    found: ReopenOutcome

    replays: int = 0
    """This one included, where it was reopened."""

    had_letter: bool = False
    """It had an open dead letter, which is closed now."""


class ReplayLedger(Protocol):
    """Used by operators' commands alone."""

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, ReopenResult]:
        """Make what is dead pending again, in one transaction, where it was replayed fewer times than that.

        The replay is counted, and noted in the history. The event begins anew: no suspect, never republished. In the
        same transaction the open dead letters of what is pending or delivered now are closed, so that of two replays
        at once one has each letter.

        The caller publishes next; where it dies before that, the reconciler does.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def events(self, event_ids: Sequence[str]) -> dict[str, Event]:
        """Events as the event log has them, by key; without those that have no row, or one that is no event.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
