"""The event log on Spanner."""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.events.event import EventLogRow
from shared.events.event_log import Written
from shared.events.forward_ledger import DEFAULT_SHARDS, LEDGER_TABLE, ForwardState, forward_shard
from shared.events.timestamps import to_rfc3339
from shared.spanner.connection import ABORTED_RETRY_SECONDS, spanner_call
from shared.spanner.mutations import insert
from shared.spanner.reading import AT_INTERVALS, by_key

LOG_TABLE: Final = "NestEventLog"

LOG_INDEX: Final = "NestEventLogByTime"

# For queries that go on with a range of e.ingested_at: each of @shards is a range of its own in the index. APPLY_JOIN
# joins by key: a hash join would read the whole index.
EVENTS_BY_TIME: Final = f"""
UNNEST(@shards) AS shard
JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LOG_TABLE}@{{FORCE_INDEX={LOG_INDEX}}} AS e ON e.log_shard = shard"""


class SpannerEventLogRepository:
    """EventLogRepository on NestEventLog and NestEventForward."""

    def __init__(self, database: Any, *, timeout_seconds: float, shards: int = DEFAULT_SHARDS) -> None:
        """`shards` as in the settings (FORWARD_SHARDS)."""
        self._database = database
        self._shards = shards
        self._timeout_seconds = timeout_seconds

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        # One RPC: a single-use transaction, which commits mutations without reading first.
        async with (
            spanner_call(self._timeout_seconds),
            self._database.batch(
                timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
            ) as batch,
        ):
            placed = [(row, forward_shard(row.event.event_id, shards=self._shards)) for row in rows]
            insert(batch, LOG_TABLE, LOG_COLUMNS, starmap(_log_values, placed))
            born = [_born_pending(row, shard) for row, shard in placed if row.forward_to_statsig]
            if born:
                insert(batch, LEDGER_TABLE, _BORN_COLUMNS, born)

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        async with spanner_call(self._timeout_seconds), self._database.snapshot() as snapshot:
            columns = ("event_id", "request_digest", "write_id")
            found = await snapshot.read(LOG_TABLE, columns, by_key(event_ids), retry=AT_INTERVALS)
            return {event_id: Written(digest, write_id) async for event_id, digest, write_id in found}


LOG_COLUMNS: Final = (
    "event_id",
    "event_name",
    "event_type",
    "actor_id",
    "event_ts",
    "ingested_at",
    "metadata",
    "forward_to_statsig",
    "request_digest",
    "write_id",
    "caller",
    "log_shard",
    "request_id",
)


def _log_values(row: EventLogRow, shard: int) -> tuple[object, ...]:
    """The values of LOG_COLUMNS."""
    event = row.event
    return (
        event.event_id,
        event.event_name,
        event.event_type,
        event.actor_id,
        to_rfc3339(event.event_ts_nanos),
        COMMIT_TIMESTAMP,
        row.metadata_json,
        row.forward_to_statsig,
        row.request_digest,
        row.write_id,
        event.caller,
        shard,
        row.request_id,
    )


_BORN_COLUMNS: Final = ("event_id", "state", "pending_since", "forward_shard")
"""The other columns of a ledger row have defaults or are NULL at first."""


def _born_pending(row: EventLogRow, shard: int) -> tuple[object, ...]:
    """The values of _BORN_COLUMNS."""
    return (row.event.event_id, ForwardState.PENDING.value, COMMIT_TIMESTAMP, shard)
