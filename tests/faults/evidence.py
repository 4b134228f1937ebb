"""Reads what a run left: rows, ledger, Statsig's log, dead letters, process logs."""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PubsubMessage, SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from deploy.local.emulators import local_channel
from deploy.local.stack import Stack
from deploy.local.statsig_stand_in import LoggedEvent, LoggedRequest, read_log, read_requests
from shared.events.attempt_history import History, decode
from shared.events.forward_message import EVENT_ID_ATTRIBUTE
from shared.events.timestamps import from_datetime
from shared.spanner.connection import create_client
from worker.dead_letter_publisher import PREFIX

EMPTY_SECONDS: Final = 0.5
QUIET_PULLS: Final = 2
"""Empty pulls in a row, each this long, after which a subscription counts as read. A single one may be due to a busy
machine."""

_ROWS: Final = """
SELECT e.event_id, e.actor_id, e.forward_to_statsig, f.state, f.possible_duplicates, e.event_name, e.event_type,
  e.event_ts, f.attempts, f.history
FROM NestEventLog AS e LEFT JOIN NestEventForward AS f USING (event_id)"""

_PENDING: Final = "SELECT COUNT(*) FROM NestEventForward WHERE state = 'PENDING'"

_LETTERS: Final = "SELECT message_id, attributes, data FROM NestEventDeadLetter"

_GIVEN_UP: Final = "SELECT event_id FROM NestEventForward WHERE given_up_reason IS NOT NULL"

_DEAD: Final = "SELECT event_id FROM NestEventForward WHERE state = 'DEAD'"

LEASE_SECONDS: Final = 75.0
"""The dead-letter subscription's ack deadline, and some more."""

_PENDING_NAMES: Final = """
SELECT f.event_id, e.event_name
FROM NestEventForward AS f JOIN NestEventLog AS e USING (event_id) WHERE f.state = 'PENDING'"""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of the event log with its ledger row."""

    event_id: str
    actor_id: str
    """The client's key: two rows with the same key are a call that became two events."""

    forwarded: bool
    state: str | None
    possible_duplicates: int
    event_name: str
    event_type: str | None
    event_ts_nanos: int
    attempts: int
    history: History


@dataclass(frozen=True, slots=True)
class FoundDeadLetter:
    message_id: str
    event_id: str
    """Empty where the message has none."""

    reason: str
    data: bytes


@dataclass(slots=True)
class Evidence:
    """All that the checker reads, except the client's log."""

    stored: dict[str, StoredEvent] = field(default_factory=dict)
    received: list[LoggedEvent] = field(default_factory=list)
    dead_letters: list[FoundDeadLetter] = field(default_factory=list)
    requests: list[LoggedRequest] = field(default_factory=list)

    @property
    def copies(self) -> Counter[str]:
        """How many copies of each event_id Statsig has."""
        return Counter(str(entry.event["metadata"]["event_id"]) for entry in self.received)


@asynccontextmanager
async def open_checker_database(stack: Stack) -> AsyncIterator[Any]:
    """Opens the run's database, past every proxy."""
    client = create_client(stack.names.project, stack.emulators.spanner_host)
    database = await client.instance(stack.names.spanner_instance).database(stack.names.spanner_database)
    try:
        yield database
    finally:
        await database.close()


async def pending_events(database: Any) -> int:
    async with database.snapshot() as snapshot:
        found = [row[0] async for row in await snapshot.execute_sql(_PENDING)]
    return int(found[0])


async def pending_names(database: Any) -> dict[str, str]:
    """The names of pending events, by event_id."""
    async with database.snapshot() as snapshot:
        return {row[0]: row[1] async for row in await snapshot.execute_sql(_PENDING_NAMES)}


async def given_up_events(database: Any) -> set[str]:
    """The events that a worker has given up and not settled."""
    async with database.snapshot() as snapshot:
        return {row[0] async for row in await snapshot.execute_sql(_GIVEN_UP)}


