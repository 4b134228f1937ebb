"""Both ends of a delivery: event_ids that callers were answered with, and those that Statsig received."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import anyio

from deploy.local.statsig_stand_in import read_log
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest


async def log_events(url: str, count: int, *, name: str = "tested", at_once: int = 16) -> list[str]:
    """Log `count` events and return their ids. Raises where any call fails."""
    event_ids: list[str] = []
    limiter = anyio.Semaphore(at_once)

    async def log(client: EventLoggingServiceClient, number: int) -> None:
        async with limiter:
            answer = await client.log_event(LogEventRequest(event_name=name, actor_id=str(number)))
            event_ids.append(answer.event_id)

    async with EventLoggingServiceClient(url) as client, anyio.create_task_group() as calls:
        for number in range(count):
            calls.start_soon(log, client, number)
    return event_ids


def deliveries(statsig_log: Path) -> Counter[str]:
    """How often the stand-in kept each event_id."""
    return Counter(str(entry.event["metadata"]["event_id"]) for entry in read_log(statsig_log))


async def until_delivered(event_ids: Iterable[str], statsig_log: Path, *, seconds: float = 30.0) -> Counter[str]:
    """Wait until all have arrived, and return how often each event_id was received by then.

    Raises:
        TimeoutError: some have not.
    """
    wanted = set(event_ids)
    with anyio.fail_after(seconds):
        while not wanted <= deliveries(statsig_log).keys():
            await anyio.sleep(0.05)
    return deliveries(statsig_log)
