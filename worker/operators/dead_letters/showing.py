"""`nest-events dead-letters show`: the dead letters of one event, decoded, and what a replay would do."""

from collections.abc import Sequence
from typing import Any, Final

from shared.events import forward_message
from shared.events.dead_letter_table import DeadLetterRow, LetterKind
from worker.dead_letter_messages import added_attribute, native_deliveries, poison_subject, published_at
from worker.operators.connections import Connections
from worker.operators.dead_letters.forecast import EXPLAINED, Outcome, forecast
from worker.operators.events.history import history_as_dict, show_history
from worker.operators.events.records import Record
from worker.operators.exit_codes import OK, UnknownError
from worker.operators.terminal.output import say, show_fields, show_json

BYTES_SHOWN: Final = 256
"""Bytes of poison that are shown."""


async def show_dead_letter(connections: Connections, *, subject: str, max_replays: int, as_json: bool) -> int:
    """Print every dead letter of an event, or the poison with this message id; closed ones too.

    Raises:
        UnknownError: there is none.
    """
    letters, record = await ask_letters(connections, subject)
    outcome = on_replay(letters, record, max_replays=max_replays)
    if as_json:
        show_json({**described(letters, record), "on_replay": "nothing" if outcome is None else outcome.value})
        return OK
    _show(described(letters, record))
    if record is not None:
        show_history(record)
    say()
    say("On replay: nothing, it is closed." if outcome is None else f"On replay: {EXPLAINED[outcome]}.")
    return OK


async def ask_letters(connections: Connections, subject: str) -> tuple[list[DeadLetterRow], Record | None]:
    """All dead letters of an event, or the poison with this message id, the oldest first; and the event's record.

    Raises:
        UnknownError: there is no dead letter.
    """
    wanted = subject.strip()
    found = await connections.dead_letters.of([wanted.lower(), poison_subject(wanted)])
    if not found:
        raise UnknownError(f"no dead letter of '{wanted}'; `nest-events trace` shows where an event is")
    (letters,) = found.values()
    return letters, (await connections.records.of([wanted.lower()])).get(wanted.lower())


def on_replay(letters: Sequence[DeadLetterRow], record: Record | None, *, max_replays: int) -> Outcome | None:
    """What a replay would make of the latest letter now; None where it is closed."""
    if not letters[-1].is_open:
        return None
    return forecast(letters[-1].kind, None if record is None else record.ledger_state, max_replays=max_replays)


def described(letters: Sequence[DeadLetterRow], record: Record | None) -> dict[str, Any]:
    """The dead letters, the event in the latest one and its ledger row, as a document."""
    latest = letters[-1]
    event = None if latest.kind is LetterKind.POISON else forward_message.decode(latest.data)
    ledger = None if record is None or record.state is None else record
    return {
        "event_id": latest.event_id,
        "event": None
        if event is None
        else {
            "event_name": event.event_name,
            "event_type": event.event_type,
            "actor_id": event.actor_id,
            "event_ts_nanos": event.event_ts_nanos,
            "metadata": event.metadata,
        },
        "bytes": None if event is not None else repr(latest.data[:BYTES_SHOWN])[2:-1],
        "caller": latest.caller,
        "ledger": None
        if ledger is None
        else {
            "state": ledger.state,
            "attempts": ledger.attempts,
            "last_attempt_at": ledger.last_attempt_at,
            "last_reason": ledger.last_reason,
            "last_status": ledger.last_status,
            "replays": ledger.replays,
            "possible_duplicates": ledger.possible_duplicates,
        },
        "dead_letters": [letter_as_dict(letter) for letter in letters],
        **history_as_dict(record),
    }


def letter_as_dict(letter: DeadLetterRow) -> dict[str, Any]:
    """One dead letter as a document: why it died, when, and what the worker or Pub/Sub noted."""
    return {
        "message_id": letter.message_id,
        "kind": letter.kind.value,
        "reason": letter.reason,
        "status": added_attribute(letter, "status"),
        "answer": added_attribute(letter, "answer"),
        "attempts": added_attribute(letter, "attempts"),
        "published_at": published_at(letter),
        "dead_at": letter.dead_at,
        "deliveries": added_attribute(letter, "delivery_attempt") or native_deliveries(letter),
        "worker_version": added_attribute(letter, "worker_version"),
        "source_message_id": added_attribute(letter, "source_message_id"),
        "collected_at": letter.collected_at,
        "closed_at": letter.closed_at,
        "closed_by": letter.closed_by,
    }


def _show(document: dict[str, Any]) -> None:
    show_fields({"event_id": document["event_id"], "caller": document["caller"], "bytes": document["bytes"]})
    show_fields(document["event"] or {})
    for title, fields in (
        ("Ledger row", document["ledger"]),
        *((f"Dead letter {number}", letter) for number, letter in enumerate(document["dead_letters"], start=1)),
    ):
        say()
        say(title if fields else f"{title}: none")
        show_fields(fields or {})
