"""Servers that take a call and never answer it: what our adapters on grpc.aio then raise, and when.

grpc.aio answers a cancellation with a CancelledError of its own, which anyio's scopes do not take for theirs. Left
alone it comes out of `fail_after` in place of a TimeoutError, and ends whatever task group it meets.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from shared.errors import PublishFailedError, StorageUnavailableError, SubscriptionUnavailableError
from shared.events.forward_ledger import DeliveryRecord
from shared.events.forward_message import OutgoingMessage
from shared.events.republish_ledger import Marked
from shared.process.process_states import ProcessState, Role
from shared.process.settings import Settings, from_environment
from shared.pubsub import PubSubPublisher, open_publisher_client, open_subscriber_client, subscription_path, topic_path
from shared.spanner.connection import open_database
from shared.spanner.event_log import SpannerEventLogRepository
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.parts import ROWS_AT_ONCE
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.republish_ledger import SpannerRepublishLedger
from tests.support.sample_events import sample_row
from worker.subscription import PubSubSubscription

BOUND_SECONDS = 0.05
ATTEMPT = DeliveryRecord(str(uuid.uuid4()), 1, 0, None, "not_sent", None, ())
MANY = [replace(ATTEMPT, event_id=str(uuid.uuid4())) for _ in range(3 * ROWS_AT_ONCE)]
"""More than one transaction takes."""

STATE = ProcessState(
    process_id=str(uuid.uuid4()),
    role=Role.WORKER,
    version="1.2.3",
    started_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
)


class SilentServers:
    """Our adapters, opened on a port that reads and never writes."""

    repository: SpannerEventLogRepository
    ledger: SpannerForwardLedger
    patient: SpannerForwardLedger
    """With a bound of its own that no test waits for."""

    republishing: SpannerRepublishLedger
    processes: SpannerProcessStates
    publisher: PubSubPublisher
    subscription: PubSubSubscription


@pytest.fixture
async def silent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SilentServers]:
    monkeypatch.setattr("worker.subscription.CALL_TIMEOUT_SECONDS", BOUND_SECONDS)
    connections: list[asyncio.StreamWriter] = []

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.read(65_536):
            pass

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    variables = {
        "GOOGLE_CLOUD_PROJECT": "silent",
        "SPANNER_INSTANCE": "silent",
        "SPANNER_DATABASE": "silent",
        "FORWARD_TOPIC": "silent",
        "SPANNER_EMULATOR_HOST": host,
        "PUBSUB_EMULATOR_HOST": host,
    }
    settings = from_environment(Settings, variables)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings))
        publishing = await stack.enter_async_context(open_publisher_client(settings))
        subscribing = await stack.enter_async_context(open_subscriber_client(settings))
        found = SilentServers()
        found.repository = SpannerEventLogRepository(database, timeout_seconds=BOUND_SECONDS)
        found.ledger = SpannerForwardLedger(database, timeout_seconds=BOUND_SECONDS, one_at_a_time=True)
        found.patient = SpannerForwardLedger(database, timeout_seconds=60, one_at_a_time=True)
        found.republishing = SpannerRepublishLedger(found.ledger.transactions, timeout_seconds=BOUND_SECONDS)
        found.processes = SpannerProcessStates(database, timeout_seconds=BOUND_SECONDS)
        found.publisher = PubSubPublisher(
            publishing, topic=topic_path(settings, "silent"), timeout_seconds=BOUND_SECONDS
        )
        found.subscription = PubSubSubscription(subscribing, subscription=subscription_path(settings, "silent"))
        yield found
    server.close()
    for connection in connections:
        connection.transport.abort()


Call = Callable[[SilentServers], Awaitable[Any]]

CALLS: dict[str, tuple[Call, type[Exception]]] = {
    "append": (lambda silent: silent.repository.append([sample_row()]), StorageUnavailableError),
    "written": (lambda silent: silent.repository.written(["e-1"]), StorageUnavailableError),
    "claim": (lambda silent: silent.ledger.claim(["e-1"], token="t", seconds=1), StorageUnavailableError),
    "settle_delivered": (lambda silent: silent.ledger.settle_delivered([ATTEMPT]), StorageUnavailableError),
    "settle_dead": (lambda silent: silent.ledger.settle_dead([ATTEMPT], token="t"), StorageUnavailableError),
    "release": (lambda silent: silent.ledger.release([ATTEMPT], token="t"), StorageUnavailableError),
    "give_up": (lambda silent: silent.ledger.give_up([ATTEMPT], token="t"), StorageUnavailableError),
    "note": (lambda silent: silent.ledger.note([ATTEMPT], token="t"), StorageUnavailableError),
    "unpublished": (
        lambda silent: silent.republishing.unpublished(shard=0, after=None, older_than_seconds=0, limit=1),
        StorageUnavailableError,
    ),
    "due_again": (lambda silent: silent.republishing.due_again(shard=0, limit=1), StorageUnavailableError),
    "mark_republished": (
        lambda silent: silent.republishing.mark_republished(["e-1"], intervals=[60]),
        StorageUnavailableError,
    ),
    "put_back": (
        lambda silent: silent.republishing.put_back([Marked("e-1", None, 1, None)]),
        StorageUnavailableError,
    ),
    "release within": (
        lambda silent: silent.patient.release([ATTEMPT], token="t", within_seconds=BOUND_SECONDS),
        StorageUnavailableError,
    ),
    "settle_delivered within": (
        lambda silent: silent.patient.settle_delivered([ATTEMPT], within_seconds=BOUND_SECONDS),
        StorageUnavailableError,
    ),
    "settle_delivered late within": (
        lambda silent: silent.patient.settle_delivered([ATTEMPT], token="t", within_seconds=BOUND_SECONDS),
        StorageUnavailableError,
    ),
    "settle_delivered of many": (lambda silent: silent.ledger.settle_delivered(MANY), StorageUnavailableError),
    "release of many within": (
        lambda silent: silent.patient.release(MANY, token="t", within_seconds=BOUND_SECONDS),
        StorageUnavailableError,
    ),
    "report": (lambda silent: silent.processes.report(STATE), StorageUnavailableError),
    "seen": (lambda silent: silent.processes.seen(), StorageUnavailableError),
    "publish": (lambda silent: silent.publisher.publish([OutgoingMessage(b"m", {})]), PublishFailedError),
    "acknowledge": (lambda silent: silent.subscription.acknowledge(["ack-1"]), SubscriptionUnavailableError),
    "extend": (lambda silent: silent.subscription.extend(["ack-1"], seconds=30), SubscriptionUnavailableError),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_without_an_answer_fails_within_its_bound_and_so_does_the_next(
    silent: SilentServers, name: str
) -> None:
    call, error = CALLS[name]

    for _ in range(2):
        started = anyio.current_time()
        with pytest.raises(error):
            await call(silent)
        assert anyio.current_time() - started < 20 * BOUND_SECONDS


async def test_a_pull_without_an_answer_brings_nothing(silent: SilentServers) -> None:
    assert await silent.subscription.pull(max_messages=1, wait_seconds=BOUND_SECONDS) == []


@pytest.mark.parametrize("name", [*CALLS, "pull"])
async def test_a_call_that_is_cancelled_ends_no_more_than_what_was_cancelled(silent: SilentServers, name: str) -> None:
    async def pull(silent: SilentServers) -> object:
        return await silent.subscription.pull(max_messages=1)

    call = CALLS[name][0] if name in CALLS else pull
    neighbour_ended = True

    async def neighbour() -> None:
        nonlocal neighbour_ended
        await anyio.sleep(BOUND_SECONDS / 2)
        neighbour_ended = False

    async with anyio.create_task_group() as others:
        others.start_soon(neighbour)
        with anyio.move_on_after(BOUND_SECONDS / 4) as scope:
            await call(silent)

    assert scope.cancelled_caught
    assert not neighbour_ended
