"""Rows of the forward ledger: the columns that are read and written, and the rules by which they change. Pure.

A row that is read is a NamedTuple whose fields are the columns. A row that is written is a tuple, made next to the list
of its columns; long ones are made by column name.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.events import attempt_history
from shared.events.attempt_history import HistoryEntry, HistoryKind, extended
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardState
from shared.events.replay_ledger import ReopenOutcome, ReopenResult

PENDING_INDEX: Final = "NestEventForwardPending"

DEAD_INDEX: Final = "NestEventForwardDead"


class Holder(NamedTuple):
    """The columns that show which claim a row is under."""

    event_id: str
    state: str
    claim_token: str | None
    claimed_until: datetime | None

    def is_of(self, token: str) -> bool:
        """Whether the token's attempts belong into the row, also if an earlier holder has settled it as delivered."""
        return self.claim_token == token and self.state != ForwardState.DEAD

    def may_go_on(self, now: datetime) -> bool:
        """Whether the row is pending and its claim has not expired."""
        return self.state == ForwardState.PENDING and is_live(self.claimed_until, now)


class ClaimableRow(NamedTuple):
    """The columns that a claim reads."""

    event_id: str
    state: str
    claim_token: str | None
    claimed_until: datetime | None
    attempts: int
    possible_duplicates: int
    history: list[str] | None
    alone_failures: int
    not_before: datetime | None
    pending_since: datetime | None
    given_up_reason: str | None

    def claimed_by(self, token: str, *, own: Mapping[str, Collection[str]], now: datetime) -> ClaimResult:
        """The result of a claim by the token, which is to be written if the outcome is CLAIMED."""
        history = attempt_history.decode(self.history)
        if self.state != ForwardState.PENDING:
            outcome = ClaimOutcome(self.state.lower())
            return ClaimResult(
                self.event_id, outcome, self.attempts, self.possible_duplicates, history, self.alone_failures
            )
        resumable = own.get(self.event_id, ())
        is_ours = self.claim_token is None or self.claim_token == token or self.claim_token in resumable
        outcome = ClaimOutcome.CLAIMED
        if not is_ours and is_live(self.claimed_until, now):
            outcome = ClaimOutcome.CLAIMED_ELSEWHERE
        elif is_live(self.not_before, now) and self.claim_token != token:
            outcome = ClaimOutcome.WAITING
        is_claimed = outcome is ClaimOutcome.CLAIMED
        possible_duplicates = self.possible_duplicates
        if is_claimed and not is_ours and self.given_up_reason is None:
            # Its holder neither settled nor released it: the event may have been sent.
            possible_duplicates += 1
            history = extended(history, HistoryEntry(HistoryKind.TAKE_OVER, now))
        return ClaimResult(
            self.event_id,
            outcome,
            self.attempts,
            possible_duplicates,
            history,
            self.alone_failures,
            is_suspect=is_claimed and self.not_before is not None,
            is_resumed=is_claimed and self.claim_token in resumable,
            given_up_reason=self.given_up_reason if is_claimed else None,
            pending_since=self.pending_since,
        )


class ReopenableRow(NamedTuple):
    """The columns that a replay reads."""

    event_id: str
    state: str
    claimed_until: datetime | None
    replays: int
    history: list[str] | None
    claim_token: str | None
    given_up_reason: str | None

    def reopened(self, now: datetime, max_replays: int) -> ReopenResult:
        """The result of a replay, which is to be written if the outcome is REOPENED."""
        if self.state == ForwardState.DELIVERED:
            return ReopenResult(self.event_id, ReopenOutcome.DELIVERED, self.replays)
        if self.state == ForwardState.PENDING:
            if is_live(self.claimed_until, now):
                return ReopenResult(self.event_id, ReopenOutcome.IN_FLIGHT, self.replays)
            if self.given_up_reason is None:
                return ReopenResult(self.event_id, ReopenOutcome.PENDING, self.replays)
        if self.replays >= max_replays:
            return ReopenResult(self.event_id, ReopenOutcome.QUARANTINED, self.replays)
        return ReopenResult(self.event_id, ReopenOutcome.REOPENED, self.replays + 1)


READ_HOLDER: Final = Holder._fields
READ_FOR_CLAIM: Final = ClaimableRow._fields
READ_FOR_REOPENING: Final = ReopenableRow._fields


def is_live(until: datetime | None, now: datetime) -> bool:
    return until is not None and until > now


CLAIM_COLUMNS: Final = ("event_id", "claim_token", "claimed_until")


def claim_values(event_id: str, token: str, until: datetime | str) -> tuple[object, ...]:
    """A row of CLAIM_COLUMNS."""
    return (event_id, token, until)


TAKE_OVER_COLUMNS: Final = (*CLAIM_COLUMNS, "possible_duplicates", "history")


