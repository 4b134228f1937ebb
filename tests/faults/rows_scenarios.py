"""The long scenarios: `--full` runs them at full length, otherwise they are shortened."""

import time
from typing import Final

import anyio

from tests.faults.lab import Lab
from tests.faults.row import IN_FLIGHT, PUBLISH_BUDGET_MS, Expectations, Row
from tests.faults.rows_ingress import RESTARTS, STORAGE_TROUBLE
from tests.support.wire.tcp_proxy import Mode

KILL_EVERY_SECONDS: Final = 3.0
MEMORY_IS_FLAT_MIB: Final = 60.0

REQUESTS_PER_SECOND: Final = 60.0
"""The most that a lane without pauses sends here; a storm would be retries on top of it."""


async def killed_again_and_again(lab: Lab) -> None:
    until = time.monotonic() + lab.long(120, short=12)
    while time.monotonic() < until:
        killed_at = time.monotonic()
        await lab.kill("worker-1")
        await lab.restart("worker-1")
        await anyio.sleep(max(0.0, KILL_EVERY_SECONDS - (time.monotonic() - killed_at)))


async def pubsub_blackholed(lab: Lab) -> None:
    async with lab.broken(Mode.BLACKHOLE, "pubsub"):
        await anyio.sleep(lab.long(60, short=8))


async def spanner_blackholed(lab: Lab) -> None:
    async with lab.broken(Mode.BLACKHOLE, "spanner"):
        await anyio.sleep(lab.long(30, short=8))


async def statsig_unavailable(lab: Lab) -> None:
    await lab.statsig({"kind": "status", "status": 503})
    before = await lab.requests()
    seconds = lab.long(120, short=12)
    await anyio.sleep(seconds)
    made = await lab.requests() - before
    # The first probe comes after half a second, and the wait doubles up to five: an outage costs few requests.
    lab.require(made <= 8 + seconds, f"{made} requests in {seconds:.0f} s of 503")
    await lab.statsig()


SCENARIO_ROWS: Final = (
    Row(
        id="S1",
        title="worker killed every 3 s (full: for 2 min)",
        fault=killed_again_and_again,
        load_seconds=14.0,
        full_load_seconds=125.0,
        expect=Expectations(duplicates_per_incident=IN_FLIGHT),
    ),
    Row(
        id="S2",
        title="Pub/Sub blackholed for 8 s (full: 60 s)",
        fault=pubsub_blackholed,
        load_seconds=12.0,
        full_load_seconds=70.0,
        expect=Expectations(p99_during_ms=PUBLISH_BUDGET_MS + 250, drain_seconds=60.0),
    ),
    Row(
        id="S3",
        title="Spanner blackholed for 8 s (full: 30 s)",
        fault=spanner_blackholed,
        load_seconds=12.0,
        full_load_seconds=40.0,
        tries=RESTARTS + 10,
        deadline_seconds=lambda _: 3.0,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE, p99_during_ms=3250, drain_seconds=60.0),
    ),
    Row(
        id="S4",
        title="Statsig answers 503 for 12 s (full: 2 min)",
        fault=statsig_unavailable,
        load_seconds=12.0,
        full_load_seconds=110.0,
        expect=Expectations(
            memory_growth_mib=MEMORY_IS_FLAT_MIB, requests_per_second=REQUESTS_PER_SECOND, drain_seconds=60.0
        ),
    ),
)
