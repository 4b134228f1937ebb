"""The forward ledger's rows: what is read and written of them, and what they mean. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.events import attempt_history
from shared.events.attempt_history import History, HistoryEntry, HistoryKind, extended
from shared.events.event import RESERVED_METADATA_KEY, Event
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardState
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from shared.events.timestamps import from_datetime
from shared.telemetry.tracing import TRACEPARENT

PENDING_INDEX: Final = "NestEventForwardPending"

DEAD_INDEX: Final = "NestEventForwardDead"

READ_HOLDER: Final = ("event_id", "state", "claim_token", "claimed_until")
READ_FOR_CLAIM: Final = (*READ_HOLDER, "attempts", "possible_duplicates", "history", "alone_failures", "not_before",
                         "pending_since")  # fmt: skip
READ_FOR_REOPENING: Final = ("event_id", "state", "claimed_until", "replays", "history", "claim_token")

EVENT_COLUMNS: Final = ("event_id", "event_name", "event_type", "actor_id", "event_ts", "metadata")

CLAIM_COLUMNS: Final = ("event_id", "claim_token", "claimed_until")
TAKE_OVER_COLUMNS: Final = (*CLAIM_COLUMNS, "possible_duplicates", "history")
WAITING_COLUMNS: Final = (*CLAIM_COLUMNS, "alone_failures", "not_before")
ATTEMPT_COLUMNS: Final = ("event_id", "attempts", "possible_duplicates", "last_attempt_at", "last_reason",
                          "last_status", "history")  # fmt: skip
RELEASED_COLUMNS: Final = (*ATTEMPT_COLUMNS, *WAITING_COLUMNS[1:])
STATE_COLUMNS: Final = ("event_id", "state", "pending_since", "settled_at", "not_before", "again_at")
SETTLED_COLUMNS: Final = (*ATTEMPT_COLUMNS, *STATE_COLUMNS[1:], *CLAIM_COLUMNS[1:], "alone_failures")
REOPENED_COLUMNS: Final = (*STATE_COLUMNS, *CLAIM_COLUMNS[1:], "alone_failures", "republished", "republished_at",
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


def entry(row: Sequence[Any], *, token: str, own: Mapping[str, Collection[str]], now: datetime) -> ClaimResult:
    """What a claim that read the row makes of it."""
    event_id, state, holder, until, attempts, possible_duplicates, lines, alone_failures, not_before, since = row
    history = attempt_history.decode(lines)
    if state != ForwardState.PENDING:
        return ClaimResult(
            event_id, ClaimOutcome(state.lower()), attempts, possible_duplicates, history, alone_failures
        )
    resumable = own.get(event_id, ())
    is_ours = holder is None or holder == token or holder in resumable
    outcome = ClaimOutcome.CLAIMED
    if not is_ours and is_live(until, now):
        outcome = ClaimOutcome.CLAIMED_ELSEWHERE
    elif is_live(not_before, now) and holder != token:
        outcome = ClaimOutcome.WAITING
    is_claimed = outcome is ClaimOutcome.CLAIMED
    if is_claimed and not is_ours:
        # Its holder neither settled nor released it: the event may have been sent.
        possible_duplicates += 1
        history = extended(history, HistoryEntry(HistoryKind.TAKE_OVER, now))
    return ClaimResult(
        event_id,
        outcome,
        attempts,
        possible_duplicates,
        history,
        alone_failures,
        is_suspect=is_claimed and not_before is not None,
        is_resumed=is_claimed and holder in resumable,
        pending_since=since,
    )


def reopened(row: Sequence[Any], now: datetime, max_replays: int) -> ReopenResult:
    event_id, state, claimed_until, replays, *_ = row
    if state == ForwardState.DELIVERED:
        return ReopenResult(event_id, ReopenOutcome.DELIVERED, replays)
    if state == ForwardState.PENDING:
        return ReopenResult(
            event_id, ReopenOutcome.IN_FLIGHT if is_live(claimed_until, now) else ReopenOutcome.PENDING, replays
        )
    if replays >= max_replays:
        return ReopenResult(event_id, ReopenOutcome.QUARANTINED, replays)
    return ReopenResult(event_id, ReopenOutcome.REOPENED, replays + 1)


def noted(attempt: DeliveryRecord) -> tuple[object, ...]:
    return (
        attempt.event_id,
        attempt.attempts,
        attempt.possible_duplicates,
        attempt.last_attempt_at,
        attempt.reason,
        attempt.status,
        attempt_history.encode(attempt.history),
    )


def settled(attempts: Iterable[DeliveryRecord], state: ForwardState) -> Iterator[tuple[object, ...]]:
    """A row of SETTLED_COLUMNS each. Events that one request settled mostly share all but the event_id."""
    shared_by: tuple[object, ...] | None = None
    rest: tuple[object, ...] = ()
    for attempt in attempts:
        account = (
            attempt.attempts,
            attempt.possible_duplicates,
            attempt.last_attempt_at,
            attempt.reason,
            attempt.status,
            attempt.history,
            attempt.alone_failures,
        )
        if account != shared_by:
            shared_by = account
            rest = (*noted(attempt)[1:], *stated(attempt.event_id, state)[1:], None, None, attempt.alone_failures)
        yield (attempt.event_id, *rest)


def stated(event_id: str, state: ForwardState) -> tuple[object, ...]:
    """Of an end: it is neither pending nor waiting, and not due again."""
    return (event_id, state, None, COMMIT_TIMESTAMP, None, None)


def released(
    attempt: DeliveryRecord, holder: Holder, now: datetime | None
) -> tuple[tuple[str, ...], tuple[object, ...]]:
    """The columns to write, and their values; `now` is needed where the attempt asks for a wait."""
    if attempt.last_attempt_at is None and attempt.wait_seconds is None:
        return CLAIM_COLUMNS, (attempt.event_id, None, None)
    not_before = None
    if attempt.wait_seconds is not None and now is not None and holder.state == ForwardState.PENDING:
        not_before = now + timedelta(seconds=attempt.wait_seconds)
    waiting = (attempt.event_id, None, None, attempt.alone_failures, not_before)
    if attempt.last_attempt_at is None:
        return WAITING_COLUMNS, waiting
    return RELEASED_COLUMNS, (*noted(attempt), *waiting[1:])


def opened(found: ReopenResult, history: History) -> tuple[object, ...]:
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
