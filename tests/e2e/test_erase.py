"""`nest-events erase` beside a running worker: of an erased actor nothing is left, and nothing comes back.

Long because the events of each state are brought there as they would be in production.
"""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pyqwest
import pytest
from connectrpc.errors import ConnectError
from google.cloud.spanner_v1 import param_types
from google.pubsub_v1 import PubsubMessage

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import Stack, StackOptions, running_stack
from shared.events import forward_message
from shared.events.event import Event
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventResponse, LogEventsRequest
from shared.pubsub import topic_path
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.replay_ledger import SpannerReplayLedger
from tests.support.delivery import deliveries, until_delivered
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.wire.otlp import Receiver, otlp_receiver

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

ACTOR = "actor-canary-9c41"
OTHER = "actor-other"
EACH = 20
"""Events of the actor in each of five states."""

SETTINGS = {
    # A request that hangs ends after 4 s, when there is time left in its batch for another.
    "STATSIG_TIMEOUT_SECONDS": "4",
    "RETRY_BUDGET_SECONDS": "7",
    "CLAIM_SECONDS": "20",
    # No reconciler publishes what is to stay pending.
    "RECONCILE_AFTER_SECONDS": "600",
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with otlp_receiver() as running:
        yield running


@pytest.fixture
async def stack(emulators: Emulators, names: StackNames, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Stack]:
    options = StackOptions(settings=receiver.environment | SETTINGS, log_level="DEBUG")
    async with running_stack(tmp_path, options, names=names, emulators=emulators) as running:
        yield running


def statsig_log(stack: Stack) -> Path:
    assert stack.statsig_log is not None
    return stack.statsig_log


async def tell_statsig(stack: Stack, *rules: dict[str, Any]) -> None:
    await pyqwest.Client().put(f"{stack.statsig_url}/control", content=json.dumps(rules).encode())


async def log(stack: Stack, name: str, *actors: str, forward: bool = True) -> list[str]:
    """Logs an event for each of the actors, all in one call."""
    requests = [LogEventRequest(event_name=name, actor_id=actor, forward_to_statsig=forward) for actor in actors]
    async with EventLoggingServiceClient(stack.ingress_url) as client:
        answer = await client.log_events(LogEventsRequest(events=requests))
    logged = [each.outcome.value for each in answer.outcomes if each.outcome is not None]
    event_ids = [each.event_id for each in logged if isinstance(each, LogEventResponse)]
    assert len(event_ids) == len(actors), answer
    return event_ids


async def ledger(seeded: SeededEvents, event_ids: Sequence[str], condition: str) -> int:
    """How many of the events have a ledger row of which the condition is true."""
    query = f"SELECT COUNT(*) FROM NestEventForward WHERE event_id IN UNNEST(@ids) AND {condition}"  # noqa: S608
    return await count(seeded, query, event_ids)


async def count(seeded: SeededEvents, query: str, event_ids: Sequence[str] = ()) -> int:
    types = {"ids": param_types.Array(param_types.STRING)}
    async with seeded.database.snapshot() as snapshot:
        rows = await snapshot.execute_sql(query, {"ids": list(event_ids)}, types)
        (found,) = [row[0] async for row in rows]
        return int(found)


async def until_count(wanted: int, seeded: SeededEvents, event_ids: Sequence[str], condition: str) -> None:
    with anyio.fail_after(30):
        while await ledger(seeded, event_ids, condition) != wanted:
            await anyio.sleep(0.1)


def lines(stack: Stack, message: str) -> list[dict[str, Any]]:
    text = (stack.run_dir / "worker-1.log").read_text().splitlines()
    return [json.loads(line) for line in text if f'"message":"{message}"' in line]


async def until_worker_has(stack: Stack, message: str, field: str, total: int) -> None:
    with anyio.fail_after(90):
        while sum(line[field] for line in lines(stack, message)) < total:
            await anyio.sleep(0.1)


async def publish_letters(seeded: SeededEvents, events: Sequence[Event]) -> None:
    """A dead letter with a reason, a native one, and one that no longer decodes, of each event."""
    await seeded.publish_letters(events, "http_400")
    await seeded.dead_letter_natively(events)
    topic = topic_path(seeded.settings, seeded.settings.dead_letter_topic)
    poison = [PubsubMessage(data=ACTOR.encode(), attributes=forward_message.encode(e).attributes) for e in events]
    await seeded.publisher.publish(topic=topic, messages=poison)


async def publish_again(seeded: SeededEvents, events: Sequence[Event]) -> None:
    """The events' messages, as they were published at first."""
    topic = topic_path(seeded.settings, seeded.settings.forward_topic)
    messages = [forward_message.encode(event) for event in events]
    old = [PubsubMessage(data=message.data, attributes=message.attributes) for message in messages]
    await seeded.publisher.publish(topic=topic, messages=old)


async def logged_events(seeded: SeededEvents, event_ids: Sequence[str]) -> list[Event]:
    replays = SpannerReplayLedger(seeded.ledger.transactions, timeout_seconds=20)
    return list((await replays.events(event_ids)).values())


async def left(seeded: SeededEvents, event_ids: Sequence[str]) -> tuple[int, int, int]:
    """Log rows, ledger rows and dead letters of these events."""
    logs = await count(seeded, "SELECT COUNT(*) FROM NestEventLog WHERE event_id IN UNNEST(@ids)", event_ids)
    query = "SELECT COUNT(*) FROM NestEventDeadLetter WHERE event_id IN UNNEST(@ids)"
    return logs, await ledger(seeded, event_ids, "TRUE"), await count(seeded, query, event_ids)


@pytest.mark.timeout(240)
async def test_a_hundred_events_in_five_states_are_gone_and_nothing_of_them_comes_back(
    stack: Stack, seeded: SeededEvents, environment: dict[str, str]
) -> None:
    # Long because it is one story: five states, the erasure, and every way by which an event could come back.
    both = [ACTOR] * EACH + [OTHER] * 5
    delivered = await log(stack, "delivered", *both)
    await until_count(len(both), seeded, delivered, "state = 'DELIVERED'")
    never = await log(stack, "never_forwarded", *both, forward=False)
    pending = [e.event_id for actor in both for e in await seeded.log(1, actor_id=actor)]
    died = [*await seeded.log(EACH, actor_id=ACTOR), *await seeded.log(5, actor_id=OTHER)]
    dead = [event.event_id for event in died]
    await seeded.dead_letter(died, "http_400")
    with anyio.fail_after(30):
        while len(await seeded.open_letters()) < len(died):
            await anyio.sleep(0.1)
    await tell_statsig(stack, {"behaviour": {"kind": "hang"}, "events": {"name_contains": "hanging"}})
    hanging = await log(stack, "hanging", *both)
    await until_count(len(both), seeded, hanging, "claimed_until > CURRENT_TIMESTAMP()")

    ours = [each for of_state in (delivered, never, pending, dead, hanging) for each in of_state[:EACH]]
    others = [each for of_state in (delivered, never, pending, dead, hanging) for each in of_state[EACH:]]
    events = await logged_events(seeded, ours)
    assert len(events) == 5 * EACH
    at_statsig = deliveries(statsig_log(stack))

    async def mend_statsig() -> None:
        with anyio.fail_after(30):
            while await count(seeded, "SELECT COUNT(*) FROM NestEventErased") < 4 * EACH:
                await anyio.sleep(0.05)
        await tell_statsig(stack)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mend_statsig)
        erased = await nest_events(environment, "erase", "--actor", ACTOR, "--yes", "--json")

    assert erased.code == 0, erased.err
    states = {"not_forwarded": EACH, "pending": EACH, "in_flight": EACH, "delivered": EACH, "dead": EACH}
    assert erased.json["states"] == states | {"settled_long_ago": 0}
    assert (erased.json["dead_letters"], erased.json["complete"]) == (EACH, True)
    assert await left(seeded, ours) == (0, 0, 0)

    # Every way back: old messages of both topics, a replay, a reconciler. The messages that hung were nacked while the
    # erasure had their claims, and come back in their time.
    skipped = sum(line["events"] for line in lines(stack, "erased_event_skipped"))
    collected = sum(line["messages"] for line in lines(stack, "dead_letters_collected"))
    await publish_again(seeded, events)
    await publish_letters(seeded, events)
    for command in (["dead-letters", "replay", "--from-rows", "--yes"], ["reconcile", "--now"]):
        ran = await nest_events(environment, *command)
        assert ran.code == 0, ran.err
    await until_worker_has(stack, "erased_event_skipped", "events", skipped + 5 * EACH)
    await until_worker_has(stack, "dead_letters_collected", "messages", collected + 15 * EACH)

    received = await until_delivered([*delivered, *pending[EACH:], *dead[EACH:], *hanging[EACH:]], statsig_log(stack))
    assert {e: received[e] for e in ours} == {e: at_statsig[e] for e in ours}
    assert sum(received[e] for e in ours) == EACH
    assert await left(seeded, ours) == (0, 0, 0)
    assert lines(stack, "message_dead_lettered") == []
    assert await left(seeded, others) == (25, 20, 5)
    assert await ledger(seeded, others, "state = 'DELIVERED'") == 20
    assert all(received[e] == 1 for e in [*delivered[EACH:], *pending[EACH:], *dead[EACH:], *hanging[EACH:]])
    assert await SpannerDeadLetterTable(seeded.ledger.transactions, timeout_seconds=20).of(ours) == {}


