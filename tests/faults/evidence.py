"""What was left behind when a run is over: rows, ledger, Statsig's log, dead letters, process logs. Only reads."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PubsubMessage, SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from deploy.local.emulators import local_channel
from deploy.local.stack import Stack
from deploy.local.statsig_stand_in import LoggedEvent, LoggedRequest, read_log, read_requests
from shared.attempt_history import History, decode
from shared.forward_message import EVENT_ID_ATTRIBUTE
from shared.spanner import create_client
from shared.timestamps import from_datetime
from worker.dead_letters import PREFIX

EMPTY_SECONDS: Final = 0.5
QUIET_PULLS: Final = 2
"""So many pulls in a row without a message for so long, after which a subscription counts as read: one is a busy
machine's."""

_ROWS: Final = """
SELECT e.event_id, e.actor_id, e.forward_to_statsig, f.state, f.possible_duplicates, e.event_name, e.event_type,
  e.event_ts, f.attempts, f.history
FROM NestEventLog AS e LEFT JOIN NestEventForward AS f USING (event_id)"""

_PENDING: Final = "SELECT COUNT(*) FROM NestEventForward WHERE state = 'PENDING'"

_PENDING_NAMES: Final = """
SELECT f.event_id, e.event_name
FROM NestEventForward AS f JOIN NestEventLog AS e USING (event_id) WHERE f.state = 'PENDING'"""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of the event log with its ledger row."""

    event_id: str
    actor_id: str
    """The client's key: two rows with one key are one call that became two events."""

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
    event_id: str
    """Empty where the message names none."""

    reason: str
    data: bytes


@dataclass(slots=True)
class Evidence:
    """Everything that the checker looks at, the client's log aside."""

    stored: dict[str, StoredEvent] = field(default_factory=dict)
    received: list[LoggedEvent] = field(default_factory=list)
    dead_letters: list[FoundDeadLetter] = field(default_factory=list)
    requests: list[LoggedRequest] = field(default_factory=list)

    @property
    def copies(self) -> Counter[str]:
        """How often each event_id is at Statsig."""
        return Counter(str(entry.event["metadata"]["event_id"]) for entry in self.received)


@asynccontextmanager
async def open_checker_database(stack: Stack) -> AsyncIterator[Any]:
    """The run's database, past every proxy."""
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
    """The names of what is pending, by event_id."""
    async with database.snapshot() as snapshot:
        return {row[0]: row[1] async for row in await snapshot.execute_sql(_PENDING_NAMES)}


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


async def gather_evidence(stack: Stack, database: Any, found: Sequence[FoundDeadLetter] = ()) -> Evidence:
    """`found` are dead letters that were read before."""
    assert stack.statsig_log is not None
    # Statsig's log first: a poisoned event may still be tried, and what is counted later includes what came before.
    received = read_log(stack.statsig_log)
    requests = list(read_requests(stack.statsig_log))
    return Evidence(
        stored=await stored_events(database),
        received=received,
        requests=requests,
        dead_letters=[*found, *await dead_letters(stack)],
    )


async def dead_letters(stack: Stack) -> list[FoundDeadLetter]:
    """All of them; they stay leased for a minute, so they can be read once."""
    messages = await all_messages(stack, stack.names.dead_letter_subscription)
    return [
        FoundDeadLetter(
            message.attributes.get(EVENT_ID_ATTRIBUTE, ""), message.attributes.get(PREFIX + "reason", ""), message.data
        )
        for message in messages
    ]


async def all_messages(stack: Stack, subscription: str) -> list[PubsubMessage]:
    """Everything that a subscription holds and nobody has leased."""
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
