"""A row that gets into the event log past the ingress, and whose forward message no worker decodes."""

import uuid
from datetime import UTC, datetime
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet

from shared.event_log import _BORN_COLUMNS, LOG_COLUMNS, LOG_TABLE
from shared.forward_ledger import LEDGER_TABLE, ForwardState, forward_shard


async def insert_unpublishable(database: Any) -> str:
    """Its id. Its name is blank, which the ingress refuses and a decoder too."""
    event_id = str(uuid.uuid4())
    now = datetime.now(UTC)
    log = (event_id, "", None, "unpublishable", now, COMMIT_TIMESTAMP, JsonObject({}), True)
    born = (event_id, ForwardState.PENDING, COMMIT_TIMESTAMP, 0, 0, 0, forward_shard(event_id))
    async with database.batch() as batch:
        batch.insert(LOG_TABLE, LOG_COLUMNS, [log])
        batch.insert(LEDGER_TABLE, _BORN_COLUMNS, [born])
    return event_id


async def delete_row(database: Any, event_id: str) -> None:
    async with database.batch() as batch:
        batch.delete(LOG_TABLE, KeySet(keys=[(event_id,)]))
