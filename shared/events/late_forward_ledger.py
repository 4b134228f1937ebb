"""The part of the forward ledger that takes in events which were stored only. The port and its types.

The log row of such an event keeps `forward_to_statsig = FALSE`, because the log is append-only. Its ledger row alone
shows that it was forwarded later.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.events.event import Event
from shared.events.forward_ledger import ForwardState


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChoice:
    """Which events to choose: those accepted from `since` to before `until` with every value that is set."""

    since: datetime
    until: datetime
    event_name: str | None = None
    name_prefix: str | None = None
    event_type: str | None = None
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that was stored only, and what the ledger has of it by now."""

    ingested_at: datetime
    """Spanner's time, with nanoseconds if the adapter has them."""

    event_id: str
    event_name: str

    state: ForwardState | None
    """None as long as it was not forwarded."""


class Admission(enum.StrEnum):
    """What became of an event that was to be admitted."""

    ADMITTED = "admitted"
    """Has a pending ledger row now."""

    PENDING = "pending"
    """Had a pending ledger row already; nothing changes."""

    SETTLED = "settled"
    """Was forwarded before, and is delivered or dead; nothing changes."""

    TOO_OLD = "too_old"
    """Has no ledger row, and is as old as the ledger's retention: it may have been delivered, and its row deleted."""

    UNREADABLE = "unreadable"
    """Its log row makes no event, which only a hand or a bug can write."""

    MISSING = "missing"
    """No log row."""


@dataclass(frozen=True, slots=True)
class Admitted:
    found: Admission

    event: Event | None = None
    """The event in the log, if it is pending."""


class LateForwardLedger(Protocol):
    """Used only by operators' commands."""

    async def shards(self) -> Sequence[int]:
        """The shards that may have events.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def stored(
        self, choice: StoredChoice, *, shard: int, after: StoredEvent | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Read up to `limit` of a shard's chosen events, the oldest first, after the event `after` of an earlier page.

        The cost depends on the shard's events of that time.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def admit(self, event_ids: Sequence[str]) -> dict[str, Admitted]:
        """Give events without a ledger row a pending one, in one transaction; returns what was found, by event_id.

        Publish the messages of ADMITTED events after that; if the process dies before, the reconciler does. Of two
        callers at once only one admits each event.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...
