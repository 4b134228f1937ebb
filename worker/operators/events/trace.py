"""`nest-events trace`: everything that is known of an event, or a list of those that a search finds."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.events.dead_letter_table import DeadLetterRow
from shared.events.event_ids import event_id_of_key
from worker.operators.connections import Connections
from worker.operators.dead_letters.showing import letter_as_dict
from worker.operators.events.event_status import event_status
from worker.operators.events.history import history_as_dict, show_history
from worker.operators.events.publish_times import first_attempt_at, publish_times
from worker.operators.events.records import Record, Search
from worker.operators.exit_codes import BAD_NEWS, OK, UnknownError, UsageError
from worker.operators.state.event_advice import advised
from worker.operators.terminal.durations import moment, parse_moment
from worker.operators.terminal.output import say, show_fields, show_json, show_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """As typed."""

    event_ids: tuple[str, ...]
    key: str | None
    identity: str
    event_name: str | None
    actor: str | None
    caller: str | None
    request_id: str | None
    since: str
    until: str
    limit: int

    @property
    def is_search(self) -> bool:
        return any(each is not None for each in (self.event_name, self.actor, self.caller, self.request_id))


async def trace_events(connections: Connections, *, asked: Asked, as_json: bool) -> int:
    """Events by their ids, the one of a key, or what a search finds: one of the three is asked for."""
    if bool(asked.event_ids) + (asked.key is not None) + asked.is_search != 1:
        raise UsageError("give EVENT_IDs, or --key, or a search: --event-name, --actor, --caller, --request-id")
    if asked.is_search:
        return await _search(connections, asked, as_json=as_json)
    event_ids = _ids_of_key(asked) if asked.key is not None else [_event_id(text) for text in asked.event_ids]
    found = await connections.records.of(event_ids)
    letters = await connections.letters.of(event_ids)
    if len(found) == 1 and (asked.key is not None or len(event_ids) == 1):
        (record,) = found.values()
        await _show_one(connections, record, letters.get(record.event_id, []), as_json=as_json)
        return OK
    if not found:
        raise UnknownError(_nothing(asked, letters))
    return _show_all(list(found.values()), letters, asked, missing=_missing(event_ids, found, asked), as_json=as_json)


def _event_id(text: str) -> str:
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        raise UsageError(
            f"'{text}' is not an event id: those have the form 6cf56cc8-4ae1-4405-bc63-97157a1b5c23"
        ) from None


def _ids_of_key(asked: Asked) -> list[str]:
    """Of a caller that was established and of one that only said who it is: they have keys of their own."""
    return [
        event_id_of_key(asked.identity, (asked.key or "").strip(), is_verified=verified) for verified in (True, False)
    ]


def _nothing(asked: Asked, letters: dict[str, list[DeadLetterRow]]) -> str:
    if asked.key is not None:
        whose = f"of '{asked.identity}'" if asked.identity else "of callers that nobody established (see --identity)"
        return f"no event under the key '{asked.key}' {whose}"
    where = "; yet there is a dead letter, see `nest-events dead-letters show`" if letters else ""
    return f"no event '{', '.join(asked.event_ids)}': nothing was committed under this id{where}"


def _missing(event_ids: Sequence[str], found: dict[str, Record], asked: Asked) -> list[str]:
    return [] if asked.key is not None else [event_id for event_id in event_ids if event_id not in found]


async def _search(connections: Connections, asked: Asked, *, as_json: bool) -> int:
    now = datetime.now(UTC)
    since, until = parse_moment(asked.since, now=now), parse_moment(asked.until, now=now)
    if until <= since:
        raise UsageError("--since must be longer ago than --until: nothing lies between them")
    search = Search(
        since=since,
        until=until,
        event_name=asked.event_name,
        actor=asked.actor,
        caller=asked.caller,
        request_id=asked.request_id,
    )
    # One more than is shown tells whether there are more.
    found = await connections.records.search(search, limit=asked.limit + 1)
    shown = found[: asked.limit]
    letters = await connections.letters.of([record.event_id for record in shown])
    if not shown and not as_json:
        say(f"No event matches, from {moment(since)} to {moment(until)}.")
        return BAD_NEWS
    code = _show_all(shown, letters, asked, missing=[], as_json=as_json, is_cut=len(found) > asked.limit)
    return code if shown else BAD_NEWS


def _show_all(
    records: Sequence[Record],
    letters: dict[str, list[DeadLetterRow]],
    asked: Asked,
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
        say(f"There are more: these are the latest {asked.limit}. --limit shows up to 1000, --until goes further back.")
    return BAD_NEWS if missing else OK


async def _show_one(
    connections: Connections, record: Record, letters: Sequence[DeadLetterRow], *, as_json: bool
) -> None:
    where = event_status(record, has_letter=any(letter.is_open for letter in letters))
    document = trace_document(record, letters) | {"to_do": await advised(connections, record, where)}
    if as_json:
        show_json(document)
    else:
        _show(document, record)


def trace_document(record: Record, letters: Sequence[DeadLetterRow]) -> dict[str, Any]:
    """As a document."""
    where = event_status(record, has_letter=any(letter.is_open for letter in letters))
    published = publish_times(record, letters)
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
        "dead_letters": [letter_as_dict(letter) for letter in letters],
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