@pytest.mark.timeout(150)
async def test_no_log_line_span_or_metric_names_an_actor(
    stack: Stack, seeded: SeededEvents, receiver: Receiver, environment: dict[str, str]
) -> None:
    await tell_statsig(stack, {"behaviour": {"kind": "refuse_event", "name_contains": "refused"}})
    async with EventLoggingServiceClient(stack.ingress_url) as client:
        with pytest.raises(ConnectError):
            await client.log_event(LogEventRequest(event_name=" ", actor_id=ACTOR))
        with pytest.raises(ConnectError):
            await client.log_event(LogEventRequest(event_name="too_long", actor_id=ACTOR * 100))
    delivered, refused = await log(stack, "delivered", ACTOR), await log(stack, "refused", ACTOR)
    await until_count(1, seeded, delivered, "state = 'DELIVERED'")
    await until_count(1, seeded, refused, "state = 'DEAD'")
    with anyio.fail_after(30):
        while not await seeded.open_letters():
            await anyio.sleep(0.1)

    events = await logged_events(seeded, [*delivered, *refused])
    traced = environment | receiver.environment | {"LOG_LEVEL": "DEBUG"}
    said = []
    for command in (
        ["trace", "--actor", ACTOR, "--since", "1h"],
        ["trace", refused[0]],
        ["dead-letters", "list"],
        ["dead-letters", "show", refused[0]],
        ["dead-letters", "replay", "--yes"],
        ["reconcile", "--now"],
        ["erase", "--actor", ACTOR],
        ["erase", "--actor", ACTOR, "--yes"],
    ):
        ran = await nest_events(traced, *command)
        assert "Traceback" not in ran.err
        said.append(ran.err + (ran.out if command[0] == "erase" else ""))
    await publish_again(seeded, events)
    await publish_letters(seeded, events)
    await until_worker_has(stack, "erased_event_skipped", "events", len(events))
    await until_worker_has(stack, "dead_letters_collected", "messages", 1 + 3 * len(events))
    await receiver.until(lambda seen: {"process forward", "send forward"} <= {span.name for span in seen.spans})
    for name in ("worker-1", "ingress"):
        await stack.processes[name].terminate()

    logs = "".join((stack.run_dir / f"{name}.log").read_text() for name in ("ingress", "worker-1"))
    assert '"message":"rpc"' in logs
    assert '"message":"message_dead_lettered"' in logs
    assert ACTOR not in logs
    assert ACTOR not in "".join(said)
    assert ACTOR not in "".join(span.text for span in receiver.spans)
    assert ACTOR not in str([point.attributes for point in receiver.points])