async def stored_events(database: Any) -> dict[str, StoredEvent]:
    async with database.snapshot() as snapshot:
        return {
            row[0]: StoredEvent(
                row[0],
                row[1] or "",
                row[2],
                row[3],
                row[4] or 0,
                row[5],
                row[6],
                from_datetime(row[7]),
                row[8] or 0,
                decode(row[9]),
            )
            async for row in await snapshot.execute_sql(_ROWS)
        }


async def gather_evidence(stack: Stack, database: Any, found: Mapping[str, FoundDeadLetter]) -> Evidence:
    """Reads all evidence; `found` are dead letters that were read before, by message id."""
    assert stack.statsig_log is not None
    # Statsig's log first: a poisoned event may still be tried, and the ledger that is read later counts that too.
    received = read_log(stack.statsig_log)
    stored = await stored_events(database)
    letters = list({**found, **await dead_letters(stack, database)}.values())
    # The requests last: each dead letter must be explained by those before it.
    requests = list(read_requests(stack.statsig_log))
    return Evidence(stored=stored, received=received, requests=requests, dead_letters=letters)


async def dead_letters(stack: Stack, database: Any) -> dict[str, FoundDeadLetter]:
    """All dead letters by message id, collected or not. Those on the topic's subscription can be read only once.

    Letters that a killed worker had leased are redelivered when their leases end: it reads again until every dead event
    has a letter.
    """
    found: dict[str, FoundDeadLetter] = {}
    with anyio.move_on_after(LEASE_SECONDS):
        while True:
            for message in await all_messages(stack, stack.names.dead_letter_subscription):
                found[message.message_id] = _found(message.message_id, message.attributes, message.data)
            found |= await _collected(database)
            if await _dead_events(database) <= {letter.event_id for letter in found.values()}:
                break
            await anyio.sleep(1)
    return found


async def _collected(database: Any) -> dict[str, FoundDeadLetter]:
    async with database.snapshot() as snapshot:
        rows = [row async for row in await snapshot.execute_sql(_LETTERS)]
    return {
        message_id: _found(
            message_id, dict(zip(attributes[::2], attributes[1::2], strict=True)), base64.b64decode(data)
        )
        for message_id, attributes, data in rows
    }


def _found(message_id: str, attributes: Mapping[str, str], data: bytes) -> FoundDeadLetter:
    reason = attributes.get(PREFIX + "reason", "")
    return FoundDeadLetter(message_id, attributes.get(EVENT_ID_ATTRIBUTE, ""), reason, data)


async def _dead_events(database: Any) -> set[str]:
    async with database.snapshot() as snapshot:
        return {row[0] async for row in await snapshot.execute_sql(_DEAD)}


async def all_messages(stack: Stack, subscription: str) -> list[PubsubMessage]:
    """Pulls and acknowledges all messages of a subscription that are not leased."""
    found: dict[str, PubsubMessage] = {}
    path = stack.names.subscription_path(subscription)
    quiet = 0
    async with local_channel(stack.emulators.pubsub_host) as channel:
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        while quiet < QUIET_PULLS:
            try:
                answer = await subscriber.pull(subscription=path, max_messages=1000, timeout=EMPTY_SECONDS, retry=None)
            except DeadlineExceeded:
                quiet += 1
                continue
            quiet = 0 if answer.received_messages else quiet + 1
            found |= {received.message.message_id: received.message for received in answer.received_messages}
    return list(found.values())


def process_log(stack: Stack, name: str) -> list[dict[str, Any]]:
    """What a process logged so far, line by line; a line that is no JSON object becomes `{"not_json": line}`."""
    return [_parsed(line) for line in _whole_lines(stack.run_dir / f"{name}.log")]


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {"not_json": line.decode(errors="replace")}
    return value if isinstance(value, dict) else {"not_json": line.decode(errors="replace")}