def take_over_values(claimed: ClaimResult, token: str, until: str) -> tuple[object, ...]:
    """A row of TAKE_OVER_COLUMNS."""
    claim = claim_values(claimed.event_id, token, until)
    return (*claim, claimed.possible_duplicates, attempt_history.encode(claimed.history))


ATTEMPT_COLUMNS: Final = ("event_id", "attempts", "possible_duplicates", "last_attempt_at", "last_reason",
                          "last_status", "history")  # fmt: skip


def attempt_values(record: DeliveryRecord) -> tuple[object, ...]:
    """A row of ATTEMPT_COLUMNS."""
    return _ordered(ATTEMPT_COLUMNS, _attempts(record))


GIVEN_UP_COLUMNS: Final = (*ATTEMPT_COLUMNS, "alone_failures", "not_before", "given_up_reason")


def given_up(records: Iterable[DeliveryRecord]) -> Iterator[tuple[object, ...]]:
    """A row of GIVEN_UP_COLUMNS for each record."""
    for record in records:
        yield (*attempt_values(record), record.alone_failures, None, record.reason)


STATE_COLUMNS: Final = ("event_id", "state", "pending_since", "settled_at", "not_before", "again_at",
                        "given_up_reason")  # fmt: skip


def state_values(event_id: str, state: ForwardState) -> tuple[object, ...]:
    """A row of STATE_COLUMNS for a final state."""
    return _ordered(STATE_COLUMNS, {"event_id": event_id} | _ended(state))


SETTLED_COLUMNS: Final = (*ATTEMPT_COLUMNS, *STATE_COLUMNS[1:], *CLAIM_COLUMNS[1:], "alone_failures")


def settled(records: Iterable[DeliveryRecord], state: ForwardState) -> Iterator[tuple[object, ...]]:
    """A row of SETTLED_COLUMNS for each record.

    Events that one request settled mostly differ in the event_id only, so the other values are made once for them.
    """
    account: tuple[object, ...] | None = None
    rest: tuple[object, ...] = ()
    for record in records:
        own_account = (
            record.attempts,
            record.possible_duplicates,
            record.last_attempt_at,
            record.reason,
            record.status,
            record.history,
            record.alone_failures,
        )
        if own_account != account:
            account = own_account
            values = _attempts(record) | _ended(state) | _NO_CLAIM | {"alone_failures": record.alone_failures}
            rest = _ordered(SETTLED_COLUMNS[1:], values)
        yield (record.event_id, *rest)


def released(record: DeliveryRecord, holder: Holder, now: datetime | None) -> dict[str, object]:
    """The values by column that give up a claim; `now` is needed if the record asks for a wait."""
    values: dict[str, object] = {"event_id": record.event_id, **_NO_CLAIM}
    if record.last_attempt_at is None and record.wait_seconds is None:
        return values
    not_before = None
    if record.wait_seconds is not None and now is not None and holder.state == ForwardState.PENDING:
        not_before = now + timedelta(seconds=record.wait_seconds)
    values |= {"alone_failures": record.alone_failures, "not_before": not_before}
    return values if record.last_attempt_at is None else values | _attempts(record)


REOPENED_COLUMNS: Final = (*STATE_COLUMNS, *CLAIM_COLUMNS[1:], "alone_failures", "republished", "republished_at",
                           "replays", "history")  # fmt: skip


def reopened_values(row: ReopenableRow, found: ReopenResult, now: datetime) -> tuple[object, ...]:
    """A row of REOPENED_COLUMNS."""
    history = extended(attempt_history.decode(row.history), HistoryEntry(HistoryKind.REPLAY, now))
    values: dict[str, object] = {
        "event_id": found.event_id,
        "state": ForwardState.PENDING,
        "pending_since": COMMIT_TIMESTAMP,
        "settled_at": None,
        "not_before": None,
        "again_at": None,
        "given_up_reason": None,
        "alone_failures": 0,
        "republished": 0,
        "republished_at": None,
        "replays": found.replays,
        "history": attempt_history.encode(history),
    }
    return _ordered(REOPENED_COLUMNS, values | _NO_CLAIM)


_NO_CLAIM: Final[dict[str, object]] = {"claim_token": None, "claimed_until": None}


def _attempts(record: DeliveryRecord) -> dict[str, object]:
    return {
        "event_id": record.event_id,
        "attempts": record.attempts,
        "possible_duplicates": record.possible_duplicates,
        "last_attempt_at": record.last_attempt_at,
        "last_reason": record.reason,
        "last_status": record.status,
        "history": attempt_history.encode(record.history),
    }


def _ended(state: ForwardState) -> dict[str, object]:
    """A final state: not pending, not waiting, not due again, nothing left to be done about it."""
    ended: dict[str, object] = {"state": state, "pending_since": None, "settled_at": COMMIT_TIMESTAMP}
    return ended | {"not_before": None, "again_at": None, "given_up_reason": None}


def _ordered(columns: Iterable[str], values: Mapping[str, object]) -> tuple[object, ...]:
    return tuple([values[column] for column in columns])
