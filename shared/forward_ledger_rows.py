"""The forward ledger's rows: what is read and written of them, and what they mean. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared import attempt_history
from shared.attempt_history import HistoryEntry, HistoryKind, extended
from shared.event import RESERVED_METADATA_KEY, Event
from shared.forward_ledger import (
    FORWARD_SHARDS,
    LEDGER_TABLE,
    Attempt,
    Entry,
    ForwardState,
    Reopened,
    Reopening,
    Standing,
)
from shared.telemetry.tracing import TRACEPARENT
from shared.timestamps import from_datetime

READ_FOR_CLAIM: Final = f"""
SELECT event_id, state, claim_token, claimed_until, attempts, possible_duplicates, replays, history,
  CURRENT_TIMESTAMP()
FROM {LEDGER_TABLE} WHERE event_id IN UNNEST(@event_ids)"""  # noqa: S608 - a constant table name

STILL_OURS: Final = f"""
SELECT event_id FROM {LEDGER_TABLE}
WHERE event_id IN UNNEST(@event_ids) AND state != 'DEAD' AND claim_token = @token"""  # noqa: S608 - as above

STILL_HELD: Final = f"{STILL_OURS} AND state = 'PENDING' AND claimed_until > CURRENT_TIMESTAMP()"

READ_FOR_SETTLING: Final = f"""
SELECT event_id, state, claim_token FROM {LEDGER_TABLE} WHERE event_id IN UNNEST(@event_ids)"""  # noqa: S608 - as above

EXISTING: Final = f"SELECT event_id FROM {LEDGER_TABLE} WHERE event_id IN UNNEST(@event_ids)"  # noqa: S608 - as above

# The hint names the emulator, which otherwise refuses to query a NULL_FILTERED index; Spanner itself ignores it.
PENDING: Final = f"""
@{{spanner_emulator.disable_query_null_filtered_index_check=true}}
SELECT e.event_id, e.event_name, e.event_type, e.actor_id, e.event_ts, e.metadata
FROM {LEDGER_TABLE}@{{FORCE_INDEX=NestEventForwardPending}} AS f JOIN NestEventLog AS e ON e.event_id = f.event_id
WHERE f.forward_shard = @shard AND f.pending_since < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL @age MICROSECOND)
  AND (f.republished_at IS NULL OR f.republished_at < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL @again MICROSECOND))
  AND (f.claimed_until IS NULL OR f.claimed_until < CURRENT_TIMESTAMP())
ORDER BY f.pending_since LIMIT @limit"""  # noqa: S608 - as above

# A look at the first row of each shard, where an aggregate would read all that is pending.
OLDEST_PENDING: Final = f"""
@{{spanner_emulator.disable_query_null_filtered_index_check=true}}
SELECT TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), MIN(oldest), MICROSECOND) FROM (
  SELECT (SELECT f.pending_since FROM {LEDGER_TABLE}@{{FORCE_INDEX=NestEventForwardPending}} AS f
          WHERE f.forward_shard = shard AND f.pending_since IS NOT NULL ORDER BY f.pending_since LIMIT 1) AS oldest
  FROM UNNEST(GENERATE_ARRAY(0, {FORWARD_SHARDS - 1})) AS shard)"""  # noqa: S608 - as above

DEAD: Final = f"""
SELECT e.event_id, e.event_name, e.event_type, e.actor_id, e.event_ts, e.metadata
FROM {LEDGER_TABLE} AS f JOIN NestEventLog AS e ON e.event_id = f.event_id
WHERE f.event_id > @after AND f.state = 'DEAD' ORDER BY f.event_id LIMIT @limit"""  # noqa: S608 - as above

SCAN_SECONDS: Final = 300.0
"""For a read of the whole ledger, as in shared/accounting.py."""

ATTEMPT_COLUMNS: Final = (
    "event_id",
    "attempts",
    "possible_duplicates",
    "last_attempt_at",
    "last_reason",
    "last_status",
    "history",
    "claim_token",
    "claimed_until",
)
STATE_COLUMNS: Final = ("event_id", "state", "pending_since", "settled_at")
SETTLED_COLUMNS: Final = (*ATTEMPT_COLUMNS, "state", "pending_since", "settled_at")
UNCLAIMED_COLUMNS: Final = ("event_id", "claim_token", "claimed_until")
READ_FOR_REOPENING: Final = ("event_id", "state", "claimed_until", "replays", "history", "claim_token")
REOPENED_COLUMNS: Final = (*UNCLAIMED_COLUMNS, "state", "pending_since", "settled_at", "republished_at", "replays",
                            "history")  # fmt: skip
CLAIM_COLUMNS: Final = ("event_id", "claim_token", "claimed_until", "possible_duplicates")
TAKE_OVER_COLUMNS: Final = (*CLAIM_COLUMNS, "history")


def entry(row: Sequence[Any], *, token: str, now: datetime) -> Entry:
    event_id, state, holder, claimed_until, attempts, possible_duplicates, replays, lines, _ = row
    history = attempt_history.decode(lines)
    if state != ForwardState.PENDING:
        return Entry(event_id, Standing(state.lower()), attempts, possible_duplicates, replays, history)
    if holder is not None and holder != token:
        if claimed_until > now:
            return Entry(event_id, Standing.HELD, attempts, possible_duplicates, replays, history)
        # Its holder neither settled nor released it: the event may have been sent.
        possible_duplicates += 1
        history = extended(history, HistoryEntry(HistoryKind.TAKE_OVER, now))
    return Entry(event_id, Standing.CLAIMED, attempts, possible_duplicates, replays, history)


def reopened(row: Sequence[Any], now: datetime, max_replays: int) -> Reopened:
    event_id, state, claimed_until, replays, *_ = row
    if state == ForwardState.DELIVERED:
        return Reopened(event_id, Reopening.DELIVERED, replays)
    if state == ForwardState.PENDING:
        is_held = claimed_until is not None and claimed_until > now
        return Reopened(event_id, Reopening.HELD if is_held else Reopening.PENDING, replays)
    if replays >= max_replays:
        return Reopened(event_id, Reopening.QUARANTINED, replays)
    return Reopened(event_id, Reopening.REOPENED, replays + 1)


def noted(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.event_id,
        attempt.attempts,
        attempt.possible_duplicates,
        attempt.last_attempt_at,
        attempt.reason,
        attempt.status,
        attempt_history.encode(attempt.history),
        None,
        None,
    )


def settled(attempt: Attempt, state: ForwardState) -> tuple[object, ...]:
    return (*noted(attempt), state, None, COMMIT_TIMESTAMP)


def event(row: Sequence[Any]) -> Event:
    event_id, event_name, event_type, actor_id, event_ts, metadata = row
    own = {key: value for key, value in metadata.items() if key != RESERVED_METADATA_KEY}
    # Of a row that nobody of ours wrote, `_eventLog` may be anything.
    service = metadata.get(RESERVED_METADATA_KEY)
    traceparent = service.get(TRACEPARENT) if isinstance(service, dict) else None
    return Event(
        event_id,
        event_name,
        event_type,
        actor_id,
        from_datetime(event_ts),
        own,
        traceparent if isinstance(traceparent, str) else None,
    )
