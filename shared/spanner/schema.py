"""The part of the database's schema that the code relies on, checked when a process starts."""

from typing import Any, Final

import stamina

from shared.errors import SchemaMismatchError, StorageUnavailableError
from shared.spanner.connection import spanner_call
from shared.spanner.reading import AT_INTERVALS

REQUIRED: Final[dict[str, frozenset[str]]] = {
    "NestEventLog": frozenset({"event_id", "event_name", "event_type", "actor_id", "event_ts", "ingested_at",
                               "metadata", "forward_to_statsig", "request_digest", "write_id", "caller", "log_shard",
                               "request_id"}),
    "NestEventForward": frozenset({"event_id", "state", "pending_since", "republished_at", "settled_at", "attempts",
                                   "last_attempt_at", "last_reason", "last_status", "claim_token", "claimed_until",
                                   "replays", "possible_duplicates", "forward_shard", "history", "alone_failures",
                                   "not_before", "republished", "again_at", "dead_shard",
                                   "given_up_reason"}),
    "NestEventDeadLetter": frozenset({"subject", "message_id", "kind", "reason", "dead_at", "event_id", "event_name",
                                      "caller", "data", "attributes", "collected_at", "open_shard", "closed_at",
                                      "closed_by"}),
    "NestEventProcess": frozenset({"process_id", "role", "version", "started_at", "seen_at", "stopped",
                                   "interval_seconds", "accepted", "refused", "failed", "delivered", "dead_lettered",
                                   "failed_requests", "last_failure", "last_failure_at", "circuit_reason",
                                   "circuit_since", "next_probe_at", "nothing_pending_before"}),
    "NestEventRule": frozenset({"rule_id", "action", "event_name", "name_prefix", "event_type", "caller", "why",
                                "created_at", "created_by", "expires_at", "removed_at", "removed_by", "sweeping_until",
                                "swept_at"}),
    "NestEventAudit": frozenset({"audit_id", "done_at", "who", "command", "why", "detail"}),
    "NestEventComplaint": frozenset({"complaint_shard", "hour", "process_id", "place", "kind", "caller", "event_name",
                                     "reason", "events"}),
    "NestEventErased": frozenset({"event_id", "erased_at"}),
}  # fmt: skip
"""Columns by table. The database may have more: columns are added before the code that uses them."""

_COLUMNS: Final = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = ''"


START_TIMEOUT_SECONDS: Final = 30.0
"""How long a start waits for Spanner before it fails, and the platform tries another instance."""


async def await_schema(database: Any, *, timeout_seconds: float) -> None:
    """Check the schema at the start of a process; retry while Spanner does not answer within `timeout_seconds`.

    Raises:
        SchemaMismatchError: names every table and column that is missing.
        StorageUnavailableError: no answer within START_TIMEOUT_SECONDS.
    """
    async for attempt in stamina.retry_context(
        on=StorageUnavailableError, attempts=None, timeout=START_TIMEOUT_SECONDS
    ):
        with attempt:
            await check_schema(database, timeout_seconds=timeout_seconds)


async def check_schema(database: Any, *, timeout_seconds: float) -> None:
    """Check that every required column exists.

    Raises:
        SchemaMismatchError: names every table and column that is missing.
        StorageUnavailableError: no answer.
    """
    found: dict[str, set[str]] = {}
    async with spanner_call(timeout_seconds), database.snapshot() as snapshot:
        async for table, column in await snapshot.execute_sql(_COLUMNS, retry=AT_INTERVALS):
            found.setdefault(table, set()).add(column)
    missing = [
        table if table not in found else f"{table}.{column}"
        for table, columns in REQUIRED.items()
        for column in ([""] if table not in found else sorted(columns - found[table]))
    ]
    if missing:
        raise SchemaMismatchError(
            f"the database lacks {', '.join(missing)}: apply the files of deploy/spanner/ in their order"
        )
