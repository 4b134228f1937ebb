"""`nest-events trace`: everything that is known of one event, or of an actor's."""

from typing import Any

from worker.operators.connections import Connections
from worker.operators.dead_letters_show import letter_as_dict
from worker.operators.durations import parse_age
from worker.operators.exits import BAD_NEWS, OK, UnknownError, UsageError
from worker.operators.gathering import gathered
from worker.operators.history import history_as_dict, show_history
from worker.operators.letters import Casualty
from worker.operators.publication import first_attempt_at, publication
from worker.operators.records import Record
from worker.operators.terminal import say, show_fields, show_json, show_table
from worker.operators.whereabouts import whereabouts


async def trace_events(
    connections: Connections,
    *,
    event_id: str | None,
    actor: str | None,
    since: str,
    until: str,
    limit: int,
    as_json: bool,
) -> int:
    """One event by its id, or an actor's: one of the two is asked for."""
    if (event_id is None) == (actor is None):
        raise UsageError("give either an EVENT_ID or --actor")
    oldest, youngest = parse_age(since), parse_age(until)
    if youngest >= oldest:
        raise UsageError("--since must be longer ago than --until: nothing lies between them")
    if event_id is not None:
        return await _trace_one(connections, event_id.strip().lower(), as_json=as_json)
    now = await connections.records.now()
    records = await connections.records.of_actor(actor or "", since=now - oldest, until=now - youngest, limit=limit)
    which = f"of actor '{actor}' within {since}" + (f", until {until} ago" if youngest else "")
    return await _trace_all(connections, records, which, as_json=as_json)


async def _trace_one(connections: Connections, event_id: str, *, as_json: bool) -> int:
    record = (await connections.records.of([event_id])).get(event_id)
    casualty = (await _casualties(connections)).get(event_id)
    if record is None:
        where = "" if casualty is None else "; yet there is a dead letter of it, see `nest-events dead-letters show`"
        raise UnknownError(f"no event '{event_id}': nothing was committed under this id{where}")
    document = traced(record, casualty)
    if as_json:
        show_json(document)
    else:
        _show(document, record)
    return OK


async def _trace_all(connections: Connections, records: list[Record], which: str, *, as_json: bool) -> int:
    casualties = await _casualties(connections) if records else {}
    documents = [traced(record, casualties.get(record.event_id)) for record in records]
    if as_json:
        show_json({"events": documents})
    elif not documents:
        say(f"No events {which}.")
    else:
        show_table(
            ("event_id", "event name", "ingested", "state", "now"),
            [(d["event_id"], d["event_name"], d["ingested_at"], d["state"], d["now"]) for d in documents],
        )
    return OK if documents else BAD_NEWS


async def _casualties(connections: Connections) -> dict[str, Casualty]:
    async with gathered(connections) as found:
        return {each.subject: each for each in found.casualties}


def traced(record: Record, casualty: Casualty | None) -> dict[str, Any]:
    """As a document."""
    where = whereabouts(record, casualty)
    published = publication(record, casualty)
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
        "published_at": published.at,
        "published": published.sentence,
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
        "replays": record.replays,
        "possible_duplicates": record.possible_duplicates,
        **history_as_dict(record),
        "dead_letters": [] if casualty is None else [letter_as_dict(letter) for letter in casualty.letters],
        "now": where.sentence,
        "to_do": where.advice,
        "is_well": where.is_well,
    }


def _show(document: dict[str, Any], record: Record) -> None:
    apart = {"dead_letters", "history", "attempts_without_history", "now", "to_do", "is_well"}
    show_fields({name: value for name, value in document.items() if name not in apart})
    show_history(record)
    for number, letter in enumerate(document["dead_letters"], start=1):
        say()
        say(f"Dead letter {number}")
        show_fields(letter)
    say()
    say(document["now"])
    say(document["to_do"])
