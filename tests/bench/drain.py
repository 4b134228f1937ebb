"""Measures a drain of a backlog by one worker: the rate at Statsig, and the worker's CPU time of an event."""

from typing import Any, Final

import anyio
from google.cloud.spanner_v1 import KeySet

from tests.bench.backlog import commit, new_rows, publish
from tests.bench.bench import Figures
from tests.bench.errors import MeasurementError
from tests.bench.proc import cpu_seconds, cpu_seconds_at_rest
from tests.bench.product import opened_database
from tests.bench.results import CPU_MS, RATE
from tests.bench.rows import LEDGER_TABLE
from tests.bench.statsig_watch import StatsigWatch, kept_per_second
from tests.bench.ways import THIS_WORKER, Way
from tests.bench.world import World

START_SECONDS: Final = 60.0
"""The timeout until Statsig has the first event."""

SLOWEST_PER_SECOND: Final = 20.0
"""Events a second below which a drain counts as stuck."""

SETTLE_SECONDS: Final = 30.0
SETTLE_POLL_SECONDS: Final = 0.2

SETTLED: Final = "DELIVERED"
READ_ROWS: Final = 1000
"""Rows of a read by key."""

WORKER_SETTINGS: Final = {"RECONCILE_AFTER_SECONDS": "86400"}
"""No event of the backlog is republished meanwhile: that would be another load."""


async def drain(world: World, way: Way, events: int) -> Figures:
    """Write the backlog, start the worker, and wait until Statsig has each event and the ledger has settled it.

    CPU time counts from the end of the first request that Statsig kept until the worker is at rest, for the events
    after that request: it does not include the start of the process.

    Raises:
        MeasurementError: an event came twice or not at all, or was not settled.
    """
    settles = way is THIS_WORKER
    rows = list(new_rows(events))
    if settles:
        await commit(world.environment, rows)
    await publish(world.environment, rows)
    stand_in = await world.play_statsig()
    watch = StatsigWatch(stand_in)
    worker, _ = await world.launch(way, {**stand_in.settings, **WORKER_SETTINGS})
    first = await watch.until(lambda stats: stats["distinct"] > 0, sender=worker, seconds=START_SECONDS)
    cpu_at_first = cpu_seconds(worker.pid)
    last = await watch.until(
        lambda stats: stats["distinct"] >= events, sender=worker, seconds=START_SECONDS + events / SLOWEST_PER_SECOND
    )
    if last["distinct"] > events or last["duplicates"]:
        raise MeasurementError(f"Statsig has {last['distinct']} of {events} events and {last['duplicates']} copies")
    cpu = await cpu_seconds_at_rest(worker.pid) - cpu_at_first
    if settles:
        await _until_settled(world, [row.event.event_id for row in rows])
    await worker.terminate()
    return {RATE: kept_per_second(stand_in), CPU_MS: 1000 * cpu / (events - first["distinct"])}


async def _until_settled(world: World, event_ids: list[str]) -> None:
    unsettled = event_ids
    async with opened_database(world.environment) as database:
        with anyio.move_on_after(SETTLE_SECONDS):
            while unsettled := await _unsettled(database, unsettled):
                await anyio.sleep(SETTLE_POLL_SECONDS)
    if unsettled:
        raise MeasurementError(f"{len(unsettled)} of {len(event_ids)} events were not settled")


async def _unsettled(database: Any, event_ids: list[str]) -> list[str]:
    unsettled: list[str] = []
    for start in range(0, len(event_ids), READ_ROWS):
        keys = KeySet(keys=[(event_id,) for event_id in event_ids[start : start + READ_ROWS]])
        async with database.snapshot() as snapshot:
            rows = await snapshot.read(LEDGER_TABLE, ("event_id", "state"), keys)
            unsettled += [event_id async for event_id, state in rows if state != SETTLED]
    return unsettled
