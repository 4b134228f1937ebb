"""Where an event is now, and what to do about it, in a sentence each; pure."""

from dataclasses import dataclass, replace
from typing import Final

from shared.events.forward_ledger import LEDGER_RETENTION, ForwardState
from worker.operators.events.records import Record
from worker.operators.options import MAX_REPLAYS
from worker.operators.terminal.durations import shown

NOTHING_TO_DO: Final = "Nothing to do."

FORWARDED_LATER: Final = "It was stored only at first, and an operator had it forwarded later."


@dataclass(frozen=True, slots=True)
class EventStatus:
    sentence: str
    advice: str
    is_well: bool
    """No action is needed."""


def event_status(record: Record, *, has_dead_letter: bool) -> EventStatus:
    """The status of the record's event; `has_dead_letter` says whether an open dead letter of it was collected."""
    status = _by_state(record, has_dead_letter=has_dead_letter)
    if record.state is None or record.forward_to_statsig:
        return status
    return replace(status, sentence=f"{FORWARDED_LATER} {status.sentence}")


def _by_state(record: Record, *, has_dead_letter: bool) -> EventStatus:
    match record.state:
        case None:
            return _without_ledger_row(record)
        case ForwardState.DELIVERED:
            return _delivered(record, has_dead_letter=has_dead_letter)
        case ForwardState.PENDING if record.given_up_reason is not None:
            return _given_up(record)
        case ForwardState.PENDING:
            return _pending(record, has_dead_letter=has_dead_letter)
        case ForwardState.DEAD:
            return _dead(record, has_dead_letter=has_dead_letter)


def _without_ledger_row(record: Record) -> EventStatus:
    if record.forward_to_statsig:
        return EventStatus(
            "It was to be forwarded, but has no ledger row: it was settled more than 90 days ago, or the row is lost.",
            "If it is younger than 90 days, `nest-events account` counts it as unaccounted: see deploy/RUNBOOK.md.",
            is_well=False,
        )
    if record.read_at - record.ingested_at >= LEDGER_RETENTION:
        return EventStatus(
            "It is stored; it was not to be forwarded to Statsig when it was accepted. Whether it was forwarded later "
            f"is not known: the ledger is kept for {LEDGER_RETENTION.days} days.",
            NOTHING_TO_DO,
            is_well=True,
        )
    return EventStatus(
        "It is stored; it was not to be forwarded to Statsig.",
        f"{NOTHING_TO_DO} `nest-events forward` forwards such events after all.",
        is_well=True,
    )


def _delivered(record: Record, *, has_dead_letter: bool) -> EventStatus:
    copies = ""
    if record.possible_duplicates:
        attempts = "1 attempt" if record.possible_duplicates == 1 else f"{record.possible_duplicates} attempts"
        copies = f" It may have up to {record.possible_duplicates} more copies, from {attempts} with no clear outcome."
    if not has_dead_letter:
        return EventStatus(f"Statsig has it.{copies}", NOTHING_TO_DO, is_well=True)
    return EventStatus(
        f"Statsig has it, but an earlier dead letter is still open.{copies}",
        "A replay closes the dead letter without sending the event.",
        is_well=True,
    )


def _given_up(record: Record) -> EventStatus:
    given_up = f"It is not sent any more ({record.given_up_reason})"
    if record.is_in_flight:
        return EventStatus(f"{given_up}: a worker is dead-lettering it.", "Look again in a minute.", is_well=False)
    return EventStatus(
        f"{given_up}: a worker gave it up, and ended before it had published its dead letter and noted that.",
        "The next worker that gets its message does so. Look again in a minute.",
        is_well=False,
    )


def _pending(record: Record, *, has_dead_letter: bool) -> EventStatus:
    age = shown(record.read_at - (record.pending_since or record.ingested_at))
    if record.is_in_flight:
        return EventStatus(
            f"A worker is sending it right now; it has been pending for {age}.", "Look again in a minute.", is_well=True
        )
    if has_dead_letter:
        return EventStatus(
            f"It has been pending for {age} and has an open dead letter: Pub/Sub gave up delivering it.",
            "`nest-events dead-letters replay --yes` publishes it again; the reconciler does so too.",
            is_well=False,
        )
    if record.is_set_aside and record.not_before is not None:
        return EventStatus(
            f"It has been pending for {age} and is set aside: it failed alone with "
            f"{record.last_reason or 'no reason noted'} while other events were confirmed. It is tried again in "
            f"{shown(record.not_before - record.read_at)}.",
            "If it keeps failing it becomes a dead letter. What is special about this event?",
            is_well=False,
        )
    tried_since = record.last_attempt_at and record.pending_since and record.last_attempt_at >= record.pending_since
    if record.replays and not tried_since:
        return EventStatus(
            f"It was replayed {_times(record.replays)}, last {age} ago, and no worker has tried to send it since.",
            "Look again in a minute: the reconciler publishes it again if its message was lost. Does a worker run?",
            is_well=False,
        )
    if record.last_reason is not None:
        return EventStatus(
            f"It has been pending for {age}; the last attempt ended with {record.last_reason}.",
            "The worker tries again by itself. If that does not help, see `circuit_opened` in deploy/RUNBOOK.md.",
            is_well=False,
        )
    return EventStatus(
        f"It has been pending for {age}, and no worker has tried to send it yet.",
        "Does a worker run? `nest-events reconcile --now` publishes it again.",
        is_well=False,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _dead(record: Record, *, has_dead_letter: bool) -> EventStatus:
    attempts = "1 attempt" if record.attempts == 1 else f"{record.attempts} attempts"
    why = f"It was dead-lettered with {record.last_reason or 'no reason noted'} after {attempts}"
    replays = record.replays or 0
    if replays >= MAX_REPLAYS:
        return EventStatus(
            f"{why} and {replays} replays: it is quarantined.",
            "Replaying it again will not help: fix the cause, then replay it with a higher --max-replays.",
            is_well=False,
        )
    if not has_dead_letter:
        return EventStatus(
            f"{why}, but its dead letter is not in Spanner: no worker has collected it yet, or it has expired.",
            "`nest-events dead-letters replay --from-rows` rebuilds it from the event's row.",
            is_well=False,
        )
    return EventStatus(
        f"{why}; its dead letter is open.",
        "Once the cause is fixed, `nest-events dead-letters replay` sends the event again.",
        is_well=False,
    )
