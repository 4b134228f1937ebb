"""The part of the forward ledger that takes in events which were stored only, on Spanner."""

from collections.abc import Sequence
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, RequestOptions, param_types

from shared.events import attempt_history
from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.forward_ledger import (
    DEFAULT_SHARDS,
    LEDGER_RETENTION,
    LEDGER_TABLE,
    ForwardState,
    forward_shard,
)
from shared.events.late_forward_ledger import Admission, Admitted, StoredChoice, StoredEvent
from shared.spanner import mutations
from shared.spanner.accounting import SCAN_SECONDS
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import LOG_INDEX, LOG_TABLE
from shared.spanner.event_rows import EVENT_COLUMNS, EventRow
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.shards import shards_beyond
from shared.spanner.transactions import Transactions, current_time

_FILTERS: Final = {
    "event_name": "e.event_name = @event_name",
    "name_prefix": "STARTS_WITH(e.event_name, @name_prefix)",
    "event_type": "e.event_type = @event_type",
    "caller": "e.caller = @caller",
}

# Goes on in the index where the last page ended. APPLY_JOIN joins by key: a hash join would read the whole ledger.
_STORED: Final = f"""
SELECT e.ingested_at, e.event_id, e.event_name, f.state
FROM {LOG_TABLE}@{{FORCE_INDEX={LOG_INDEX}}} AS e
LEFT JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LEDGER_TABLE} AS f ON f.event_id = e.event_id
WHERE e.log_shard = @shard AND e.ingested_at >= @begin AND e.ingested_at < @until
  AND (e.ingested_at > @begin OR e.event_id > @after) AND NOT e.forward_to_statsig"""  # noqa: S608 - constants

_ORDER: Final = " ORDER BY e.ingested_at, e.event_id LIMIT @limit"

_TYPES: Final = {
    "shard": param_types.INT64,
    "begin": param_types.TIMESTAMP,
    "until": param_types.TIMESTAMP,
    "after": param_types.STRING,
    "limit": param_types.INT64,
}

_READ_COLUMNS: Final = (*EVENT_COLUMNS, "ingested_at")

_ADMITTED_COLUMNS: Final = ("event_id", "state", "pending_since", "forward_shard", "history")


class SpannerLateForwardLedger:
    """LateForwardLedger on NestEventForward and NestEventLog."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float, shards: int = DEFAULT_SHARDS) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database; `shards` as in the settings."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds
        self._shards = shards

    async def shards(self) -> Sequence[int]:
        async with spanner_call(self._timeout_seconds):
            database = self._transactions.database
            beyond = await shards_beyond(database, LOG_TABLE, LOG_INDEX, "log_shard", self._shards)
        return [*range(self._shards), *beyond]

    async def stored(
        self, choice: StoredChoice, *, shard: int, after: StoredEvent | None, limit: int
    ) -> Sequence[StoredEvent]:
        given = {name: value for name in _FILTERS if (value := getattr(choice, name)) is not None}
        query = _STORED + "".join(f" AND {_FILTERS[name]}" for name in given) + _ORDER
        begin, last = (choice.since, "") if after is None else (after.ingested_at, after.event_id)
        values = given | {"shard": shard, "begin": begin, "until": choice.until, "after": last, "limit": limit}
        types = dict.fromkeys(given, param_types.STRING) | _TYPES
        low = RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW)
        async with spanner_call(SCAN_SECONDS), self._transactions.database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(query, values, types, request_options=low, retry=AT_INTERVALS)
            return [
                StoredEvent(ingested_at, event_id, event_name, None if state is None else ForwardState(state))
                async for ingested_at, event_id, event_name, state in rows
            ]

    async def admit(self, event_ids: Sequence[str]) -> dict[str, Admitted]:
        async def work(transaction: Any) -> dict[str, Admitted]:
            known = await read_by_key(transaction, LEDGER_TABLE, ("event_id", "state"), event_ids)
            states = {event_id: state for event_id, state in known}  # noqa: C416 - mypy refuses dict(known)
            logged = {row[0]: row for row in await read_by_key(transaction, LOG_TABLE, _READ_COLUMNS, event_ids)}
            # Read after the ledger: a row that was not there then had not been deleted by its age at this time.
            now = await current_time(transaction)
            found: dict[str, Admitted] = {}
            for event_id in dict.fromkeys(event_ids):
                *values, ingested_at = logged.get(event_id, (None,))
                row = EventRow(*values) if values else None
                is_old = row is not None and now - ingested_at >= LEDGER_RETENTION
                found[event_id] = _found(row, states.get(event_id), is_old=is_old)
            admitted = [event_id for event_id, each in found.items() if each.found is Admission.ADMITTED]
            if admitted:
                history = attempt_history.encode([HistoryEntry(HistoryKind.FORWARD, now)])
                rows = [
                    (event_id, ForwardState.PENDING.value, COMMIT_TIMESTAMP, self._shard(event_id), history)
                    for event_id in admitted
                ]
                mutations.insert(transaction, LEDGER_TABLE, _ADMITTED_COLUMNS, rows)
            return found

        return await self._transactions.run(work, within_seconds=self._timeout_seconds) if event_ids else {}

    def _shard(self, event_id: str) -> int:
        return forward_shard(event_id, shards=self._shards)


def _found(row: EventRow | None, state: str | None, *, is_old: bool) -> Admitted:
    if row is None:
        return Admitted(Admission.MISSING)
    if state is not None and state != ForwardState.PENDING:
        return Admitted(Admission.SETTLED)
    if state is None and is_old:
        return Admitted(Admission.TOO_OLD)
    if not row.is_event():
        return Admitted(Admission.UNREADABLE)
    return Admitted(Admission.ADMITTED if state is None else Admission.PENDING, row.event())
