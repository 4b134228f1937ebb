"""Accounting: the events that were to be forwarded, by hour, and their states. The port.

One commit writes an event's log row and its ledger row, and several processes change the ledger after that. Events
without a known state are `unaccounted`.

An event that was stored only at first belongs to the account if `nest-events forward` has given it a ledger row since.
Its log row still says that it was not to be forwarded, so a lost ledger row of such an event is not seen here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HourlyAccount:
    """The numbers of events accepted within one hour that were to be forwarded, and of those in each state."""

    hour: datetime
    """The beginning of the hour, UTC."""

    accepted: int
    """Those that were to be forwarded when they were accepted, and those that an operator had forwarded later."""

    delivered: int
    pending: int
    dead: int

    forwarded_later: int
    """Of `accepted`, those that were stored only at first."""

    possible_duplicates: int
    """Attempts with an unknown outcome."""

    @property
    def unaccounted(self) -> int:
        """Events in none of these states. Anything but 0 is a bug."""
        return self.accepted - self.delivered - self.pending - self.dead


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """An event of the log that has no ledger row, or one with an unknown state."""

    event_id: str
    ingested_at: datetime

    state: str | None
    """None if there is no ledger row."""


class Accounting(Protocol):
    async def now(self) -> datetime:
        """Spanner's time.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def per_hour(
        self, *, since: datetime, until: datetime, reached: Callable[[datetime], None] = lambda _: None
    ) -> Sequence[HourlyAccount]:
        """The account of every hour with events from `since` to before `until`, oldest first.

        Both times are aware, no older than LEDGER_RETENTION, and need not be full hours. `reached` is called with the
        time up to which the events are counted, every few seconds.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def unaccounted(self, *, since: datetime, until: datetime, limit: int) -> Sequence[Unaccounted]:
        """Up to `limit` of the events that `per_hour` counts as unaccounted, in no order. Keep the time short.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
