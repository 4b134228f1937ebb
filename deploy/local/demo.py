"""The demo: logs its events, waits until each is stored and delivered, and counts them."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import anyio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from google.cloud.spanner_v1 import param_types

from deploy.local.demo_events import DemoEvent, demo_events
from deploy.local.stack import Stack
from deploy.local.statsig_stand_in import read_log
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.spanner.connection import create_client

ARRIVAL_SECONDS: Final = 60.0
"""For all events to be delivered and settled; those missing then are problems."""
POLL_SECONDS: Final = 0.2
CALLS_AT_ONCE: Final = 16


@dataclass(slots=True)
class DemoResult:
    """Counts by kind of event, and what went wrong."""

    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


async def run_demo(stack: Stack) -> DemoResult:
    """Log every event once and account for each; without `problems` all were refused, stored and delivered as due."""
    events = demo_events(stack.run_dir.name, datetime.now(UTC))
    result = DemoResult()
    answers = await _log_all(stack.ingress_url, events, result)
    expected = {
        event_id: event
        for index, event in enumerate(events)
        if event.duplicate_of is None and (event_id := answers.get(index))
    }
    for index, event in enumerate(events):
        if event.duplicate_of is not None and answers.get(index) != answers.get(event.duplicate_of):
            result.problems.append(f"{event.kind}: answered with another event_id than the first call")
    to_arrive = {event_id for event_id, event in expected.items() if event.forwarded}
    with anyio.move_on_after(ARRIVAL_SECONDS):
        while not to_arrive <= set(await _deliveries(stack, to_arrive)):  # noqa: ASYNC110 - a file has no event to await
            await anyio.sleep(POLL_SECONDS)
        while not await _all_settled(stack, to_arrive):  # noqa: ASYNC110 - nor has a table
            await anyio.sleep(POLL_SECONDS)
    await _account(stack, expected, result)
    return result


async def _log_all(url: str, events: list[DemoEvent], result: DemoResult) -> dict[int, str]:
    answers: dict[int, str] = {}
    at_once = anyio.Semaphore(CALLS_AT_ONCE)

    async def log(index: int, event: DemoEvent, client: EventLoggingServiceClient) -> None:
        result.sent[event.kind] += 1
        try:
            async with at_once:
                answers[index] = (await client.log_event(event.request)).event_id
        except ConnectError as error:
            result.refused[event.kind] += 1
            if not event.refused or error.code is not Code.INVALID_ARGUMENT:
                result.problems.append(f"{event.kind}: {error.code.value}: {error.message}")
        else:
            if event.refused:
                result.problems.append(f"{event.kind}: was not refused")

    async with EventLoggingServiceClient(url) as client, anyio.create_task_group() as calls:
        for index, event in enumerate(events):
            calls.start_soon(log, index, event, client)
    return answers


async def _account(stack: Stack, expected: dict[str, DemoEvent], result: DemoResult) -> None:
    rows = await _stored(stack, list(expected))
    deliveries = await _deliveries(stack, set(expected))
    for event_id, event in expected.items():
        if event_id in rows:
            result.stored[event.kind] += 1
        else:
            result.problems.append(f"{event.kind}: {event_id} has no row")
        copies = deliveries[event_id]
        result.delivered[event.kind] += copies
        if copies != int(event.forwarded):
            result.problems.append(f"{event.kind}: {event_id} reached Statsig {copies} times")
        wanted = "DELIVERED" if event.forwarded else None
        if rows.get(event_id, wanted) != wanted:
            result.problems.append(f"{event.kind}: {event_id} is {rows[event_id]} in the ledger")
    if extra := set(deliveries) - set(expected):
        result.problems.append(f"{len(extra)} events at Statsig that the demo did not log")


async def _deliveries(stack: Stack, event_ids: Collection[str]) -> Counter[str]:
    """Copies by event id, from the stand-in's log. With a real Statsig the ledger is the only evidence."""
    if stack.statsig_log is None:
        rows = await _stored(stack, list(event_ids))
        return Counter(event_id for event_id, state in rows.items() if state == "DELIVERED")
    return Counter(str(entry.event["metadata"]["event_id"]) for entry in read_log(stack.statsig_log))


async def _all_settled(stack: Stack, event_ids: Collection[str]) -> bool:
    """Whether the ledger has each of them as delivered. A worker writes that after Statsig has confirmed the event."""
    return set((await _stored(stack, list(event_ids))).values()) <= {"DELIVERED"}


async def _stored(stack: Stack, event_ids: list[str]) -> dict[str, str | None]:
    """The ledger state of every event that has a row; None for one that is not forwarded."""
    client = create_client(stack.names.project, stack.emulators.spanner_host)
    database = await client.instance(stack.names.spanner_instance).database(stack.names.spanner_database)
    query = """SELECT e.event_id, f.state FROM NestEventLog AS e LEFT JOIN NestEventForward AS f USING (event_id)
               WHERE e.event_id IN UNNEST(@event_ids)"""
    try:
        async with database.snapshot() as snapshot:
            found = await snapshot.execute_sql(
                query, {"event_ids": event_ids}, {"event_ids": param_types.Array(param_types.STRING)}
            )
            return {row[0]: row[1] async for row in found}
    finally:
        await database.close()
