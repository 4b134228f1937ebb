"""The event log: the append-only record of every accepted event. The port."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.events.event import EventLogRow


@dataclass(frozen=True, slots=True)
class Written:
    """What an existing row says about the request that wrote it. See EventLogRow for both fields."""

    request_digest: str
    write_id: str


class EventLogRepository(Protocol):
    """Where events are kept. Append-only: no method changes a row."""

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        """Commit all rows or none, each with a pending forward ledger row if it is to be forwarded.

        No two rows may have the same event_id.

        Raises:
            RowExistsError: at least one event_id exists already. This commit wrote none of the rows, but the client may
                have retried a commit that succeeded and whose answer was lost: the existing row can be one's own.
            StorageRejectedError: at least one row is at fault; none was written.
            StoragePreconditionError: at least one row or the state of the database is at fault; none was written.
            StorageUnavailableError: not known whether the rows were written.
        """
        ...

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        """Read who wrote the given events, by event_id; a strong read. Events without a row are left out.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...
