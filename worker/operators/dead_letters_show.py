"""`nest-events dead-letters show`: one dead letter, decoded, and what a replay would make of it."""

from typing import Any, Final

from worker.operators.connections import Connections
from worker.operators.exits import OK, UnknownError
from worker.operators.forecast import EXPLAINED, forecast
from worker.operators.gathering import gathered
from worker.operators.history import history_as_dict, show_history
from worker.operators.letters import Casualty, Letter
from worker.operators.records import Record
from worker.operators.terminal import say, show_fields, show_json

BYTES_SHOWN: Final = 256
"""Of what does not decode."""


async def show_dead_letter(connections: Connections, *, subject: str, max_replays: int, as_json: bool) -> int:
    """Every dead letter of this event or message id.

    Raises:
        UnknownError: there is none.
    """
    async with gathered(connections) as found:
        matching = [
            each
            for each in found.casualties
            if subject in {each.subject, each.latest.event_id, *(m.message_id for m in each.messages)}
        ]
    if not matching:
        raise UnknownError(
            f"no dead letter of '{subject}' among those of {len(found.casualties)} events; "
            "`nest-events trace` tells where an event is"
        )
    for casualty in matching:
        record = found.record(casualty)
        outcome = forecast(casualty, record, max_replays=max_replays)
        document = {**described(casualty, record), "on_replay": outcome.value}
        if as_json:
            show_json(document)
        else:
            _show(document)
            if record is not None:
                show_history(record)
            say()
            say(f"On replay: {EXPLAINED[outcome]}.")
    return OK


def described(casualty: Casualty, record: Record | None) -> dict[str, Any]:
    """As a document."""
    event = casualty.latest.event
    ledger = None if record is None or record.state is None else record
    return {
        "event_id": casualty.latest.event_id,
        "event": None
        if event is None
        else {
            "event_name": event.event_name,
            "event_type": event.event_type,
            "actor_id": event.actor_id,
            "event_ts_nanos": event.event_ts_nanos,
            "metadata": event.metadata,
        },
        "bytes": None if event is not None else repr(casualty.latest.message.data[:BYTES_SHOWN])[2:-1],
        "caller": None if record is None else record.caller,
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
        "dead_letters": [letter_as_dict(letter) for letter in casualty.letters],
        **history_as_dict(record),
    }


def letter_as_dict(letter: Letter) -> dict[str, Any]:
    """What is known of one death: who gave up, why, after what."""
    return {
        "message_id": letter.message.message_id,
        "kind": letter.kind.value,
        "reason": letter.reason,
        "status": letter.note("status"),
        "attempts": letter.note("attempts"),
        "published_at": letter.published_at,
        "dead_at": letter.dead_at,
        "deliveries": letter.note("delivery_attempt") or letter.native_deliveries,
        "worker_version": letter.note("worker_version"),
        "source_message_id": letter.note("source_message_id"),
    }


def _show(document: dict[str, Any]) -> None:
    show_fields({"event_id": document["event_id"], "caller": document["caller"], "bytes": document["bytes"]})
    show_fields(document["event"] or {})
    for title, fields in (
        ("In the ledger", document["ledger"]),
        *((f"Dead letter {number}", letter) for number, letter in enumerate(document["dead_letters"], start=1)),
    ):
        say()
        say(title if fields else f"{title}: nothing")
        show_fields(fields or {})
