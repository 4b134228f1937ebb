"""`nest-events trace`: everything that is known about one event, or a list of several."""

from collections.abc import Sequence
from typing import Any

from shared.events.dead_letter_table import DeadLetterRow
from worker.operators.connections import Connections
from worker.operators.dead_letters.showing import letter_as_dict
from worker.operators.events.event_status import event_status
from worker.operators.events.finding import TraceQuery, ids_asked_for, search_events
from worker.operators.events.history import history_as_dict, show_history
from worker.operators.events.publish_times import first_attempt_at, publish_times
from worker.operators.events.records import Record
from worker.operators.exit_codes import BAD_NEWS, OK, UnknownError, UsageError
from worker.operators.state.event_advice import advice_on
from worker.operators.terminal.durations import moment
from worker.operators.terminal.output import say, show_fields, show_json, show_table


async def trace_events(connections: Connections, *, query: TraceQuery, as_json: bool) -> int:
    """Print events by their ids, by an idempotency key, or by a search.

    Returns BAD_NEWS where a search finds nothing, or where some of several ids are unknown.

    Raises:
        UsageError: not exactly one of the three was given, or one of them is malformed.
        UnknownError: there is no event with these ids or this key.
    """
    if bool(query.event_ids) + (query.key is not None) + query.is_search != 1:
        raise UsageError("give EVENT_IDs, or --key, or a search: --event-name, --actor, --caller, --request-id")
    if query.is_search:
        return await _search(connections, query, as_json=as_json)
    event_ids = ids_asked_for(query)
    found = await connections.records.of(event_ids)
    letters = await connections.dead_letters.of(event_ids)
    if len(found) == 1 and (query.key is not None or len(event_ids) == 1):
        (record,) = found.values()
        await _show_one(connections, record, letters.get(record.event_id, []), as_json=as_json)
        return OK
    if not found:
        raise UnknownError(_nothing_found(query, letters))
    return _show_all(list(found.values()), letters, query, missing=_missing(event_ids, found, query), as_json=as_json)


def _nothing_found(query: TraceQuery, letters: dict[str, list[DeadLetterRow]]) -> str:
    if query.key is not None:
        whose = f"of '{query.identity}'" if query.identity else "of callers without an identity (see --identity)"
        return f"no event under the key '{query.key}' {whose}"
    where = "; yet there is a dead letter, see `nest-events dead-letters show`" if letters else ""
    return f"no event '{', '.join(query.event_ids)}': nothing was committed under this id{where}"


def _missing(event_ids: Sequence[str], found: dict[str, Record], query: TraceQuery) -> list[str]:
    return [] if query.key is not None else [event_id for event_id in event_ids if event_id not in found]


async def _search(connections: Connections, query: TraceQuery, *, as_json: bool) -> int:
    found = await search_events(connections, query)
    if not found.records and not as_json:
        say(f"No event matches, from {moment(found.since)} to {moment(found.until)}.")
        return BAD_NEWS
    code = _show_all(found.records, found.letters, query, missing=[], as_json=as_json, is_cut=found.is_cut)
    return code if found.records else BAD_NEWS


def _show_all(
    records: Sequence[Record],
    letters: dict[str, list[DeadLetterRow]],
    query: TraceQuery,
    *,
    missing: Sequence[str],
    as_json: bool,
    is_cut: bool = False,
) -> int:
    documents = [trace_document(record, letters.get(record.event_id, [])) for record in records]
    if as_json:
        show_json({"events": documents, "missing": list(missing), "there_are_more": is_cut})
        return BAD_NEWS if missing else OK
    show_table(
        ("event_id", "event name", "ingested", "state", "now"),
        [(d["event_id"], d["event_name"], d["ingested_at"], d["state"], d["now"]) for d in documents],
    )
    for event_id in missing:
        say(f"{event_id}: nothing was committed under this id")
    if is_cut:
        say(f"There are more: these are the latest {query.limit}. --limit lists up to 1000, --until goes further back.")
    return BAD_NEWS if missing else OK


async def story_of(connections: Connections, record: Record, letters: Sequence[DeadLetterRow]) -> dict[str, Any]:
    """As `trace_document`, with what to do in regard to the state of the workers."""
    status = event_status(record, has_dead_letter=any(letter.is_open for letter in letters))
    return trace_document(record, letters) | {"to_do": await advice_on(record, status, connections)}


async def _show_one(
    connections: Connections, record: Record, letters: Sequence[DeadLetterRow], *, as_json: bool
) -> None:
    document = await story_of(connections, record, letters)
    if as_json:
        show_json(document)
    else:
        _show(document, record)


def trace_document(record: Record, letters: Sequence[DeadLetterRow]) -> dict[str, Any]:
    """Everything that is known about the event, as a document; `to_do` does not regard the state of the workers."""
    status = event_status(record, has_dead_letter=any(letter.is_open for letter in letters))
    publishes = publish_times(record, letters)
    return {
        "event_id": record.event_id,
        "event_name": record.event_name,
        "event_type": record.event_type,
        "actor_id": record.actor_id,
        "event_ts": record.event_ts,
        "ingested_at": record.ingested_at,
        "caller": record.caller,
        "caller_established_by": record.caller_source,
        "trace_id": record.trace_id,
        "forward_to_statsig": record.forward_to_statsig,
        "state": record.state,
        "published_at": publishes.at,
        "published": publishes.sentence,
        "pending_since": record.pending_since,
        "republished": record.republished,
        "republished_at": record.republished_at,
        "republished_next_at": record.again_at,
        "claimed_until": record.claimed_until,
        "settled_at": record.settled_at,
        "attempts": record.attempts,
        "first_attempt_at": first_attempt_at(record),
        "last_attempt_at": record.last_attempt_at,
        "last_reason": record.last_reason,
        "last_status": record.last_status,
        "alone_failures": record.alone_failures,
        "not_before": record.not_before,
        "given_up_reason": record.given_up_reason,
        "replays": record.replays,
        "possible_duplicates": record.possible_duplicates,
        **history_as_dict(record),
        "dead_letters": [letter_as_dict(letter) for letter in letters],
        "now": status.sentence,
        "to_do": status.advice,
        "is_well": status.is_well,
    }


def _show(document: dict[str, Any], record: Record) -> None:
    shown_apart = {"dead_letters", "history", "attempts_without_history", "now", "to_do", "is_well"}
    show_fields({name: value for name, value in document.items() if name not in shown_apart})
    show_history(record)
    for number, letter in enumerate(document["dead_letters"], start=1):
        say()
        say(f"Dead letter {number}")
        show_fields(letter)
    say()
    say(document["now"])
    say(document["to_do"])
