"""The forward ledger's rows: what is read and written of them, and what they mean. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared import attempt_history
from shared.attempt_history import History, HistoryEntry, HistoryKind, extended
from shared.event import RESERVED_METADATA_KEY, Event
from shared.forward_ledger import (
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

PENDING_INDEX: Final = "NestEventForwardPending"

DEAD: Final = f"""
SELECT e.event_id, e.event_name, e.event_type, e.actor_id, e.event_ts, e.metadata
FROM {LEDGER_TABLE} AS f JOIN NestEventLog AS e ON e.event_id = f.event_id
WHERE f.event_id > @after AND f.state = 'DEAD' ORDER BY f.event_id LIMIT @limit"""  # noqa: S608 - a constant table name

SCAN_SECONDS: Final = 300.0
"""For a read of the whole ledger, as in shared/accounting.py."""

READ_FOR_CLAIM: Final = ("event_id", "state", "claim_token", "claimed_until", "attempts", "possible_duplicates",
                         "replays", "history", "alone_failures", "not_before")  # fmt: skip
READ_HOLDER: Final = ("event_id", "state", "claim_token", "claimed_until")
READ_FOR_REOPENING: Final = ("event_id", "state", "claimed_until", "replays", "history", "claim_token")

EVENT_COLUMNS: Final = ("event_id", "event_name", "event_type", "actor_id", "event_ts", "metadata")

CLAIM_COLUMNS: Final = ("event_id", "claim_token", "claimed_until", "possible_duplicates")
TAKE_OVER_COLUMNS: Final = (*CLAIM_COLUMNS, "history")
UNCLAIMED_COLUMNS: Final = ("event_id", "claim_token", "claimed_until")
WAITING_COLUMNS: Final = (*UNCLAIMED_COLUMNS, "alone_failures", "not_before")
ATTEMPT_COLUMNS: Final = ("event_id", "attempts", "possible_duplicates", "last_attempt_at", "last_reason",
                          "last_status", "history")  # fmt: skip
RELEASED_COLUMNS: Final = (*ATTEMPT_COLUMNS, *WAITING_COLUMNS[1:])
STATE_COLUMNS: Final = ("event_id", "state", "pending_since", "settled_at", "not_before", "again_at")
SETTLED_COLUMNS: Final = (*ATTEMPT_COLUMNS, *STATE_COLUMNS[1:], *UNCLAIMED_COLUMNS[1:], "alone_failures")
REOPENED_COLUMNS: Final = (*STATE_COLUMNS, *UNCLAIMED_COLUMNS[1:], "alone_failures", "republished", "republished_at",
                           "replays", "history")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a row is."""

    event_id: str
    state: str
    token: str | None
    until: datetime | None

    def is_of(self, token: str) -> bool:
        """Whether the token's account is the row's: also of what an earlier holder settled as delivered meanwhile."""
        return self.token == token and self.state != ForwardState.DEAD

    def may_go_on(self, now: datetime) -> bool:
        """Whether it is pending, and the claim has not expired."""
        return self.state == ForwardState.PENDING and is_live(self.until, now)


def is_live(until: datetime | None, now: datetime) -> bool:
    return until is not None and until > now


def is_settled(row: Sequence[Any]) -> bool:
    return bool(row[1] != ForwardState.PENDING)


def found(row: Sequence[Any]) -> Entry:
    """A row that a claim read, as it is; one that is pending as if it were anybody's."""
    event_id, state, _, _, attempts, possible_duplicates, replays, history, alone_failures, _ = row
    return Entry(
        event_id,
        Standing(state.lower()) if is_settled(row) else Standing.CLAIMED,
        attempts,
        possible_duplicates,
        replays,
        attempt_history.decode(history),
        alone_failures,
    )


def entry(row: Sequence[Any], *, token: str, own: Mapping[str, Collection[str]], now: datetime) -> Entry:
    as_read, (event_id, _, holder, until, *_, not_before) = found(row), row
    if is_settled(row):
        return as_read
    resumable = own.get(event_id, ())
    is_ours = holder in (None, token, *resumable)
    if not is_ours and is_live(until, now):
        return replace(as_read, standing=Standing.HELD)
    if is_live(not_before, now) and holder != token:
        return replace(as_read, standing=Standing.WAITING)
    claimed = replace(as_read, is_suspect=not_before is not None, is_resumed=holder in resumable)
    if is_ours:
        return claimed
    # Its holder neither settled nor released it: the event may have been sent.
    history = extended(claimed.history, HistoryEntry(HistoryKind.TAKE_OVER, now))
    return replace(claimed, possible_duplicates=claimed.possible_duplicates + 1, history=history)


def reopened(row: Sequence[Any], now: datetime, max_replays: int) -> Reopened:
    event_id, state, claimed_until, replays, *_ = row
    if state == ForwardState.DELIVERED:
        return Reopened(event_id, Reopening.DELIVERED, replays)
    if state == ForwardState.PENDING:
        return Reopened(event_id, Reopening.HELD if is_live(claimed_until, now) else Reopening.PENDING, replays)
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
    )


def settled(attempt: Attempt, state: ForwardState) -> tuple[object, ...]:
    return (*noted(attempt), *stated(attempt.event_id, state)[1:], None, None, attempt.alone_failures)


def stated(event_id: str, state: ForwardState) -> tuple[object, ...]:
    """Of an end: it is neither pending nor waiting, and not due again."""
    return (event_id, state, None, COMMIT_TIMESTAMP, None, None)


def released(attempt: Attempt, holder: Holder, now: datetime | None) -> tuple[tuple[str, ...], tuple[object, ...]]:
    """The columns to write, and their values; `now` is needed where the attempt asks for a wait."""
    if attempt.last_attempt_at is None and attempt.wait_seconds is None:
        return UNCLAIMED_COLUMNS, (attempt.event_id, None, None)
    not_before = None
    if attempt.wait_seconds is not None and now is not None and holder.state == ForwardState.PENDING:
        not_before = now + timedelta(seconds=attempt.wait_seconds)
    waiting = (attempt.event_id, None, None, attempt.alone_failures, not_before)
    if attempt.last_attempt_at is None:
        return WAITING_COLUMNS, waiting
    return RELEASED_COLUMNS, (*noted(attempt), *waiting[1:])


def opened(found: Reopened, history: History) -> tuple[object, ...]:
    state = (found.event_id, ForwardState.PENDING, COMMIT_TIMESTAMP, None, None, None)
    return (*state, None, None, 0, 0, None, found.replays, attempt_history.encode(history))


def is_event(row: Sequence[Any]) -> bool:
    """Whether an event can be made of EVENT_COLUMNS: the metadata of a row that nobody of ours wrote may be no object.

    The client has any JSON value as a dict: of an array or a scalar an empty one that is not equal to `{}`, of a null
    one that is false.
    """
    metadata = row[-1]
    return metadata == {} or (bool(metadata) and dict.__len__(metadata) > 0)


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
