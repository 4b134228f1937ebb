"""One sentence on where an event is now, and one on what to do; pure."""

from dataclasses import dataclass
from typing import Final

from shared.events.forward_ledger import ForwardState
from worker.operators.events.records import Record
from worker.operators.options import MAX_REPLAYS
from worker.operators.terminal.durations import shown

NOTHING: Final = "Nothing to do."


@dataclass(frozen=True, slots=True)
class EventStatus:
    sentence: str
    advice: str
    is_well: bool
    """Nobody needs to do anything."""


def event_status(record: Record, *, has_letter: bool) -> EventStatus:
    """Where the event of this record is; `has_letter` where an open dead letter of it was collected."""
    match record.state:
        case None:
            return _without_ledger_row(record)
        case ForwardState.DELIVERED:
            return _delivered(record, has_letter=has_letter)
        case ForwardState.PENDING:
            return _pending(record, has_letter=has_letter)
        case ForwardState.DEAD:
            return _dead(record, has_letter=has_letter)


def _without_ledger_row(record: Record) -> EventStatus:
    if record.forward_to_statsig:
        return EventStatus(
            "It was to be forwarded, and its ledger row is gone: delivered or given up more than 90 days ago, or lost.",
            "If it is younger than 90 days, `nest-events account` shows it as unaccounted: report it.",
            is_well=False,
        )
    return EventStatus("It is stored, and was not to be forwarded to Statsig.", NOTHING, is_well=True)


def _delivered(record: Record, *, has_letter: bool) -> EventStatus:
    twice = ""
    if record.possible_duplicates:
        twice = f" At most {record.possible_duplicates} more copies may be there: attempts without an answer."
    if not has_letter:
        return EventStatus(f"Statsig has it.{twice}", NOTHING, is_well=True)
    return EventStatus(
        f"Statsig has it, and a dead letter from before is left.{twice}",
        "A replay closes the dead letter without sending anything.",
        is_well=True,
    )


def _pending(record: Record, *, has_letter: bool) -> EventStatus:
    age = shown(record.read_at - (record.pending_since or record.ingested_at))
    if record.is_in_work:
        return EventStatus(
            f"A worker is sending it right now; pending for {age}.", "Look again in a minute.", is_well=True
        )
    if has_letter:
        return EventStatus(
            f"It is pending for {age} and lies among the dead letters: Pub/Sub gave up delivering it, or a replay was "
            "ended in between.",
            "`nest-events dead-letters replay --yes` publishes it again; the reconciler does so too.",
            is_well=False,
        )
    if record.is_waiting and record.not_before is not None:
        return EventStatus(
            f"It is pending for {age} and set aside: it failed alone with {record.last_reason or 'no reason noted'} "
            f"while others were taken. It is tried again in {shown(record.not_before - record.read_at)}.",
            "If it keeps failing it becomes a dead letter. What is special about this event?",
            is_well=False,
        )
    tried_since = record.last_attempt_at and record.pending_since and record.last_attempt_at >= record.pending_since
    if record.replays and not tried_since:
        return EventStatus(
            f"It was replayed {_times(record.replays)}, last {age} ago, and no worker has tried to send it since.",
            "Look again in a minute; the reconciler publishes it again if need be. Is a worker running?",
            is_well=False,
        )
    if record.last_reason is not None:
        return EventStatus(
            f"It is pending for {age}; the last attempt ended with {record.last_reason}.",
            "The worker tries again by itself; if it stays so, see `circuit_opened` in deploy/RUNBOOK.md.",
            is_well=False,
        )
    return EventStatus(
        f"It is pending for {age}, and no worker has tried to send it yet.",
        "Is a worker running? `nest-events reconcile --now` publishes it again.",
        is_well=False,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _dead(record: Record, *, has_letter: bool) -> EventStatus:
    attempts = "1 attempt" if record.attempts == 1 else f"{record.attempts} attempts"
    why = f"It was given up with {record.last_reason or 'no reason noted'} after {attempts}"
    replays = record.replays or 0
    if replays >= MAX_REPLAYS:
        return EventStatus(
            f"{why} and {replays} replays: it is quarantined.",
            "It will not be accepted as it is: mend the cause, then replay it with a higher --max-replays.",
            is_well=False,
        )
    if not has_letter:
        return EventStatus(
            f"{why}, and its dead letter is not collected: a worker has yet to, or it has expired.",
            "`nest-events dead-letters replay --from-rows` rebuilds it from its row.",
            is_well=False,
        )
    return EventStatus(
        f"{why} and lies among the dead letters.",
        "When the cause is mended, `nest-events dead-letters replay` sends it again.",
        is_well=False,
    )
