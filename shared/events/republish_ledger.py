"""The part of the forward ledger that the reconciler uses, to publish pending events again. The port and its types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from shared.events.event import Event


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A position in the index of pending events."""

    pending_since: datetime
    """Spanner's time, with nanoseconds if the adapter has them. Only to be passed back."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the index of pending events."""

    event_ids: list[str]

    cursor: Cursor
    """Where to read on: the last row if there may be more, else the end of the time range that was read. Reading on
    from there skips the entries deleted before it, of which an index that works as a queue is full."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a worker has come in its backlog. Messages published later are likely still to come."""

    at: datetime
    """When the messages that it forwards now were published, by Pub/Sub's clock. It is compared with Spanner's."""

    longest: timedelta
    """How long at most a row is left alone for a message that is still to come."""

    def bound(self, now: datetime) -> datetime:
        """Rows whose latest message was published at this time or later are left alone."""
        return max(self.at, now - self.longest)


@dataclass(frozen=True, slots=True)
class Marked:
    """A row that the caller has marked and is to publish now."""

    event_id: str

    event: Event | None
    """The event in the event log. None if its row is no valid event, which only a hand or a bug can write."""

    republished: int
    """How often the row was republished, this time included."""

    before: datetime | None
    """When the row was republished last before this mark; for `put_back`."""


class RepublishLedger(Protocol):
    """Which process publishes a pending event again, and when. All times are Spanner's own.

    A row is marked before it is published, so that one of several processes gets it. If the process dies before the
    publish, the row is due again after its interval.
    """

    async def unpublished(
        self,
        *,
        shard: int,
        after: Cursor | None,
        older_than_seconds: float,
        limit: int,
        reached: Reached | None = None,
    ) -> Page:
        """Read a shard's rows that have been pending for longer than `older_than_seconds`, oldest first, after `after`.

        With `reached` only those that became pending before its bound.

        No row can appear before a cursor later, since `pending_since` is the time of a commit.

        Returns at most `limit` rows, whether they are claimed, waiting, or republished already.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def due_again(self, *, shard: int, limit: int) -> list[str]:
        """Read a shard's rows that `mark_republished` gave a time that has come, the longest due first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def mark_republished(
        self,
        event_ids: Sequence[str],
        *,
        intervals: Sequence[float],
        force: bool = False,
        chosen: Callable[[Event], bool] | None = None,
        reached: Reached | None = None,
    ) -> list[Marked]:
        """Mark the rows that may be published again, in one transaction, and return them.

        A row is marked if it is pending, under no live claim, not a waiting suspect, and due: never republished, or its
        next time has come. With `force` it need not be due. Its next time is now plus `intervals[n]` seconds, where n
        is how often it was republished before; the last interval holds for all later times. With `chosen` only those
        of the events are marked for which it returns true.

        With `reached` a row is not marked if it became pending, or was republished last, at its bound or later:
        its message is still to come. It becomes due `intervals[1]` from now, or sooner when `Reached.longest` is over.

        A due row that is claimed or waiting is not marked; it becomes due `intervals[0]` after the claim or the wait
        ends, with `force` also where it was to be due later. So every pending row given here comes back through
        `due_again` until it is settled.

        Raises:
            StorageUnavailableError: not known whether it was written; a marked row is then due after its interval.
        """
        ...

    async def put_back(self, marked: Sequence[Marked]) -> None:
        """Undo the marks of rows that could not be published: they are due at once.

        Rows that were settled or marked again since are left alone.

        Raises:
            StorageUnavailableError: not known whether it was written; the rows are then due after their interval.
        """
        ...
