"""Finds the events that an operator asks for: by id, by idempotency key, or by a search."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.events.dead_letter_table import DeadLetterRow
from shared.events.event_ids import event_id_of_key
from worker.operators.connections import Connections
from worker.operators.events.records import Record, Search
from worker.operators.exit_codes import UsageError
from worker.operators.terminal.durations import parse_moment

CLOCK_MARGIN: Final = timedelta(minutes=5)
"""By how much this machine's clock may be behind Spanner's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """The arguments and options as typed."""

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


def ids_asked_for(query: TraceQuery) -> list[str]:
    """The ids of a query that is no search. A key has two: verified and claimed identities have separate keys.

    Raises:
        UsageError: an id is malformed.
    """
    return [event_id_of(text) for text in query.event_ids] if query.key is None else _ids_of_key(query)


def event_id_of(text: str) -> str:
    """An event id as it is stored.

    Raises:
        UsageError: it is none.
    """
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        raise UsageError(f"'{text}' is not an event id: write one like 6cf56cc8-4ae1-4405-bc63-97157a1b5c23") from None


def _ids_of_key(query: TraceQuery) -> list[str]:
    return [
        event_id_of_key(query.identity, (query.key or "").strip(), is_verified=verified) for verified in (True, False)
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a search."""

    records: Sequence[Record]
    """The latest first."""

    letters: dict[str, list[DeadLetterRow]]
    """Their dead letters, by event_id."""

    is_cut: bool
    """There are more than the limit."""

    since: datetime
    until: datetime


async def search_events(connections: Connections, query: TraceQuery) -> Found:
    """Search as the query says, for up to its limit.

    Raises:
        UsageError: the times are malformed or in the wrong order.
        StorageUnavailableError: no answer.
    """
    now = datetime.now(UTC)
    since, until = parse_moment(query.since, now=now), parse_moment(query.until, now=now)
    if until <= since:
        raise UsageError(f"--since {query.since} must be earlier than --until {query.until}")
    search = Search(
        since=since,
        # Up to now means the latest event too: its time is Spanner's, which may be ahead of this machine's.
        until=until + CLOCK_MARGIN if until == now else until,
        event_name=query.event_name,
        actor=query.actor,
        caller=query.caller,
        request_id=query.request_id,
    )
    # One more than the limit, to see whether there are more.
    found = await connections.records.search(search, limit=query.limit + 1)
    records = found[: query.limit]
    letters = await connections.dead_letters.of([record.event_id for record in records])
    return Found(records, letters, len(found) > query.limit, since, until)
