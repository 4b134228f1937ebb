"""Rows written past the ingress: a backlog, and a row whose forward message no worker decodes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet

from shared.events.event import EventLogRow
from shared.events.forward_ledger import LEDGER_TABLE, forward_shard
from shared.spanner import event_log
from shared.spanner.connection import ABORTED_RETRY_SECONDS
from shared.spanner.event_log import LOG_COLUMNS, LOG_TABLE
from tests.support.sample_events import sample_row

_PENDING_SINCE: Final = event_log._BORN_COLUMNS.index("pending_since")


async def insert_unpublishable(database: Any) -> str:
    """Inserts a row with a blank name, which ingress and decoder refuse, and returns its event_id."""
    row = sample_row()
    event_id, now = row.event.event_id, datetime.now(UTC)
    log = (
        event_id,
        "",
        None,
        "unpublishable",
        now,
        COMMIT_TIMESTAMP,
        JsonObject({}),
        True,
        "digest",
        "write",
        None,
        0,
        None,
    )
    async with database.batch(default_retry_delay=ABORTED_RETRY_SECONDS) as batch:
        batch.insert(LOG_TABLE, LOG_COLUMNS, [log])
        batch.insert(LEDGER_TABLE, event_log._BORN_COLUMNS, [event_log._born_pending(row, 0)])
    return event_id


async def insert_pending(database: Any, rows: Sequence[EventLogRow], *, age_seconds: float) -> None:
    """Inserts rows as the ingress does, in one commit, but pending for `age_seconds` already."""
    since = datetime.now(UTC) - timedelta(seconds=age_seconds)
    placed = [(row, forward_shard(row.event.event_id)) for row in rows]
    born = [list(event_log._born_pending(row, shard)) for row, shard in placed]
    for values in born:
        values[_PENDING_SINCE] = since
    async with database.batch(default_retry_delay=ABORTED_RETRY_SECONDS) as batch:
        batch.insert(LOG_TABLE, LOG_COLUMNS, [event_log._log_values(row, shard) for row, shard in placed])
        batch.insert(LEDGER_TABLE, event_log._BORN_COLUMNS, born)


async def delete_row(database: Any, event_id: str) -> None:
    async with database.batch(default_retry_delay=ABORTED_RETRY_SECONDS) as batch:
        batch.delete(LOG_TABLE, KeySet(keys=[(event_id,)]))
