"""The audit trail on Spanner."""

import json
import uuid
from datetime import datetime
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.events.audit_trail import AUDIT_TABLE, AuditEntry
from shared.spanner import mutations
from shared.spanner.connection import spanner_call
from shared.spanner.reading import AT_INTERVALS
from shared.spanner.transactions import Transactions

_COLUMNS: Final = ("audit_id", "done_at", "who", "command", "why", "detail")

# Reads that range of the index, from its end.
_LATEST: Final = f"""
SELECT done_at, who, command, why, detail FROM {AUDIT_TABLE}@{{FORCE_INDEX=NestEventAuditByTime}}
WHERE done_at >= @since ORDER BY done_at DESC LIMIT @limit"""  # noqa: S608 - constants


class SpannerAuditTrail:
    """AuditTrail on NestEventAudit."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds

    async def write(self, entry: AuditEntry) -> None:
        await self._transactions.commit(lambda batch: add_entry(batch, entry), within_seconds=self._timeout_seconds)

    async def latest(self, *, since: datetime, limit: int) -> list[AuditEntry]:
        types = {"since": param_types.TIMESTAMP, "limit": param_types.INT64}
        async with spanner_call(self._timeout_seconds), self._transactions.database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(_LATEST, {"since": since, "limit": limit}, types, retry=AT_INTERVALS)
            return [
                AuditEntry(who=who, command=command, why=why, detail=dict(detail), at=at)
                async for at, who, command, why, detail in rows
            ]


def add_entry(buffer: Any, entry: AuditEntry) -> None:
    """Add an entry to a batch or transaction."""
    detail = json.dumps(entry.detail, ensure_ascii=False, default=str)
    row = (str(uuid.uuid4()), COMMIT_TIMESTAMP, entry.who, entry.command, entry.why, detail)
    mutations.insert(buffer, AUDIT_TABLE, _COLUMNS, [row])
