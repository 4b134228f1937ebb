"""The forward ledger as the reconciler sees it: what stayed pending, and how often it was published again. The port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.events.event import Event


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the index on what is pending."""

    pending_since: datetime
    """Spanner's, to the nanosecond where the adapter has it so: only to be handed back."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of the index."""

    event_ids: list[str]

    cursor: Cursor
    """What to go on from: the last row where there may be more, else the end of what was looked at. Whoever goes on
    from there passes none of the entries that were removed since; an index that works as a queue is full of them."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A row that is the caller's to publish now."""

    event_id: str

    event: Event | None
    """As the event log has it. None where no event can be made of the row, which only a hand or a bug can write."""

    republished: int
    """How often, this time included."""

    before: datetime | None
    """When it was republished last before this time; for `put_back`."""


class RepublishLedger(Protocol):
    """Who publishes again which pending event, and when next. All times are Spanner's own.

    A row is marked before it is published. Of several processes one gets it then, and a mark that nothing was published
    under costs one interval.
    """

    async def unpublished(self, *, shard: int, after: Cursor | None, older_than_seconds: float, limit: int) -> Page:
        """A shard's pending rows that have been so for longer than that, oldest first, behind `after`.

        No row comes to lie behind a cursor: `pending_since` is the time of a commit.

        Reads the index from `after` on and no further than `limit` rows; whether a row is held, waits, or was
        republished is not looked at.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def due_again(self, *, shard: int, limit: int) -> list[str]:
        """A shard's rows that `mark_republished` looked at before and whose time has come again, longest due first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def mark_republished(
        self, event_ids: Sequence[str], *, intervals: Sequence[float], force: bool = False
    ) -> list[Marked]:
        """Take what may be published again, in one transaction, and set when it may be the next time.

        Taken is what is pending, in nobody's hands, no waiting suspect, and was never republished or is due again;
        with `force` also what is not due yet. The next time is the interval, in seconds, of as many times as it was
        republished before; the last interval is that of every later time.

        What is pending but held or waiting is not taken; unless it is due at a later time already, it is due again an
        interval, the first one, after that ends. So whatever is given here comes back through `due_again` until it is
        settled.

        Raises:
            StorageUnavailableError: not known whether it was written; what was marked then waits for its interval.
        """
        ...

    async def put_back(self, marked: Sequence[Marked]) -> None:
        """Undo the marks of what could not be published: it is due at once.

        Left alone is what was settled or marked again since.

        Raises:
            StorageUnavailableError: not known whether it was written; it then waits for its interval.
        """
        ...
